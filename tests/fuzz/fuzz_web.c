/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Any bytes as a name on every page, as a form, and as a cookie. */
#include "tests/fuzz/fuzz.h"
#include "web/form.h"
#include "web/html.h"
#include "web/pages.h"

#include <string.h>

/* Between its tags a page has no byte that could begin another one: the tags
 * that are there are as many as on the same page with a harmless name. */
static size_t tags(const struct page *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->body.len; i++)
		n += p->body.ptr[i] == '<' || p->body.ptr[i] == '>' || p->body.ptr[i] == '"' || p->body.ptr[i] == '\'';
	return n;
}

static size_t show(const char *name)
{
	const struct page_device d = { name, name, name, name, true, false, { (int64_t)strlen(name) }, name };
	const struct page_person who = { name, name, name, true };
	const struct page_choice choice = { name, name };
	struct page p;
	size_t n;

	page_init(&p);
	page_login(&p, &d, name, &choice, 1, name);
	n = tags(&p);
	page_approve(&p, &d, &who, name, name, name);
	n += tags(&p);
	page_error(&p, 403, name, name, name, name);
	n += tags(&p);
	page_source(&p, name, name);
	n += tags(&p);
	page_done(&p);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct buf out, value = { 0 };
	char key[BROWSER_KEY_SIZE];

	if (size > 4096)
		return 0;
	buf_init(&out, 64 << 10);
	html_add(&out, in);
	must(!out.over && span_is_utf8(buf_span(&out)));
	must(out.len == 0 || !strpbrk(out.ptr, "<>\"'\r\n\t"));
	buf_done(&out);
	if (form_field(in, "id", 64, &value))
		must(value.len <= 64 && strlen(value.ptr) == value.len);
	buf_done(&value);
	if (browser_key_get(in, key))
		must(strlen(key) == BROWSER_KEY_SIZE - 1);
	if (size && !memchr(data, 0, size)) {
		char *name = span_dup(in);

		must(show(name) == show(strncmp(name, "http://", 7) && strncmp(name, "https://", 8) ?
		                        "x" : "http://x"));
		free(name);
	}
	return 0;
}
