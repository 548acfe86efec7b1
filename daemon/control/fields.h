/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_FIELDS_H
#define CONTROL_FIELDS_H

/*
 * Members of a JSON object as typed values, with bounds. The first fault
 * sticks: read everything, then ask fields_ok() once. What is absent or wrong
 * gives the zero value. Text with control characters is wrong: nothing that we
 * exchange needs them but the policy (FIELD_TEXT).
 */

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"

#include <jansson.h>

enum field_flags {
	FIELD_OPTIONAL = 0,
	FIELD_REQUIRED = 1,
	FIELD_TEXT     = 2,     /* control characters are right */
};

struct fields {
	const json_t *obj;
	struct err   *err;      /* may be NULL */
	bool          bad;
};

struct fields fields_of(const json_t *obj, struct err *err);    /* bad if it is no object */
bool fields_ok(const struct fields *f);
bool fields_fail(struct fields *f, enum err_code code, const char *name, const char *why);

struct span   fields_str(struct fields *f, const char *name, size_t max, unsigned flags);
int64_t       fields_int(struct fields *f, const char *name, int64_t min, int64_t max, unsigned flags);
bool          fields_bool(struct fields *f, const char *name);
const json_t *fields_array(struct fields *f, const char *name, size_t max);     /* NULL if absent */
const json_t *fields_object(struct fields *f, const char *name, unsigned flags); /* NULL if absent */
bool          fields_base64(struct fields *f, const char *name, uint8_t *out, size_t n, unsigned flags);
bool          fields_base64url(struct fields *f, const char *name, uint8_t *out, size_t n, unsigned flags);
bool          fields_ip(struct fields *f, const char *name, enum ip_family family, struct ip *ret, unsigned flags);
bool          fields_prefix(struct fields *f, const char *name, struct prefix *ret, unsigned flags);
bool          fields_cstr(struct fields *f, const char *name, char *buf, size_t size, unsigned flags);

/* An item of an array as text within bounds; an empty span, and f bad, if it is not. */
struct span fields_item(struct fields *f, const char *name, const json_t *item, size_t max);

#endif
