/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hujson.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Where a member (key set) or an item (key NULL) of a container stands. */
struct entry {
	const json_t *in;
	const char   *key;      /* jansson's, as long as the document lives */
	size_t        index;
	struct place  key_at, at;
};

struct hujson {
	json_t         *root;
	struct place    root_at;
	struct hash_key hash;
	struct entry   *table;
	size_t          size;   /* a power of two; 0 if there are no entries */
};

/* Tokens. */

struct hujson_scan hujson_scan(struct span text)
{
	return (struct hujson_scan){ text, { 1, 1 } };
}

/* Takes n bytes; true to the line breaks among them. */
static struct span scan_take(struct hujson_scan *s, size_t n)
{
	struct span taken = span_head(s->rest, n);

	for (size_t i = 0; i < taken.len; i++) {
		if (taken.ptr[i] == '\n') {
			s->at.line++;
			s->at.col = 1;
		} else {
			s->at.col++;
		}
	}
	s->rest = span_from(s->rest, taken.len);
	return taken;
}

static struct hujson_token bad(struct hujson_scan *s, struct hujson_token t, size_t off,
                               const char *why)
{
	t.kind = HUJSON_BAD;
	scan_take(s, off);
	t.at = s->at;
	t.text = span_head(s->rest, 1);
	t.why = why;
	s->rest = span_from(s->rest, s->rest.len);      /* nothing follows a bad token */
	return t;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct hujson_token scan_string(struct hujson_scan *s, struct hujson_token t)
{
	struct span r = s->rest;
	size_t i = 1;

	for (;; i++) {
		if (i >= r.len || r.ptr[i] == '\n')
			return bad(s, t, 0, "this string has no end on its line");
		if (r.ptr[i] == '"')
			break;
		if ((unsigned char)r.ptr[i] < 0x20)
			return bad(s, t, i, "a control character inside a string must be escaped");
		if (r.ptr[i] != '\\')
			continue;
		i++;
		if (i < r.len && r.ptr[i] == 'u') {
			for (int k = 0; k < 4; k++, i++)
				if (i + 1 >= r.len || !is_hex(r.ptr[i + 1]))
					return bad(s, t, i - (size_t)k - 1,
						   "\\u takes four hex digits");
		} else if (i >= r.len || !strchr("\"\\/bfnrt", r.ptr[i]) || !r.ptr[i]) {
			return bad(s, t, i - 1, "unknown escape in a string");
		}
	}
	if (!span_is_utf8(span_head(r, i + 1)))
		return bad(s, t, 0, "this string is not UTF-8");
	t.kind = HUJSON_STRING;
	t.text = scan_take(s, i + 1);
	return t;
}

static size_t digits_from(struct span r, size_t i)
{
	size_t n = 0;

	while (i + n < r.len && is_digit(r.ptr[i + n]))
		n++;
	return n;
}

/* RFC 8259 section 6. */
static struct hujson_token scan_number(struct hujson_scan *s, struct hujson_token t)
{
	struct span r = s->rest;
	size_t i = r.ptr[0] == '-';
	size_t n = digits_from(r, i);

	if (n == 0)
		return bad(s, t, 0, "expected digits after '-'");
	if (n > 1 && r.ptr[i] == '0')
		return bad(s, t, 0, "a number does not begin with 0");
	i += n;
	if (i < r.len && r.ptr[i] == '.') {
		n = digits_from(r, i + 1);
		if (n == 0)
			return bad(s, t, i, "expected digits after '.'");
		i += n + 1;
	}
	if (i < r.len && (r.ptr[i] == 'e' || r.ptr[i] == 'E')) {
		size_t sign = i + 1 < r.len && (r.ptr[i + 1] == '+' || r.ptr[i + 1] == '-');

		n = digits_from(r, i + 1 + sign);
		if (n == 0)
			return bad(s, t, i, "expected digits of an exponent");
		i += n + 1 + sign;
	}
	t.kind = HUJSON_NUMBER;
	t.text = scan_take(s, i);
	return t;
}

static struct hujson_token scan_comment(struct hujson_scan *s, struct hujson_token t)
{
	struct span r = s->rest;

	if (r.len > 1 && r.ptr[1] == '/') {
		t.kind = HUJSON_LINE_COMMENT;
		t.text = scan_take(s, span_find(r, '\n'));
		return t;
	}
	if (r.len < 2 || r.ptr[1] != '*')
		return bad(s, t, 0, "expected a comment after '/'");

	const char *end = r.len >= 4 ? memmem(r.ptr + 2, r.len - 2, "*/", 2) : NULL;

	if (!end)
		return bad(s, t, 0, "this comment has no end");
	t.kind = HUJSON_BLOCK_COMMENT;
	t.text = scan_take(s, (size_t)(end - r.ptr) + 2);
	return t;
}

static struct hujson_token scan_word(struct hujson_scan *s, struct hujson_token t)
{
	struct span r = s->rest, word;
	size_t n = 0;

	while (n < r.len && ((r.ptr[n] >= 'a' && r.ptr[n] <= 'z') ||
	                     (r.ptr[n] >= 'A' && r.ptr[n] <= 'Z') || is_digit(r.ptr[n]) ||
	                     r.ptr[n] == '_'))
		n++;
	word = span_head(r, n);
	if (!span_eq(word, SPAN("true")) && !span_eq(word, SPAN("false")) &&
	    !span_eq(word, SPAN("null")))
		return bad(s, t, 0, n ? "expected a value; text needs quotes" : "expected a value");
	t.kind = HUJSON_WORD;
	t.text = scan_take(s, n);
	return t;
}

struct hujson_token hujson_next(struct hujson_scan *s)
{
	struct hujson_token t = { .kind = HUJSON_END };
	uint32_t line = s->at.line;
	size_t blank = 0;

	while (blank < s->rest.len && (s->rest.ptr[blank] == ' ' || s->rest.ptr[blank] == '\t' ||
	                               s->rest.ptr[blank] == '\n' || s->rest.ptr[blank] == '\r'))
		blank++;
	scan_take(s, blank);
	t.newlines = s->at.line - line;
	t.at = s->at;
	if (s->rest.len == 0)
		return t;

	static const struct { char c; enum hujson_kind kind; } marks[] = {
		{ '{', HUJSON_LBRACE }, { '}', HUJSON_RBRACE }, { '[', HUJSON_LBRACKET },
		{ ']', HUJSON_RBRACKET }, { ':', HUJSON_COLON }, { ',', HUJSON_COMMA },
	};
	char c = s->rest.ptr[0];

	for (size_t i = 0; i < array_size(marks); i++) {
		if (marks[i].c == c) {
			t.kind = marks[i].kind;
			t.text = scan_take(s, 1);
			return t;
		}
	}
	if (c == '"')
		return scan_string(s, t);
	if (c == '-' || is_digit(c))
		return scan_number(s, t);
	if (c == '/')
		return scan_comment(s, t);
	return scan_word(s, t);
}

/* The walk: grammar, places in document order, duplicates, blanking. */

struct key {
	struct span  name;      /* decoded */
	struct place at;
};

struct walk {
	struct hujson_scan  scan;
	struct hujson_token tok;        /* the next one that is no comment */
	const char         *start;      /* of the text the scanner reads */
	char               *copy;       /* comments and trailing commas become spaces here */
	struct place       *places;     /* root; then key and value of a member, or an item */
	size_t              place_count, place_cap, values;
	struct key         *keys;       /* of the objects that are open, innermost last */
	size_t              key_count, key_cap;
	struct arena        decoded;
	struct diags       *diags;
	size_t              dups;
};

static void blank(struct walk *w, struct span text)
{
	char *p = w->copy + (text.ptr - w->start);

	for (size_t i = 0; i < text.len; i++)
		if (p[i] != '\n')
			p[i] = ' ';
}

static void advance(struct walk *w)
{
	for (;;) {
		w->tok = hujson_next(&w->scan);
		if (w->tok.kind != HUJSON_LINE_COMMENT && w->tok.kind != HUJSON_BLOCK_COMMENT)
			return;
		blank(w, w->tok.text);
	}
}

static bool want(struct walk *w, const char *what)
{
	if (w->tok.kind == HUJSON_BAD)
		return diag_error(w->diags, w->tok.at, "%s", w->tok.why);
	if (w->tok.kind == HUJSON_END)
		return diag_error(w->diags, w->tok.at, "the text ends here; expected %s", what);

	char shown[LOG_TEXT_MAX];

	return diag_error(w->diags, w->tok.at, "expected %s, found %s", what,
	                  log_text(span_head(w->tok.text, 40), shown));
}

static void add_place(struct walk *w, struct place at)
{
	if (w->place_count == w->place_cap) {
		w->place_cap = w->place_cap ? w->place_cap * 2 : 256;
		w->places = mem_realloc(w->places, w->place_cap, sizeof(*w->places));
	}
	w->places[w->place_count++] = at;
}

static bool add_key(struct walk *w)
{
	struct span raw = w->tok.text;
	struct span name = span_head(span_from(raw, 1), raw.len - 2);

	if (span_find(name, '\\') < name.len) {
		/* "\u0061" is "a": duplicates are found among decoded names */
		json_error_t why;
		json_t *s = json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, &why);

		if (!s)
			return diag_error(w->diags, w->tok.at, "%s", why.text);
		name = arena_copy(&w->decoded,
				  span_of(json_string_value(s), json_string_length(s)));
		json_decref(s);
	}
	if (w->key_count == w->key_cap) {
		w->key_cap = w->key_cap ? w->key_cap * 2 : 64;
		w->keys = mem_realloc(w->keys, w->key_cap, sizeof(*w->keys));
	}
	w->keys[w->key_count++] = (struct key){ name, w->tok.at };
	return true;
}

