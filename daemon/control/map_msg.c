/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/map_parts.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

static const char *const op_names[] = {
	[MAP_FULL] = "full", [MAP_NODE] = "node", [MAP_GONE] = "gone",
	[MAP_POLICY] = "policy", [MAP_END] = "end", [MAP_BEAT] = "beat",
};

void map_msg_init(struct map_msg *m)
{
	*m = (struct map_msg){ 0 };
	arena_init(&m->mem, 256);
}

void map_msg_done(struct map_msg *m)
{
	map_node_unref(m->node);
	arena_done(&m->mem);
	*m = (struct map_msg){ 0 };
}

void map_add_mesh(struct buf *out, const struct map_mesh *m)
{
	char ula[IP_TEXT_MAX], v4[IP_TEXT_MAX];

	buf_addf(out, "{\"ula\":\"%s\",\"v4\":\"%s\",\"name\":", prefix_text(&m->ula, ula),
		 prefix_text(&m->v4, v4));
	buf_add_json(out, m->name);
	buf_add_char(out, '}');
}

bool map_get_mesh(struct fields *f, struct arena *mem, struct map_mesh *ret)
{
	const json_t *obj = fields_object(f, "mesh", FIELD_REQUIRED);

	if (!obj)
		return false;
	struct fields in = fields_of(obj, f->err);
	fields_prefix(&in, "ula", &ret->ula, FIELD_REQUIRED);
	fields_prefix(&in, "v4", &ret->v4, FIELD_REQUIRED);
	ret->name = map_get_str(&in, mem, "name", 63, FIELD_REQUIRED);
	if (!in.bad && (ret->ula.ip.family != IP_V6 || ret->ula.bits != 48))
		fields_fail(&in, ERR_PEER, "ula", "not an IPv6 /48");
	if (!in.bad && ret->v4.ip.family != IP_V4)
		fields_fail(&in, ERR_PEER, "v4", "not an IPv4 prefix");
	if (!in.bad && !map_name_ok(ret->name))
		fields_fail(&in, ERR_SYNTAX, "name", "not a lower-case DNS label");
	f->bad = in.bad;
	return !f->bad;
}

static bool epoch_ok(struct span s)
{
	if (s.len != MAP_EPOCH_LEN)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f')))
			return false;
	return true;
}

bool map_get_epoch(struct fields *f, char ret_epoch[MAP_EPOCH_LEN + 1])
{
	struct span s = fields_str(f, "epoch", MAP_EPOCH_LEN, FIELD_REQUIRED);

	if (f->bad)
		return false;
	if (!epoch_ok(s))
		return fields_fail(f, ERR_SYNTAX, "epoch", "not sixteen hexadecimal digits");
	return span_cstr(s, ret_epoch, MAP_EPOCH_LEN + 1);
}

bool map_have_parse(struct span text, char ret_epoch[MAP_EPOCH_LEN + 1], uint64_t *ret_seq)
{
	size_t      colon = span_find(text, ':');
	struct span epoch = span_head(text, colon);
	uint64_t    seq;

	if (colon == text.len || !epoch_ok(epoch) ||
	    !span_u64(span_from(text, colon + 1), INT64_MAX, &seq))
		return false;
	*ret_seq = seq;
	return span_cstr(epoch, ret_epoch, MAP_EPOCH_LEN + 1);
}

void map_msg_encode(const struct map_msg *m, struct buf *out)
{
	char id[MAP_ID_MAX];

	buf_addf(out, "{\"op\":\"%s\"", op_names[m->op]);
	if (m->op != MAP_BEAT)
		buf_addf(out, ",\"seq\":%llu", (unsigned long long)m->seq);
	switch (m->op) {
	case MAP_FULL:
		buf_addf(out, ",\"v\":%lld", (long long)m->v);
		map_add_member(out, "epoch", m->epoch);
		buf_addf(out, ",\"lease\":%lld,\"now\":%lld,\"mesh\":", (long long)m->lease,
			 (long long)m->now.sec);
		map_add_mesh(out, &m->mesh);
		buf_addf(out, ",\"self\":\"%s\"", map_id_text('n', m->id, id));
		break;
	case MAP_NODE:
		buf_add_str(out, ",\"node\":");
		map_node_encode(m->node, out);
		break;
	case MAP_GONE:
		buf_addf(out, ",\"id\":\"%s\"", map_id_text('n', m->id, id));
		break;
	case MAP_POLICY:
		buf_add_str(out, ",\"text\":");
		buf_add_json(out, m->text);
		break;
	case MAP_BEAT:
		buf_addf(out, ",\"now\":%lld", (long long)m->now.sec);
		break;
	case MAP_END:
	case MAP_UNKNOWN:
		break;
	}
	buf_add_str(out, "}\n");
}

static enum map_op op_of(struct span s)
{
	for (size_t i = 0; i < array_size(op_names); i++)
		if (op_names[i] && span_eq(s, span_str(op_names[i])))
			return (enum map_op)i;
	return MAP_UNKNOWN;
}

