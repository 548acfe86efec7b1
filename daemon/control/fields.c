/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/fields.h"

#include "base/encode.h"

#include <string.h>

struct fields fields_of(const json_t *obj, struct err *err)
{
	struct fields f = { .obj = obj, .err = err };

	if (!json_is_object(obj)) {
		f.bad = true;
		err_set(err, ERR_SYNTAX, "not a JSON object");
	}
	return f;
}

bool fields_ok(const struct fields *f)
{
	return !f->bad;
}

bool fields_fail(struct fields *f, enum err_code code, const char *name, const char *why)
{
	if (!f->bad)
		err_set(f->err, code, "\"%s\": %s", name, why);
	f->bad = true;
	return false;
}

static const json_t *field(struct fields *f, const char *name, unsigned flags)
{
	if (f->bad)
		return NULL;
	const json_t *v = json_object_get(f->obj, name);
	if (v && json_is_null(v))
		v = NULL;
	if (!v && (flags & FIELD_REQUIRED))
		fields_fail(f, ERR_SYNTAX, name, "missing");
	return v;
}

static struct span text_of(struct fields *f, const char *name, const json_t *v, size_t max,
			   unsigned flags)
{
	if (!json_is_string(v)) {
		fields_fail(f, ERR_SYNTAX, name, "not a string");
		return (struct span){ 0 };
	}
	struct span s = span_of(json_string_value(v), json_string_length(v));
	if (s.len > max) {
		fields_fail(f, ERR_LIMIT, name, "too long");
		return (struct span){ 0 };
	}
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c == 0 || (!(flags & FIELD_TEXT) && (c < 0x20 || c == 0x7f))) {
			fields_fail(f, ERR_SYNTAX, name, "control character");
			return (struct span){ 0 };
		}
	}
	return s;
}

struct span fields_str(struct fields *f, const char *name, size_t max, unsigned flags)
{
	const json_t *v = field(f, name, flags);

	if (!v)
		return (struct span){ 0 };
	struct span s = text_of(f, name, v, max, flags);
	if (!f->bad && s.len == 0 && (flags & FIELD_REQUIRED))
		fields_fail(f, ERR_SYNTAX, name, "empty");
	return s;
}

int64_t fields_int(struct fields *f, const char *name, int64_t min, int64_t max, unsigned flags)
{
	const json_t *v = field(f, name, flags);

	if (!v)
		return 0;
	if (!json_is_integer(v)) {
		fields_fail(f, ERR_SYNTAX, name, "not an integer");
		return 0;
	}
	int64_t n = (int64_t)json_integer_value(v);
	if (n < min || n > max) {
		fields_fail(f, ERR_SYNTAX, name, "out of range");
		return 0;
	}
	return n;
}

bool fields_bool(struct fields *f, const char *name)
{
	const json_t *v = field(f, name, FIELD_OPTIONAL);

	if (!v)
		return false;
	if (!json_is_boolean(v))
		return fields_fail(f, ERR_SYNTAX, name, "not true or false");
	return json_is_true(v);
}

const json_t *fields_array(struct fields *f, const char *name, size_t max)
{
	const json_t *v = field(f, name, FIELD_OPTIONAL);

	if (!v)
		return NULL;
	if (!json_is_array(v)) {
		fields_fail(f, ERR_SYNTAX, name, "not an array");
		return NULL;
	}
	if (json_array_size(v) > max) {
		fields_fail(f, ERR_LIMIT, name, "too many items");
		return NULL;
	}
	return v;
}

const json_t *fields_object(struct fields *f, const char *name, unsigned flags)
{
	const json_t *v = field(f, name, flags);

	if (v && !json_is_object(v)) {
		fields_fail(f, ERR_SYNTAX, name, "not an object");
		return NULL;
	}
	return v;
}

static bool decoded(struct fields *f, const char *name, uint8_t *out, size_t n, unsigned flags,
                    bool (*decode)(struct span, void *, size_t, size_t *))
{
	struct span s = fields_str(f, name, n * 2 + 4, flags);
	uint8_t     tmp[256];
	size_t      got = 0;

	if (f->bad || s.len == 0)
		return false;
	if (n > sizeof(tmp) || !decode(s, tmp, sizeof(tmp), &got) || got != n)
		return fields_fail(f, ERR_SYNTAX, name, "not the right number of encoded bytes");
	memcpy(out, tmp, n);
	return true;
}

bool fields_base64(struct fields *f, const char *name, uint8_t *out, size_t n, unsigned flags)
{
	return decoded(f, name, out, n, flags, base64_decode);
}

bool fields_base64url(struct fields *f, const char *name, uint8_t *out, size_t n, unsigned flags)
{
	return decoded(f, name, out, n, flags, base64url_decode);
}

bool fields_ip(struct fields *f, const char *name, enum ip_family family, struct ip *ret,
	       unsigned flags)
{
	struct span s = fields_str(f, name, IP_TEXT_MAX, flags);
	struct ip   ip;

	if (f->bad || s.len == 0)
		return false;
	if (!ip_parse(s, &ip) || (family != IP_NONE && ip.family != family))
		return fields_fail(f, ERR_SYNTAX, name, "not an address of that family");
	*ret = ip;
	return true;
}

bool fields_prefix(struct fields *f, const char *name, struct prefix *ret, unsigned flags)
{
	struct span   s = fields_str(f, name, IP_TEXT_MAX, flags);
	struct prefix p;

	if (f->bad || s.len == 0)
		return false;
	if (!prefix_parse(s, &p))
		return fields_fail(f, ERR_SYNTAX, name, "not a prefix");
	*ret = p;
	return true;
}

bool fields_cstr(struct fields *f, const char *name, char *buf, size_t size, unsigned flags)
{
	struct span s = fields_str(f, name, size - 1, flags);

	if (f->bad || s.len == 0)
		return false;
	return span_cstr(s, buf, size) || fields_fail(f, ERR_LIMIT, name, "too long");
}

struct span fields_item(struct fields *f, const char *name, const json_t *item, size_t max)
{
	if (f->bad)
		return (struct span){ 0 };
	struct span s = text_of(f, name, item, max, 0);
	if (!f->bad && s.len == 0)
		fields_fail(f, ERR_SYNTAX, name, "empty item");
	return s;
}
