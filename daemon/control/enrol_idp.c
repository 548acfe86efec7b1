/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/enrol_idp.h"

#include "daemon/control/map_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void enrol_idp_done(struct enrol_idp *d)
{
	free(d->ca);
	*d = (struct enrol_idp){ 0 };
}

static void add_str(struct buf *out, const char *name, const char *text)
{
	map_add_member(out, name, span_str(text));
}

static void add_choice(struct buf *out, const struct enrol_choice *c)
{
	buf_add_str(out, "\"name\":");
	buf_add_json(out, span_str(c->name));
	add_str(out, "title", c->title);
}

void enrol_idp_encode(const struct enrol_idp *d, struct buf *out)
{
	buf_add_char(out, '{');
	add_choice(out, &d->called);
	add_str(out, "issuer", d->issuer);
	add_str(out, "client", d->client);
	add_str(out, "scopes", d->scopes);
	add_str(out, "acr", d->acr);
	if (d->need_acr)
		buf_add_str(out, ",\"need_acr\":true");
	add_str(out, "prompt", d->prompt);
	add_str(out, "login_claim", d->login_claim);
	if (d->max_age >= 0)
		buf_addf(out, ",\"max_age\":%lld", (long long)d->max_age);
	if (d->ca)
		add_str(out, "ca", d->ca);
	buf_add_char(out, '}');
}

/* Text for people, and what becomes a parameter of a URL: no controls, printable where it says so. */
static bool printable(struct fields *f, const char *name, const char *text)
{
	return f->bad || span_is_print(span_str(text)) || fields_fail(f, ERR_SYNTAX, name, "not printable ASCII");
}

static void get_choice(struct fields *f, struct enrol_choice *c)
{
	fields_cstr(f, "name", c->name, sizeof(c->name), FIELD_REQUIRED);
	printable(f, "name", c->name);
	fields_cstr(f, "title", c->title, sizeof(c->title), FIELD_OPTIONAL);
}

bool enrol_idp_decode(const json_t *obj, struct enrol_idp *ret_d, struct err *err)
{
	struct enrol_idp d = { .max_age = -1 };
	struct fields       f = fields_of(obj, err);
	struct span         ca;

	get_choice(&f, &d.called);
	fields_cstr(&f, "issuer", d.issuer, sizeof(d.issuer), FIELD_REQUIRED);
	if (!f.bad && !span_starts(span_str(d.issuer), SPAN("https://")))
		fields_fail(&f, ERR_PEER, "issuer", "not an https URL");
	fields_cstr(&f, "client", d.client, sizeof(d.client), FIELD_REQUIRED);
	fields_cstr(&f, "scopes", d.scopes, sizeof(d.scopes), FIELD_OPTIONAL);
	fields_cstr(&f, "acr", d.acr, sizeof(d.acr), FIELD_OPTIONAL);
	fields_cstr(&f, "prompt", d.prompt, sizeof(d.prompt), FIELD_OPTIONAL);
	fields_cstr(&f, "login_claim", d.login_claim, sizeof(d.login_claim), FIELD_OPTIONAL);
	printable(&f, "issuer", d.issuer);
	printable(&f, "client", d.client);
	printable(&f, "scopes", d.scopes);
	printable(&f, "acr", d.acr);
	printable(&f, "prompt", d.prompt);
	printable(&f, "login_claim", d.login_claim);
	d.need_acr = fields_bool(&f, "need_acr");
	if (!f.bad && json_object_get(obj, "max_age"))
		d.max_age = fields_int(&f, "max_age", 0, INT32_MAX, FIELD_OPTIONAL);
	ca = fields_str(&f, "ca", ENROL_CA_MAX, FIELD_TEXT);
	if (f.bad)
		return false;
	d.ca = ca.len ? span_dup(ca) : NULL;
	*ret_d = d;
	return true;
}

void enrol_choices_encode(const struct enrol_choice *list, size_t n, struct buf *out)
{
	buf_add_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		buf_add_str(out, i ? ",{" : "{");
		add_choice(out, &list[i]);
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}

bool enrol_choices_decode(const json_t *arr, struct enrol_choice **ret_list, size_t *ret_n, struct err *err)
{
	size_t               n = json_array_size(arr);
	struct enrol_choice *list;

	if (n == 0 || n > ENROL_CHOICES_MAX)
		return err_set(err, ERR_PEER, "choose: want 1 to %d issuers", ENROL_CHOICES_MAX);
	list = mem_calloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		struct fields f = fields_of(json_array_get(arr, i), err);

		get_choice(&f, &list[i]);
		if (f.bad) {
			free(list);
			return false;
		}
	}
	*ret_list = list;
	*ret_n = n;
	return true;
}
