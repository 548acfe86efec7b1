/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/api_answer.h"

#include "base/encode.h"
#include "daemon/control/enrol_idp.h"
#include "daemon/endpoint/aging.h"
#include "daemon/endpoint/join.h"
#include "daemon/endpoint/names.h"
#include "daemon/endpoint/sync.h"

#include "config.h"

#include <string.h>

static const char *why_word(enum ident_why why)
{
	static const char *const words[WHY_COUNT] = {
		[WHY_NEVER] = "never", [WHY_EXPIRED] = "expired", [WHY_REVOKED] = "revoked",
		[WHY_LOGGED_OUT] = "logged-out", [WHY_EVIDENCE] = "evidence", [WHY_CONFLICT] = "conflict",
	};

	return (unsigned)why < WHY_COUNT && words[why] ? words[why] : "unknown";
}

static json_t *text(struct span s)
{
	return json_stringn(s.ptr ? s.ptr : "", s.len);
}

static json_t *list(const struct span *l, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, text(l[i]));
	return a;
}

static json_t *ip_json(const struct ip *ip)
{
	char t[IP_TEXT_MAX];

	return ip->family == IP_NONE ? json_null() : json_string(ip_text(ip, t));
}

static json_t *id_json(char kind, uint64_t n)
{
	char t[MAP_ID_MAX];

	return json_string(map_id_text(kind, n, t));
}

static json_t *person_of_row(const struct identity_row *r, json_t *out)
{
	json_t *groups = json_array();

	for (size_t i = 0; i < r->group_count; i++)
		json_array_append_new(groups, json_sprintf("idp:%.*s", SPAN_ARG(r->groups[i])));
	json_object_set_new(out, "user", json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"id", text(r->login), "login", text(r->login), "name", text(r->name),
		"email", text(r->email), "picture", json_string(""), "issuer", json_string(""),
		"subject", text(r->login), "groups", groups));
	json_object_set_new(out, "session", json_pack("{s:s, s:I, s:I, s:o, s:o, s:b}",
		"id", "", "auth_time", (json_int_t)r->auth_time.sec, "expires", (json_int_t)r->expires.sec,
		"acr", text(r->acr), "amr", list(r->amr, r->amr_count), "cross_device", 0));
	return out;
}

static void person_of_node(const struct map_node *n, bool valid, json_t *out)
{
	const struct map_user *u = n->user;
	json_t *groups = json_array();

	for (size_t i = 0; i < u->groups.count; i++)
		json_array_append_new(groups, text(u->groups.list[i]));
	for (size_t i = 0; i < u->idp.count; i++)
		json_array_append_new(groups, json_sprintf("idp:%.*s", SPAN_ARG(u->idp.list[i])));
	json_object_set_new(out, "user", json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o}",
		"id", id_json('u', u->id), "login", text(u->login), "name", text(u->name),
		"email", text(u->email), "picture", "", "issuer", text(u->issuer),
		"subject", text(u->sub), "groups", groups));
	if (!valid || !n->session) {
		json_object_set_new(out, "session", json_null());
		return;
	}
	json_object_set_new(out, "session", json_pack("{s:o, s:I, s:I, s:o, s:o, s:b}",
		"id", id_json('s', n->session->id), "auth_time", (json_int_t)n->session->auth_time.sec,
		"expires", (json_int_t)n->session->expires.sec, "acr", text(n->session->acr),
		"amr", list(n->session->amr.list, n->session->amr.count),
		"cross_device", (int)n->session->cross_device));
}

static json_t *party_json(const struct core *c, const struct party *p, const struct ip *ip)
{
	struct world_now now;
	json_t *out = json_object(), *node;
	bool valid;

	core_now(c, &now);
	bool over = world_lease_over(p, &now);
	valid = world_party_valid(p, now.wall) && !boot_passed(world_party_end(p), now.boot) && !over;
	json_object_set_new(out, "user", json_null());
	json_object_set_new(out, "session", json_null());
	json_object_set_new(out, "caps", valid ? api_caps(c, p, ip) : json_object());
	if (p->row) {
		char from[IP_TEXT_MAX];

		node = json_pack("{s:s, s:s, s:n, s:n, s:o}", "id", "", "name",
		                 prefix_text(&p->row->from, from), "v4", "v6", "tags",
		                 list(p->row->tags, p->row->tag_count));
		if (!p->row->tag_count)
			person_of_row(p->row, out);
		if (!valid)
			json_object_set_new(out, "why", json_string("expired"));
	} else {
		node = json_pack("{s:o, s:o, s:o, s:o, s:o}", "id", id_json('n', p->id), "name",
		                 text(p->node->name), "v4", ip_json(&p->node->v4), "v6", ip_json(p->turned ? &p->next_v6 : &p->node->v6),
		                 "tags", list(p->node->tags.list, p->node->tags.count));
		if (p->node->user && !p->node->tags.count)
			person_of_node(p->node, valid, out);
		if (over)
			json_object_set_new(out, "why", json_string("lease"));
		else if (!valid)
			json_object_set_new(out, "why", json_string(p->node->waits ? "waits"
				: why_word(p->node->session ? WHY_EXPIRED : p->why)));
	}
	json_object_set_new(out, "node", node);
	return out;
}