static bool decode(const json_t *root, struct map_msg *m, struct err *err)
{
	struct fields f = fields_of(root, err);
	struct span   name = fields_str(&f, "op", 32, FIELD_REQUIRED);
	char          text[LOG_TEXT_MAX], epoch[MAP_EPOCH_LEN + 1];

	if (f.bad)
		return false;
	m->op = op_of(name);
	if (m->op == MAP_UNKNOWN)
		return err_set(err, ERR_PEER, "unknown op \"%s\"", log_text(name, text));
	if (m->op != MAP_BEAT)
		m->seq = (uint64_t)fields_int(&f, "seq", 0, INT64_MAX, FIELD_REQUIRED);
	switch (m->op) {
	case MAP_FULL:
		m->v = fields_int(&f, "v", 0, INT64_MAX, FIELD_REQUIRED);
		if (!f.bad && (m->v < 1 || m->v > MAP_VERSION))
			return err_set(err, ERR_PEER, "map version %lld, this release knows %d",
				       (long long)m->v, MAP_VERSION);
		if (map_get_epoch(&f, epoch))
			m->epoch = arena_copy(&m->mem, span_str(epoch));
		m->lease = fields_int(&f, "lease", 1, INT64_MAX, FIELD_REQUIRED);
		if (m->lease > MAP_LEASE_MAX)
			m->lease = MAP_LEASE_MAX;
		m->now.sec = fields_int(&f, "now", 1, INT64_MAX, FIELD_REQUIRED);
		map_get_mesh(&f, &m->mem, &m->mesh);
		m->id = map_get_id(&f, "self", 'n');
		break;
	case MAP_NODE: {
		const json_t *obj = fields_object(&f, "node", FIELD_REQUIRED);

		if (!obj)
			return false;
		m->node = map_node_from_json(obj, err);
		if (!m->node)
			return false;
		break;
	}
	case MAP_GONE:
		m->id = map_get_id(&f, "id", 'n');
		break;
	case MAP_POLICY:
		m->text =
			map_get_str(&f, &m->mem, "text", MAP_LINE_MAX, FIELD_REQUIRED | FIELD_TEXT);
		break;
	case MAP_BEAT:
		m->now.sec = fields_int(&f, "now", 1, INT64_MAX, FIELD_REQUIRED);
		break;
	case MAP_END:
	case MAP_UNKNOWN:
		break;
	}
	return !f.bad;
}

bool map_msg_decode(struct span line, struct map_msg *ret_m, struct err *err)
{
	scoped_json json_t *root = json_read(line, MAP_LINE_MAX, err);
	struct map_msg      m;

	if (!root)
		return false;
	map_msg_init(&m);
	if (!decode(root, &m, err)) {
		map_msg_done(&m);
		return false;
	}
	if (m.op != MAP_POLICY && line.len > MAP_NODE_LINE_MAX) {
		map_msg_done(&m);
		return err_set(err, ERR_LIMIT, "a line of %zu bytes", line.len);
	}
	*ret_m = m;
	return true;
}

/* ---- bytes to lines ---- */

void map_reader_init(struct map_reader *r)
{
	buf_init(&r->line, MAP_LINE_MAX);
	r->dead = false;
}

void map_reader_done(struct map_reader *r)
{
	buf_done(&r->line);
}

bool map_reader_at_end(const struct map_reader *r)
{
	return !r->dead && r->line.len == 0;
}