static void report_dup(struct walk *w, const struct key *first, const struct key *again)
{
	char shown[LOG_TEXT_MAX];

	w->dups++;
	diag_error(w->diags, again->at, "duplicate key \"%s\", first at %u:%u",
	           log_text(again->name, shown), first->at.line, first->at.col);
}

/* At the end of an object whose keys begin at `from`. */
static void close_keys(struct walk *w, size_t from)
{
	size_t n = w->key_count - from;

	if (n == 0)
		return;

	struct key *keys = w->keys + from;

	if (n <= 16) {
		for (size_t i = 1; i < n; i++) {
			for (size_t k = 0; k < i; k++) {
				if (span_eq(keys[k].name, keys[i].name)) {
					report_dup(w, &keys[k], &keys[i]);
					break;
				}
			}
		}
	} else {
		struct dict *seen = dict_new();

		for (size_t i = 0; i < n; i++) {
			struct key *first = dict_find(seen, keys[i].name);

			if (first)
				report_dup(w, first, &keys[i]);
			else
				dict_put(seen, keys[i].name, &keys[i]);
		}
		dict_free(seen);
	}
	w->key_count = from;
}

static bool walk_value(struct walk *w, unsigned depth);

static bool walk_object(struct walk *w, unsigned depth)
{
	size_t from = w->key_count;
	struct span comma = { 0 };

	advance(w);
	while (w->tok.kind != HUJSON_RBRACE) {
		if (w->tok.kind != HUJSON_STRING)
			return want(w, comma.len ? "a key in quotes or '}'"
						 : "a key in quotes, or '}'");
		add_place(w, w->tok.at);
		if (!add_key(w))
			return false;
		advance(w);
		if (w->tok.kind != HUJSON_COLON)
			return want(w, "':' after a key");
		advance(w);
		if (!walk_value(w, depth))
			return false;
		comma = (struct span){ 0 };
		if (w->tok.kind == HUJSON_COMMA) {
			comma = w->tok.text;
			advance(w);
		} else if (w->tok.kind != HUJSON_RBRACE) {
			return want(w, "',' or '}' after a member");
		}
	}
	if (comma.len)
		blank(w, comma);
	close_keys(w, from);
	advance(w);
	return true;
}

