/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_CONF_H
#define BASE_CONF_H

/*
 * Configuration as a table: one array of rows makes the parser, the -n check,
 * the printer and the man page. A configuration file is one HuJSON object.
 * All faults of a file are reported in one run, each with its place; unknown
 * keys are errors, with the nearest known key.
 */

#include "base/buf.h"
#include "base/diag.h"
#include "base/ip.h"

enum conf_type {
	CONF_BOOL,      /* bool */
	CONF_INT,       /* int64_t, min..max */
	CONF_SIZE,      /* int64_t bytes; "64KiB", "1MiB" or a number */
	CONF_SECONDS,   /* int64_t seconds; "90s", "4h" or a number */
	CONF_ENUM,      /* int: index into words */
	CONF_STR,       /* char *; min..max bytes; no controls */
	CONF_PATH,      /* char *; relative ones are taken from the file's folder */
	CONF_IPPORT,    /* struct ipport; numeric */
	CONF_PREFIX,    /* struct prefix */
	CONF_STRS,      /* struct conf_strs: array of strings, or one string; max items */
	CONF_OBJECT,    /* a struct in place, rows in sub */
	/* struct conf_map: object of named objects, rows in sub, each item sub_size bytes */
	CONF_MAP,
	CONF_LIST,      /* struct conf_map without names: array of objects */
};

struct conf_strs {
	char       **list;
	struct place *at;       /* of each */
	size_t       count;
};

struct conf_map {
	char       **names;     /* NULL for CONF_LIST */
	struct place *at;       /* of each name or item */
	void        *items;     /* count × sub_size bytes */
	size_t       count;
};

struct conf_row {
	const char            *name;
	enum conf_type         type;
	size_t                 offset;          /* offsetof() in the target struct */
	int64_t                min, max;
	/* as text; NULL: required; "": optional, then the zero value ("" for strings) */
	const char            *def;
	const char            *help;            /* one sentence of prose for -h and the man page */
	const char *const     *words;           /* CONF_ENUM: NULL-terminated */
	const struct conf_row *sub;
	size_t                 sub_size;
	/* if not 0: offsetof() of a struct place that takes the value's place */
	size_t                 at_offset;
};

/*
 * min and max both 0: the type's own bounds (4096 bytes, 1024 strings, 65536
 * items, INT64_MAX). A CONF_OBJECT that is not in the file gets its members'
 * defaults and leaves its required members at zero; a row with at_offset tells
 * it from an empty one. In CONF_MAP and CONF_LIST the items are in the order
 * of the file.
 */
#define CONF_END { .name = NULL }

/* Fills *out (zeroed first) with defaults and the file's values. On failure
 * *out is empty and diags say why. Free with conf_done() on the same rows. */
bool conf_parse(const struct conf_row *rows, void *out, size_t size, struct span text,
                const char *dir, struct diags *diags);
void conf_done(const struct conf_row *rows, void *out);

/* The effective configuration as HuJSON, comments saying what each key is. */
void conf_print(const struct conf_row *rows, const void *conf, struct buf *out);

/* The rows as the body of a mandoc(7) section: name, type, range, default, prose. */
void conf_man(const struct conf_row *rows, struct buf *out);

#endif
