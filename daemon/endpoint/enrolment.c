/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/enrolment.h"

#include "base/hujson.h"
#include "idp/provider.h"

#include <string.h>

enum { FIRST_LEASE_SEC = 3600 };        /* the real map is there within seconds, and brings its own */

bool enrolment_issuers_ok(const char *url, const struct conf *conf, struct err *err)
{
	struct span place = span_str(url), rest;

	if (conf->verify != CONF_VERIFY_IDP || place.len == 0)
		return true;
	for (size_t i = 0; i < conf->issuers.count; i++) {
		struct span issuer = span_str(((const struct provider *)conf->issuers.items + i)->issuer);

		/* As URLs are compared: the case of a host says nothing. */
		if (issuer.len < place.len || !span_ieq(span_head(issuer, place.len), place))
			continue;
		rest = span_from(issuer, place.len);
		if (rest.len == 0 || rest.ptr[0] == '/' || span_eq(rest, SPAN(":443")) || span_starts(rest, SPAN(":443/")))
			return err_set(err, ERR_CONFIG, "\"verify\": \"idp\": issuer %s is the coordinator itself, which "
			               "would vouch for itself", conf->issuers.names[i]);
	}
	return true;
}

void enrolment_encode(const struct enrolment *e, struct buf *out)
{
	char text[IP_TEXT_MAX], id[MAP_ID_MAX], pin[ENROL_PIN_TEXT_LEN + 1];

	buf_add_str(out, "{\"v\":1,\"url\":");
	buf_add_json(out, span_str(e->url));
	buf_add_str(out, ",\"pins\":[");
	for (size_t i = 0; i < e->pin_count; i++) {
		enrol_pin_text(&e->pins[i], pin);
		buf_addf(out, "%s\"%s\"", i ? "," : "", pin);
	}
	buf_addf(out, "],\"node\":\"%s\",\"control\":", map_id_text('n', e->node, id));
	if (e->is_unix) {
		char path[ENROLMENT_SOCKET_MAX + 8];

		snprintf(path, sizeof(path), "unix:%s", e->socket);
		buf_add_json(out, span_str(path));
	} else {
		buf_add_json(out, span_str(ipport_text(&e->control, text)));
	}
	buf_addf(out, ",\"down\":%s}\n", e->down ? "true" : "false");
}

static struct span text_of(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) ? span_of(json_string_value(v), json_string_length(v)) : (struct span){ 0 };
}

bool enrolment_decode(struct span json, struct enrolment *ret_e, struct err *err)
{
	scoped_json json_t *o = json_read(json, ENROLMENT_TEXT_MAX, err);
	struct enrolment e = { .enrolled = true };
	struct span control, url;
	json_t *pins;

	if (!o)
		return err_prefix(err, "enrolment: ");
	if (json_integer_value(json_object_get(o, "v")) != 1)
		return err_set(err, ERR_SYNTAX, "enrolment: another version");
	if (!map_id_parse(text_of(o, "node"), 'n', &e.node))
		return err_set(err, ERR_SYNTAX, "enrolment: \"node\" is no node's id");
	url = text_of(o, "url");
	if (url.len && !enrol_url_check(url, e.url, err))
		return err_prefix(err, "enrolment: ");
	pins = json_object_get(o, "pins");
	if (json_array_size(pins) > ENROL_PINS_MAX)
		return err_set(err, ERR_SYNTAX, "enrolment: more than %d pins", ENROL_PINS_MAX);
	for (size_t i = 0; i < json_array_size(pins); i++)
		if (!enrol_pin_parse(span_str(json_string_value(json_array_get(pins, i))), &e.pins[e.pin_count++]))
			return err_set(err, ERR_SYNTAX, "enrolment: pin %zu is none", i);
	control = text_of(o, "control");
	if (span_starts(control, SPAN("unix:/"))) {
		e.is_unix = true;
		if (!span_cstr(span_from(control, 5), e.socket, sizeof(e.socket)))
			return err_set(err, ERR_SYNTAX, "enrolment: \"control\" is too long");
	} else if (!ipport_parse(control, &e.control) || e.control.port == 0) {
		return err_set(err, ERR_SYNTAX, "enrolment: \"control\" is no address and port");
	}
	e.down = json_is_true(json_object_get(o, "down"));
	*ret_e = e;
	return true;
}

void enrolment_first_map(const struct enrol_reply *r, struct wall now, struct buf *out)
{
	struct map_msg m;
	const struct map_node *nodes[] = { r->node, r->hub };

	map_msg_init(&m);
	m.op = MAP_FULL;
	m.v = MAP_VERSION;
	m.epoch = SPAN("0000000000000000");
	m.lease = FIRST_LEASE_SEC;
	m.now = now;
	m.mesh = r->mesh;
	m.id = r->node->id;
	map_msg_encode(&m, out);
	for (size_t i = 0; i < 2; i++) {
		/* On the hub both are one. */
		if (i == 1 && r->hub->id == r->node->id)
			continue;
		m.op = MAP_NODE;
		m.node = (struct map_node *)(uintptr_t)nodes[i];
		map_msg_encode(&m, out);
		m.node = NULL;
	}
	m.op = MAP_END;
	map_msg_encode(&m, out);
	map_msg_done(&m);
}