static bool one_line(struct span line, map_msg_fn *fn, void *arg, struct err *err)
{
	struct map_msg m;

	if (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (!line.len)
		return true;
	if (!map_msg_decode(line, &m, err))
		return false;
	bool ok = fn(arg, &m, err);
	map_msg_done(&m);
	return ok;
}

bool map_reader_feed(struct map_reader *r, struct span bytes, map_msg_fn *fn, void *arg,
		     struct err *err)
{
	if (r->dead)
		return err_set(err, ERR_NOTNOW, "the map stream had an error before");
	while (bytes.len) {
		size_t end = span_find(bytes, '\n');

		if (end == bytes.len) {
			buf_add_span(&r->line, bytes);
			if (r->line.over) {
				r->dead = true;
				return err_set(err, ERR_LIMIT, "a line beyond %d bytes",
					       MAP_LINE_MAX);
			}
			return true;
		}
		bool ok;
		if (r->line.len) {
			buf_add_span(&r->line, span_head(bytes, end));
			ok = r->line.over ? err_set(err, ERR_LIMIT, "a line beyond %d bytes",
						    MAP_LINE_MAX)
					  : one_line(buf_span(&r->line), fn, arg, err);
			buf_clear(&r->line);
		} else {
			ok = one_line(span_head(bytes, end), fn, arg, err);
		}
		if (!ok) {
			r->dead = true;
			return false;
		}
		bytes = span_from(bytes, end + 1);
	}
	return true;
}

/* ---- acknowledgements ---- */

void map_ack_encode(const struct map_ack *a, struct buf *out)
{
	buf_addf(out, "{\"epoch\":\"%s\",\"seq\":%llu}", a->epoch, (unsigned long long)a->seq);
}

bool map_ack_decode(struct span json, struct map_ack *ret_a, struct err *err)
{
	scoped_json json_t *root = json_read(json, 256, err);
	struct map_ack      a;

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	map_get_epoch(&f, a.epoch);
	a.seq = (uint64_t)fields_int(&f, "seq", 0, INT64_MAX, FIELD_REQUIRED);
	if (f.bad)
		return false;
	*ret_a = a;
	return true;
}

/* ---- reports ---- */

void map_report_init(struct map_report *r)
{
	*r = (struct map_report){ 0 };
	arena_init(&r->mem, 1024);
}

void map_report_done(struct map_report *r)
{
	arena_done(&r->mem);
	*r = (struct map_report){ 0 };
}

void map_report_encode(const struct map_report *r, struct buf *out)
{
	buf_add_str(out, "{\"v\":1");
	map_add_endpoints(out, r->endpoints, r->endpoint_count);
	map_add_routes(out, r->routes, r->route_count);
	map_add_services(out, r->services, r->service_count);
	map_add_attrs(out, r->attrs, r->attr_count);
	map_add_member(out, "os", r->os);
	map_add_member(out, "version", r->version);
	map_add_list(out, "pins", &r->pins);
	if (r->verify_idp)
		buf_add_str(out, ",\"verify\":\"idp\"");
	if (r->lists.count)
		map_add_list(out, "lists", &r->lists);
	if (r->key_since.sec)
		buf_addf(out, ",\"key_since\":%lld,\"key_due\":%lld", (long long)r->key_since.sec,
		         (long long)r->key_due.sec);
	if (r->key_why.len)
		map_add_member(out, "key_why", r->key_why);
	if (r->seen_count)
		buf_add_str(out, ",\"seen\":[");
	for (size_t i = 0; i < r->seen_count; i++) {
		char text[IP_TEXT_MAX];

		buf_add_str(out, i ? ",{\"key\":\"" : "{\"key\":\"");
		base64_add(out, span_of(r->seen[i].key, sizeof(r->seen[i].key)));
		buf_addf(out, "\",\"at\":\"%s\"}", ipport_text(&r->seen[i].at, text));
	}
	if (r->seen_count)
		buf_add_char(out, ']');
	buf_add_char(out, '}');
}

static void get_seen(struct fields *f, struct map_report *r)
{
	const json_t *arr = fields_array(f, "seen", MAP_SEEN_MAX);

	if (!arr || json_array_size(arr) == 0)
		return;
	r->seen = arena_calloc(&r->mem, json_array_size(arr), sizeof(*r->seen));
	for (size_t i = 0; i < json_array_size(arr) && !f->bad; i++) {
		struct fields in = fields_of(json_array_get(arr, i), f->err);
		struct span   at = fields_str(&in, "at", IP_TEXT_MAX, FIELD_REQUIRED);

		fields_base64(&in, "key", r->seen[i].key, sizeof(r->seen[i].key), FIELD_REQUIRED);
		if (!in.bad && !ipport_parse(at, &r->seen[i].at))
			fields_fail(&in, ERR_SYNTAX, "at", "not ADDRESS:PORT");
		f->bad = in.bad;
		r->seen_count++;
	}
}

bool map_report_decode(struct span json, struct map_report *ret_r, struct err *err)
{
	scoped_json json_t *root = json_read(json, MAP_REPORT_MAX, err);
	struct map_report   r;

	if (!root)
		return false;
	map_report_init(&r);
	struct fields f = fields_of(root, err);
	map_get_endpoints(&f, &r.mem, &r.endpoints, &r.endpoint_count);
	map_get_routes(&f, &r.mem, &r.routes, &r.route_count);
	map_get_services(&f, &r.mem, &r.services, &r.service_count);
	map_get_attrs(&f, &r.mem, &r.attrs, &r.attr_count);
	r.os = map_get_str(&f, &r.mem, "os", 128, FIELD_OPTIONAL);
	r.version = map_get_str(&f, &r.mem, "version", 64, FIELD_OPTIONAL);
	map_get_list(&f, &r.mem, "pins", &r.pins);
	r.verify_idp = span_eq(fields_str(&f, "verify", 32, FIELD_OPTIONAL), SPAN("idp"));
	map_get_list(&f, &r.mem, "lists", &r.lists);
	r.key_since.sec = fields_int(&f, "key_since", 0, INT64_MAX, FIELD_OPTIONAL);
	r.key_due.sec = fields_int(&f, "key_due", 0, INT64_MAX, FIELD_OPTIONAL);
	r.key_why = map_get_str(&f, &r.mem, "key_why", ERR_MSG_MAX, FIELD_OPTIONAL);
	get_seen(&f, &r);
	if (f.bad) {
		map_report_done(&r);
		return false;
	}
	*ret_r = r;
	return true;
}