static bool walk_array(struct walk *w, unsigned depth)
{
	struct span comma = { 0 };

	advance(w);
	while (w->tok.kind != HUJSON_RBRACKET) {
		if (!walk_value(w, depth))
			return false;
		comma = (struct span){ 0 };
		if (w->tok.kind == HUJSON_COMMA) {
			comma = w->tok.text;
			advance(w);
		} else if (w->tok.kind != HUJSON_RBRACKET) {
			return want(w, "',' or ']' after an item");
		}
	}
	if (comma.len)
		blank(w, comma);
	advance(w);
	return true;
}

static bool walk_value(struct walk *w, unsigned depth)
{
	if (++w->values > HUJSON_VALUES_MAX)
		return diag_error(w->diags, w->tok.at, "more than %d values", HUJSON_VALUES_MAX);
	add_place(w, w->tok.at);
	switch (w->tok.kind) {
	case HUJSON_LBRACE:
	case HUJSON_LBRACKET:
		if (depth == HUJSON_DEPTH_MAX)
			return diag_error(w->diags, w->tok.at, "nested more than %d deep",
			                  HUJSON_DEPTH_MAX);
		return w->tok.kind == HUJSON_LBRACE ? walk_object(w, depth + 1) :
		                                      walk_array(w, depth + 1);
	case HUJSON_STRING:
	case HUJSON_NUMBER:
	case HUJSON_WORD:
		advance(w);
		return true;
	default:
		return want(w, "a value");
	}
}

