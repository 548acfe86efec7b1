/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hujson.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Every value of a document has a place inside the text, and the place shows
 * how the value begins. */
static void check_place(struct span text, struct place at, const json_t *v)
{
	struct place p = { 1, 1 };
	size_t i = 0;

	for (; i < text.len && (p.line != at.line || p.col != at.col); i++) {
		if (text.ptr[i] == '\n')
			p = (struct place){ p.line + 1, 1 };
		else
			p.col++;
	}
	must(i < text.len);
	switch (json_typeof(v)) {
	case JSON_OBJECT: must(text.ptr[i] == '{'); break;
	case JSON_ARRAY:  must(text.ptr[i] == '['); break;
	case JSON_STRING: must(text.ptr[i] == '"'); break;
	case JSON_TRUE:   must(text.ptr[i] == 't'); break;
	case JSON_FALSE:  must(text.ptr[i] == 'f'); break;
	case JSON_NULL:   must(text.ptr[i] == 'n'); break;
	default:          must(strchr("-0123456789", text.ptr[i])); break;
	}
}

static void check_value(struct span text, const struct hujson *doc, json_t *v)
{
	if (json_is_object(v)) {
		for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
			const char *key = json_object_iter_key(it);

			must(hujson_key_at(doc, v, key).line);
			check_place(text, hujson_member_at(doc, v, key), json_object_iter_value(it));
			check_value(text, doc, json_object_iter_value(it));
		}
	} else {
		for (size_t i = 0; i < json_array_size(v); i++) {
			check_place(text, hujson_item_at(doc, v, i), json_array_get(v, i));
			check_value(text, doc, json_array_get(v, i));
		}
	}
}

static void check_tokens(struct span text)
{
	struct hujson_scan s = hujson_scan(text);
	const char *end = text.ptr;

	for (;;) {
		struct hujson_token t = hujson_next(&s);

		if (t.kind == HUJSON_BAD)
			must(t.why);
		if (t.kind == HUJSON_BAD || t.kind == HUJSON_END)
			return;
		must(t.text.len && t.text.ptr >= end);
		end = t.text.ptr + t.text.len;
		must(end <= text.ptr + text.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size);
	struct diags diags;
	struct err err;

	check_tokens(text);
	diags_init(&diags, "input");

	struct hujson *doc = hujson_parse(text, 64 << 10, &diags);

	must(!doc == (diags.errors > 0));
	if (doc) {
		check_place(text, hujson_root_at(doc), hujson_root(doc));
		if (size < 4096)
			check_value(text, doc, hujson_root(doc));
	}

	/* Strict JSON is HuJSON with the same meaning. */
	json_t *strict = json_read(text, 64 << 10, &err);

	if (strict && doc)
		must(json_equal(strict, hujson_root(doc)));
	json_decref(strict);
	hujson_free(doc);
	diags_done(&diags);
	return 0;
}