json_t *api_caps(const struct core *c, const struct party *p, const struct ip *ip)
{
	struct span caps = world_caps(c->world, p->id, ip ? ip->family : IP_V4);
	json_t *o = json_loadb(caps.ptr, caps.len, 0, NULL);

	return json_is_object(o) ? o : json_object();
}

const struct party *api_party(const struct core *c, const struct ip *ip)
{
	const struct party *p = world_find_ip(c->world, ip);

	return p && c->files->vouch && p->id == world_self(c->world) ? NULL : p;
}

json_t *api_whois(const struct core *c, const struct ip *ip)
{
	const struct party *p = api_party(c, ip);
	json_t *out;

	if (!p)
		return NULL;
	out = party_json(c, p, ip);
	json_object_set_new(out, "addr", ip_json(ip));
	return out;
}

static json_t *fronts_json(const struct core *c)
{
	json_t *a = json_array();

	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		const struct core_front *f = &c->fronts[i];

		if (!f->channel)
			continue;
		json_array_append_new(a, json_pack("{s:s, s:i, s:b, s:b}", "kind", process_kind_name(f->kind),
		                                   "index", (int)f->index, "current",
		                                   (int)(f->acked == c->generation), "refused", (int)f->refused));
	}
	return a;
}

static json_t *upstream_json(const struct core *c, const char *service, const char *name, bool public)
{
	const char *state, *why;
	unsigned fronts = core_health_look(c, public ? PROCESS_PUBLIC : PROCESS_FRONT, service, name, &state, &why);
	json_t *o = json_pack("{s:s, s:s}", "name", name, "state", state);

	if (fronts) {
		json_object_set_new(o, "fronts", json_integer(fronts));
		json_object_set_new(o, "why", json_string(why));
	}
	return o;
}

/* Those of a host name by their addresses; and one for the name, where it has none or an old answer. */
static void name_json(const struct core *c, const char *service, const char *url, struct span name, bool public, json_t *a)
{
	const struct names_answer *at = names_find(c->names, name);
	const char *fault = c->names ? names_fault(c->names, name) : "it is not looked up";
	json_t *o;

	if (*fault) {
		o = json_pack("{s:s, s:s, s:s}", "name", url, "state", at ? "old" : "unknown", "why", fault);
		json_array_append_new(a, o);
	}
	for (size_t k = 0; at && k < NAMES_ADDRESSES_MAX; k++) {
		char ip[IP_TEXT_MAX];
		scoped_buf struct buf text = { 0 };

		if (at->at[k].family == IP_NONE)
			continue;
		buf_init(&text, 8192);
		buf_addf(&text, "%s (%s)", url, ip_text(&at->at[k], ip));
		if (!text.over)
			json_array_append_new(a, upstream_json(c, service, text.ptr, public));
	}
}

static json_t *upstreams_json(const struct core *c, const char *service, const struct conf_service *s, bool public)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->upstream.count; i++) {
		struct conf_upstream u = { 0 };

		if (conf_upstream_parse(span_str(s->upstream.list[i]), &u, NULL) && u.name.len)
			name_json(c, service, s->upstream.list[i], u.name, public, a);
		else
			json_array_append_new(a, upstream_json(c, service, s->upstream.list[i], public));
	}
	return a;
}

static json_t *services_json(const struct core *c)
{
	const struct conf_map *maps[] = { &c->files->conf->services, &c->files->conf->public };
	json_t *a = json_array();

	for (size_t m = 0; m < 2; m++)
		for (size_t i = 0; i < maps[m]->count; i++) {
			const struct conf_service *s = conf_service(maps[m], i);
			json_t *listen = json_array();

			for (size_t k = 0; k < s->listen.count; k++)
				json_array_append_new(listen, json_string(s->listen.list[k]));
			json_array_append_new(a, json_pack("{s:s, s:o, s:o, s:b, s:b, s:s*}", "name", maps[m]->names[i],
			                                   "listen", listen, "upstreams", upstreams_json(c, maps[m]->names[i], s, m == 1),
			                                   "public", (int)(m == 1), "tls", (int)s->tls,
			                                   "asked_by", s->forward ? conf_forward_name(s->forward) : NULL));
		}
	return a;
}

