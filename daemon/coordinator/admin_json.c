/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/coordinator.h"

#include <inttypes.h>

static void add_id(struct buf *out, const char *name, char kind, uint64_t id)
{
	char text[MAP_ID_MAX];

	if (id)
		buf_addf(out, ",\"%s\":\"%s\"", name, map_id_text(kind, id, text));
}

static void add_str(struct buf *out, const char *name, const char *value)
{
	buf_addf(out, ",\"%s\":", name);
	buf_add_json(out, span_str(value));
}

static void add_list(struct buf *out, const char *name, const char *list)
{
	struct span rest = span_str(list), item;
	bool        more = false;

	buf_addf(out, ",\"%s\":[", name);
	while (row_list_next(&rest, &item)) {
		if (more)
			buf_add_char(out, ',');
		buf_add_json(out, item);
		more = true;
	}
	buf_add_char(out, ']');
}

static void add_time(struct buf *out, const char *name, struct wall w)
{
	buf_addf(out, ",\"%s\":%" PRId64, name, w.sec);
}

static const char *yes(bool b)
{
	return b ? "true" : "false";
}

void admin_node_json(const struct coordinator *co, const struct reg_node *n, struct buf *out)
{
	struct map_node  *m = view_node(co->reg, n, loop_wall(co->loop));
	struct feed_state f = { 0 };
	char              text[IP_TEXT_MAX];

	map_node_encode(m, out);
	map_node_unref(m);
	if (out->len)
		out->len--;     /* its brace: more members follow */
	feeds_state(co->feeds, n->id, &f);
	add_str(out, "os", n->row->os);
	add_time(out, "created", n->row->created);
	add_time(out, "seen", n->last_seen);
	add_str(out, "from", n->row->from);
	add_id(out, "enrol_key", 'k', n->row->enrol_key);
	add_time(out, "expires", n->row->expires);
	buf_addf(out, ",\"approved\":%s,\"ephemeral\":%s", yes(n->row->approved),
		 yes(n->row->ephemeral));
	buf_addf(out, ",\"online\":%s,\"sent\":%" PRIu64 ",\"acked\":%" PRIu64 ",\"offered\":[",
		 yes(n->online), f.sent, f.acked);
	for (size_t i = 0; i < n->report.route_count; i++)
		buf_addf(out, "%s\"%s\"", i ? "," : "", prefix_text(&n->report.routes[i], text));
	buf_add_char(out, ']');
	disbelief_json(co->disbelief, co->reg, n->id, out);
	if (n->report.verify_idp)
		buf_add_str(out, ",\"verify\":\"idp\"");
	if (n->report.key_since.sec)
		add_time(out, "key_since", n->report.key_since);
	if (n->report.key_due.sec)
		add_time(out, "key_due", n->report.key_due);
	if (n->report.key_why.len) {
		buf_add_str(out, ",\"key_why\":");
		buf_add_json(out, n->report.key_why);
	}
	if (n->report.version.len) {
		buf_add_str(out, ",\"version\":");
		buf_add_json(out, n->report.version);
	}
	buf_add_char(out, '}');
}

void admin_user_json(const struct coordinator *co, const struct reg_user *u, struct buf *out)
{
	size_t sessions = 0, pos = 0;
	char   id[MAP_ID_MAX];

	for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));) {
		const struct session_row *s = registry_session(n, loop_wall(co->loop));

		sessions += s && s->user == u->id;
	}
	buf_addf(out, "{\"id\":\"%s\"", map_id_text('u', u->id, id));
	add_str(out, "login", u->row->login);
	add_str(out, "name", u->row->name);
	add_str(out, "email", u->row->email);
	add_str(out, "issuer", u->row->issuer);
	add_str(out, "sub", u->row->sub);
	add_list(out, "idp", u->row->groups);
	groups_user_json(co, u, out);
	add_list(out, "disabled", u->row->disabled);
	add_time(out, "created", u->row->created);
	add_time(out, "last_login", u->row->last_login);
	buf_addf(out, ",\"blocked\":%s,\"admin\":%s,\"nodes\":%zu,\"sessions\":%zu}",
		 yes(u->row->blocked), yes(registry_user_is_admin(co->reg, u->row)), u->nodes,
		 sessions);
}