static bool walk_text(struct walk *w)
{
	advance(w);
	if (!walk_value(w, 0))
		return false;
	if (w->tok.kind != HUJSON_END)
		return want(w, "the end of the text");
	return w->dups == 0;
}

static struct place place_of_offset(struct span text, size_t off)
{
	struct hujson_scan s = hujson_scan(text);

	scan_take(&s, off);
	return s.at;
}

/* The table of places. */

static size_t slot_of(const struct hujson *doc, const json_t *in, const char *key, size_t index)
{
	struct { const json_t *in; uint64_t what; } id = { in, index };

	if (key)
		id.what = hash_bytes(&doc->hash, key, strlen(key));
	return hash_bytes(&doc->hash, &id, sizeof(id)) & (doc->size - 1);
}

static const struct entry *find_entry(const struct hujson *doc, const json_t *in, const char *key,
                                      size_t index)
{
	if (!doc->size || !in)
		return NULL;
	for (size_t i = slot_of(doc, in, key, index);; i = (i + 1) & (doc->size - 1)) {
		const struct entry *e = &doc->table[i];

		if (!e->in)
			return NULL;
		if (e->in == in && !e->key == !key &&
		    (key ? strcmp(e->key, key) == 0 : e->index == index))
			return e;
	}
}

static void add_entry(struct hujson *doc, struct entry e)
{
	size_t i = slot_of(doc, e.in, e.key, e.index);

	while (doc->table[i].in)
		i = (i + 1) & (doc->size - 1);
	doc->table[i] = e;
}

/* jansson keeps members in the order of the text, so both walks meet the same
 * values in the same order; *next is the place of v itself. */
static void index_places(struct hujson *doc, json_t *v, const struct place **next)
{
	++*next;
	if (json_is_object(v)) {
		for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
			const struct place *p = (*next)++;
			const char *key = json_object_iter_key(it);

			add_entry(doc, (struct entry){ v, key, 0, p[0], p[1] });
			index_places(doc, json_object_iter_value(it), next);
		}
	} else if (json_is_array(v)) {
		for (size_t i = 0; i < json_array_size(v); i++) {
			add_entry(doc, (struct entry){ v, NULL, i, **next, **next });
			index_places(doc, json_array_get(v, i), next);
		}
	}
}