static json_t *map_json(const struct core *c, const struct world_now *now)
{
	struct sync_state st = { 0 };
	json_t *o = json_object();

	if (c->sync)
		sync_state(c->sync, &st);
	if (c->map.whole) {
		json_object_set_new(o, "epoch", json_string(c->map.epoch));
		json_object_set_new(o, "seq", json_integer((json_int_t)c->map.seq));
	}
	json_object_set_new(o, "connected", json_boolean(st.connected));
	if (c->sync && !st.connected && *st.why)
		json_object_set_new(o, "why", json_string(st.why));
	if (*c->map_error)
		json_object_set_new(o, "error", json_string(c->map_error));
	if (now->silent >= 0 && now->silent != INT64_MAX)
		json_object_set_new(o, "age", json_integer((json_int_t)(now->silent / SEC_NS)));
	if (now->lease.ns != INT64_MAX)
		json_object_set_new(o, "lease", json_integer(boot_passed(now->lease, now->boot)
			? 0 : (json_int_t)((now->lease.ns - now->boot.ns) / SEC_NS)));
	return o;
}

static json_t *peers_json(const struct core *c)
{
	const struct party *const *parties;
	size_t n = world_parties(c->world, &parties);
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++) {
		struct compile_peer peer = { 0 };
		json_t *o;

		if (parties[i]->id == world_self(c->world))
			continue;
		o = party_json(c, parties[i], NULL);
		if (world_party_peer(c->world, parties[i]->id, &peer)) {
			json_object_set_new(o, "calls_us", json_boolean(peer.calls_us));
			json_object_set_new(o, "we_call", json_boolean(peer.we_call));
			json_object_set_new(o, "after_login", json_boolean(peer.after_login));
		}
		if (c->files->vouch && vouch_why(c->files->vouch, parties[i]->id))
			json_object_set_new(o, "evidence", json_string(vouch_why(c->files->vouch, parties[i]->id)));
		if (parties[i]->v4 > CLAIM_NONE || parties[i]->v6 > CLAIM_NONE)
			json_object_set_new(o, "refused", json_string(claim_verdict_text(
				parties[i]->v6 > CLAIM_NONE ? parties[i]->v6 : parties[i]->v4)));
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *enrolment_json(const struct core *c)
{
	char t[IP_TEXT_MAX];
	json_t *pins = json_array();

	if (!c->enrolment.enrolled) {
		json_decref(pins);
		return json_pack("{s:b}", "enrolled", 0);
	}
	for (size_t i = 0; i < c->enrolment.pin_count; i++) {
		char pin[ENROL_PIN_TEXT_LEN + 1];

		enrol_pin_text(&c->enrolment.pins[i], pin);
		json_array_append_new(pins, json_string(pin));
	}
	return json_pack("{s:b, s:s, s:o, s:s, s:b}", "enrolled", 1, "url", c->enrolment.url, "pins", pins,
	                 "control", c->enrolment.is_unix ? c->enrolment.socket : ipport_text(&c->enrolment.control, t),
	                 "down", (int)c->enrolment.down);
}

static json_t *key_json(const struct core *c, const struct world_now *now)
{
	scoped_buf struct buf key = { 0 };
	struct aging_state st;
	json_t *o;

	aging_state(c->aging, &st);
	buf_init(&key, 64);
	base64_add(&key, span_of(c->public_key, sizeof(c->public_key)));
	o = json_pack("{s:s, s:I, s:I}", "public", key.ptr, "since", (json_int_t)st.since.sec, "due",
	              (json_int_t)st.due.sec);
	if (*st.why)
		json_object_set_new(o, "why", json_string(st.why));
	if (st.failures)
		json_object_set_new(o, "failures", json_integer(st.failures));
	if (st.failures && !boot_passed(st.again, now->boot))
		json_object_set_new(o, "again", json_integer((json_int_t)((st.again.ns - now->boot.ns) / SEC_NS)));
	return o;
}

json_t *api_status(const struct core *c)
{
	static const char *const modes[] = { "standalone", "map-file", "mesh" };
	const struct party *self = world_self(c->world) ? world_find(c->world, world_self(c->world)) : NULL;
	struct audit_stats audit = { 0 };
	struct world_now now;
	json_t *o = json_object();

	core_now(c, &now);
	if (c->audit)
		audit_stats(c->audit, &audit);
	json_object_set_new(o, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(o, "mode", json_string(modes[c->files->conf->mode]));
	if (c->files->conf->mode == CONF_MESH)
		json_object_set_new(o, "enrolment", enrolment_json(c));
	if (c->files->conf->mode == CONF_MESH && c->enrolment.enrolled && c->key.len)
		json_object_set_new(o, "key", key_json(c, &now));
	if (c->files->conf->mode != CONF_STANDALONE) {
		json_object_set_new(o, "map", map_json(c, &now));
		if (c->map.whole && c->map.mesh_name)
			json_object_set_new(o, "mesh", json_string(c->map.mesh_name));
		json_object_set_new(o, "interface", json_string(c->files->conf->mesh.interface));
		if (self && self->node)
			json_object_set_new(o, "self", party_json(c, self, NULL));
	}
	json_object_set_new(o, "net", json_pack("{s:b, s:s, s:i}", "running", (int)(c->net != NULL),
	                                        "error", c->net_error, "waiting", (int)(c->waiting + c->under_way)));
	json_object_set_new(o, "fronts", fronts_json(c));
	json_object_set_new(o, "services", services_json(c));
	json_object_set_new(o, "peers", peers_json(c));
	json_object_set_new(o, "audit", json_pack("{s:I, s:I, s:I}", "written", (json_int_t)audit.written,
	                                          "lost", (json_int_t)audit.lost, "waiting", (json_int_t)audit.waiting));
	return o;
}

static json_t *refused_json(const struct msg_status *part)
{
	json_t *o = json_object();

	for (int i = 0; i < MSG_FILTER_COUNTERS; i++)
		json_object_set_new(o, msg_filter_counter_name((enum msg_filter_counter)i), json_integer((json_int_t)part->refused[i]));
	return o;
}

void api_status_peers(json_t *status, const struct core *c, const struct msg_status *part)
{
	json_t *peers = json_object_get(status, "peers"), *o;
	char t[IP_TEXT_MAX];
	size_t k;

	json_object_set_new(status, "port", json_integer(part->port));
	json_object_set_new(status, "backend", text(part->backend));
	json_object_set_new(status, "refused_packets", refused_json(part));
	json_object_set_new(status, "ended", json_pack("{s:I, s:I}", "connections", (json_int_t)part->cut[0], "flows",
	                                               (json_int_t)part->cut[1]));
	if (part->cannot.len)
		json_object_set_new(status, "cannot", text(part->cannot));
	for (size_t i = 0; i < part->peers_n; i++) {
		const struct msg_peer_status *st = &part->peers[i];
		const struct party *p = world_find_key(c->world, st->key);
		char id[MAP_ID_MAX];

		if (!p || (p->node && memcmp(st->key, world_key(p), MSG_KEY_LEN) != 0))
			continue;
		map_id_text('n', p->id, id);
		json_array_foreach(peers, k, o) {
			const char *own = json_string_value(json_object_get(json_object_get(o, "node"), "id"));

			if (!own || strcmp(own, id) != 0)
				continue;
			json_object_set_new(o, "handshake", json_integer((json_int_t)st->handshake));
			json_object_set_new(o, "rx", json_integer((json_int_t)st->rx));
			json_object_set_new(o, "tx", json_integer((json_int_t)st->tx));
			if (st->endpoint.ip.family != IP_NONE)
				json_object_set_new(o, "endpoint", json_string(ipport_text(&st->endpoint, t)));
		}
	}
}

static json_t *choices_json(const struct enrol_reply *reply)
{
	json_t *a = json_array();

	for (size_t i = 0; i < reply->choose_count; i++)
		json_array_append_new(a, json_pack("{s:s, s:s}", "name", reply->choose[i].name,
		                                   "title", reply->choose[i].title));
	return json_pack("{s:s, s:o}", "state", "choose", "issuers", a);
}

json_t *api_joined(const struct enrol_reply *reply, const struct core *c)
{
	if (reply->choose)
		return choices_json(reply);
	if (reply->device)
		return json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:I}", "state", "login", "device", 1, "url",
		                 join_url(c->join), "callback", join_state(c->join), "issuer",
		                 reply->device->issuer, "attempt", reply->attempt, "expires",
		                 (json_int_t)reply->expires.sec);
	if (reply->done)
		return json_pack("{s:s, s:{s:o, s:o, s:o, s:o}}", "state", "done", "node",
		                 "id", id_json('n', reply->node->id), "name", text(reply->node->name),
		                 "v4", ip_json(&reply->node->v4), "v6", ip_json(&reply->node->v6));
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "state", "login", "url", reply->url, "code", reply->code,
	                 "attempt", reply->attempt, "expires", (json_int_t)reply->expires.sec);
}

unsigned api_problem_status(enum err_code code)
{
	switch (code) {
	case ERR_SYNTAX: case ERR_LIMIT: return 400;
	case ERR_DENIED:                 return 403;
	case ERR_MISSING:                return 404;
	case ERR_EXISTS: case ERR_NOTNOW: case ERR_CONFIG: return 409;
	case ERR_EXPIRED:                return 410;
	case ERR_BUSY:                   return 202;
	case ERR_TIMEOUT:                return 504;
	default:                         return 502;
	}
}

json_t *api_problem(unsigned status, const struct err *err)
{
	return json_pack("{s:s, s:i, s:s, s:s}", "type", "about:blank", "status", (int)status,
	                 "error", err_code_name(err->code), "detail", err->msg);
}