void admin_session_json(const struct coordinator *co, const struct reg_node *n, struct buf *out)
{
	const struct session_row *s = n->session;
	const struct reg_user    *u = registry_user(co->reg, s->user);
	char                      id[MAP_ID_MAX];

	buf_addf(out, "{\"id\":\"%s\"", map_id_text('s', s->id, id));
	add_id(out, "node", 'n', n->id);
	add_str(out, "name", n->row->name);
	add_id(out, "user", 'u', s->user);
	add_str(out, "login", u ? u->row->login : "");
	add_str(out, "issuer", s->issuer);
	add_time(out, "auth_time", s->auth_time);
	add_time(out, "created", s->created);
	add_time(out, "expires", s->expires);
	add_time(out, "checked", s->checked);
	add_time(out, "used", n->used);
	add_str(out, "acr", s->acr);
	add_list(out, "amr", s->amr);
	add_list(out, "idp", s->groups);
	add_str(out, "from", s->from);
	buf_addf(out, ",\"mfa\":%s,\"cross_device\":%s}", yes(s->mfa), yes(s->cross_device));
}

void admin_key_json(const struct key_row *k, struct buf *out)
{
	char id[MAP_ID_MAX];

	buf_addf(out, "{\"id\":\"%s\"", map_id_text('k', k->id, id));
	add_list(out, "tags", k->tags);
	buf_addf(out, ",\"scim\":%s", yes(k->scim));
	add_str(out, "note", k->note);
	add_time(out, "created", k->created);
	add_time(out, "expires", k->expires);
	add_id(out, "by", 'u', k->by);
	buf_addf(out, ",\"ephemeral\":%s,\"node_life\":%" PRId64, yes(k->ephemeral), k->node_life);
	buf_addf(out, ",\"uses\":%" PRId64 ",\"used\":%" PRId64 ",\"revoked\":%s}", k->uses,
		 k->used, yes(k->revoked));
}

void admin_status_json(const struct coordinator *co, struct buf *out)
{
	const struct registry *reg = co->reg;
	struct store_stats     st;
	size_t                 pos = 0, online = 0;
	char                   ula[IP_TEXT_MAX], v4[IP_TEXT_MAX], pin[ENROL_PIN_TEXT_LEN + 1];

	for (struct reg_node *n; (n = registry_next_node(reg, &pos));)
		online += n->online;
	store_stats(co->store, &st);
	buf_addf(out,
		 "{\"mesh\":\"%s\",\"epoch\":\"%s\",\"seq\":%" PRIu64 ",\"acked\":%" PRIu64
		 ",\"ula\":\"%s\",\"v4\":\"%s\"",
		 reg->mesh.name, reg->mesh.epoch, reg->seq, feeds_acked(co->feeds),
		 prefix_text(&reg->mesh.ula, ula), prefix_text(&reg->mesh.v4, v4));
	add_str(out, "url", co->conf->url);
	buf_add_str(out, ",\"pins\":[");
	for (size_t i = 0; i < reg->pin_count; i++) {
		enrol_pin_text(&reg->pins[i], pin);
		buf_addf(out, "%s\"%s\"", i ? "," : "", pin);
	}
	buf_add_char(out, ']');
	groups_status_json(co, out);
	buf_addf(out,
		 ",\"nodes\":%zu,\"online\":%zu,\"users\":%zu,\"policy\":%" PRIu64
		 ",\"attempts\":%zu"
		 ",\"commits\":%" PRIu64 ",\"commit_worst_us\":%" PRId64 ",\"audit_lost\":%" PRIu64
		 "}",
		 dict_count(reg->nodes), online, dict_count(reg->users),
		 reg->policy_row ? reg->policy_row->version : 0, attempts_count(co->attempts),
		 st.commits, st.worst_commit_ns / 1000, audit_lost(co->audit));
}

void admin_metrics(const struct coordinator *co, struct buf *out)
{
	struct store_stats st;
	struct http_stats  hs;

	store_stats(co->store, &st);
	http_stats(co->http, &hs);
	feeds_metrics(co->feeds, out);
	buf_addf(out, "reeve_nodes %zu\nreeve_users %zu\nreeve_attempts %zu\n",
		 dict_count(co->reg->nodes), dict_count(co->reg->users),
		 attempts_count(co->attempts));
	buf_addf(out,
		 "reeve_store_jobs_total %" PRIu64 "\nreeve_store_commits_total %" PRIu64
		 "\nreeve_store_failures_total %" PRIu64 "\nreeve_store_waiting %zu\n"
		 "reeve_store_commit_worst_seconds %.6f\n",
		 st.jobs, st.commits, st.failures, st.waiting, (double)st.worst_commit_ns / 1e9);
	buf_addf(out,
		 "reeve_http_requests_total %" PRIu64 "\nreeve_http_refused_total %" PRIu64
		 "\nreeve_http_connections %zu\nreeve_http_parked %zu\nreeve_audit_lost_total "
		 "%" PRIu64 "\n",
		 hs.requests, hs.refused, hs.connections, hs.parked, audit_lost(co->audit));
}