struct hujson *hujson_parse(struct span text, size_t max, struct diags *diags)
{
	if (max > HUJSON_TEXT_MAX)
		max = HUJSON_TEXT_MAX;
	if (text.len > max) {
		diag_error(diags, (struct place){ 0, 0 }, "%zu bytes, more than the limit of %zu",
		           text.len, max);
		return NULL;
	}
	if (span_starts(text, SPAN("\xef\xbb\xbf"))) {
		diag_error(diags, (struct place){1, 1}, "begins with a byte order mark; remove it");
		return NULL;
	}

	struct walk w = { .scan = hujson_scan(text), .start = text.ptr, .diags = diags };
	struct hujson *doc = NULL;

	w.copy = mem_dup(text.ptr, text.len);
	arena_init(&w.decoded, 0);
	if (walk_text(&w)) {
		json_error_t why;
		json_t *root = json_loadb(w.copy, text.len, JSON_DECODE_ANY, &why);

		if (root) {
			const struct place *next = w.places;

			doc = mem_alloc(sizeof(*doc));
			doc->root = root;
			doc->root_at = w.places[0];
			doc->hash = hash_key_random();
			doc->size = 16;
			while (doc->size < w.values * 2)
				doc->size *= 2;
			doc->table = mem_calloc(doc->size, sizeof(*doc->table));
			index_places(doc, root, &next);
		} else {
			/* numbers out of range, \u0000, lone surrogates */
			diag_error(diags,
				   place_of_offset(text,
						   why.position > 0 ? (size_t)why.position - 1 : 0),
				   "%s", why.text);
		}
	}
	arena_done(&w.decoded);
	mem_wipe(w.copy, text.len);     /* configurations may hold secrets */
	free(w.copy);
	free(w.places);
	free(w.keys);
	return doc;
}

void hujson_free(struct hujson *doc)
{
	if (!doc)
		return;
	json_decref(doc->root);
	free(doc->table);
	free(doc);
}

void hujson_freep(struct hujson **doc)
{
	hujson_free(*doc);
}

json_t *hujson_root(const struct hujson *doc)
{
	return doc->root;
}

struct place hujson_root_at(const struct hujson *doc)
{
	return doc->root_at;
}

struct place hujson_key_at(const struct hujson *doc, const json_t *obj, const char *key)
{
	const struct entry *e = find_entry(doc, obj, key, 0);

	return e ? e->key_at : (struct place){ 0, 0 };
}

struct place hujson_member_at(const struct hujson *doc, const json_t *obj, const char *key)
{
	const struct entry *e = find_entry(doc, obj, key, 0);

	return e ? e->at : (struct place){ 0, 0 };
}

struct place hujson_item_at(const struct hujson *doc, const json_t *arr, size_t i)
{
	const struct entry *e = find_entry(doc, arr, NULL, i);

	return e ? e->at : (struct place){ 0, 0 };
}

/* Before jansson, whose recursion has a ceiling of its own far above ours. */
static bool depth_is_fine(struct span text)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > HUJSON_DEPTH_MAX)
				return false;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return true;
}

json_t *json_read(struct span text, size_t max, struct err *err)
{
	json_error_t why;

	if (text.len > max) {
		err_set(err, ERR_LIMIT, "JSON of %zu bytes, more than the limit of %zu", text.len,
			max);
		return NULL;
	}
	if (!depth_is_fine(text)) {
		err_set(err, ERR_LIMIT, "JSON nested more than %d deep", HUJSON_DEPTH_MAX);
		return NULL;
	}

	json_t *v = json_loadb(text.len ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &why);

	if (!v) {
		/* jansson quotes what it met: a stranger's bytes */
		char shown[LOG_TEXT_MAX];

		err_set(err, ERR_SYNTAX, "JSON, line %d: %s", why.line,
		        log_text(span_str(why.text), shown));
	}
	return v;
}
