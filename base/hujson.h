/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_HUJSON_H
#define BASE_HUJSON_H

/*
 * HuJSON ("JWCC"): JSON (RFC 8259) with // and block comments and trailing
 * commas. The standardiser blanks these in place, so that offsets stay true,
 * and jansson parses the rest; every key and value keeps its line and column.
 * Duplicate keys are errors. Depth, size and count have ceilings.
 */

#include "base/diag.h"

#include <jansson.h>

enum {
	HUJSON_TEXT_MAX  = 16 << 20,    /* a policy of ten thousand grants is about 2 MiB */
	HUJSON_DEPTH_MAX = 32,          /* a policy needs six */
	HUJSON_VALUES_MAX = 1 << 20,    /* objects, arrays and scalars of one text */
};

struct hujson;

/* Parses at most max bytes. Every duplicate key is reported; after a syntax
 * error there is one report and no document. NULL on any error. */
struct hujson *hujson_parse(struct span text, size_t max, struct diags *diags);
void hujson_free(struct hujson *doc);
json_t *hujson_root(const struct hujson *doc);          /* borrowed */

/* Where things stand. 0:0 for what is not in this document. */
struct place hujson_root_at(const struct hujson *doc);
struct place hujson_key_at(const struct hujson *doc, const json_t *obj, const char *key);
/* the member's value */
struct place hujson_member_at(const struct hujson *doc, const json_t *obj, const char *key);
struct place hujson_item_at(const struct hujson *doc, const json_t *arr, size_t i);

/* The tokens, comments included, for tools that lay text out again. */
enum hujson_kind {
	HUJSON_END, HUJSON_BAD, HUJSON_LBRACE, HUJSON_RBRACE, HUJSON_LBRACKET, HUJSON_RBRACKET,
	/* true, false, null */
	HUJSON_COLON, HUJSON_COMMA, HUJSON_STRING, HUJSON_NUMBER, HUJSON_WORD,
	HUJSON_LINE_COMMENT, HUJSON_BLOCK_COMMENT,
};
struct hujson_token {
	enum hujson_kind kind;
	struct span      text;          /* raw bytes, quotes and comment marks included */
	struct place     at;
	uint32_t         newlines;      /* line ends between the previous token and this one */
	const char      *why;           /* HUJSON_BAD: what was expected */
};
struct hujson_scan {
	struct span  rest;
	struct place at;
};
struct hujson_scan hujson_scan(struct span text);
struct hujson_token hujson_next(struct hujson_scan *s);

/* Strict JSON from the network (no comments): duplicates refused, at most max
 * bytes, depth as above, an object or an array. The caller decrefs. */
json_t *json_read(struct span text, size_t max, struct err *err);

#define scoped_json __attribute__((cleanup(json_decrefp)))
#define scoped_hujson __attribute__((cleanup(hujson_freep)))
void hujson_freep(struct hujson **doc);

#endif
