/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/tables.h"

#include "policy/flat.h"
#include "policy/ipset.h"

#include <string.h>

/* ---- reading the block ---- */

static const void *at(const struct tables *t, uint32_t off)
{
	return (const char *)t + off;
}

static struct span text(const struct tables *t, struct flat_str s)
{
	return (struct span){ (const char *)t + t->strings.off + s.off, s.len };
}

static bool list_in(const struct tables *t, struct flat_list l, size_t size)
{
	return l.count == 0 || (l.off % 8 == 0 && l.off >= sizeof(*t) && l.off < t->size &&
	                        (uint64_t)l.count * size <= t->size - l.off);
}

static bool str_in(const struct tables *t, struct flat_str s)
{
	return s.len == 0 || (s.off < t->strings.len && s.len <= t->strings.len - s.off);
}

static bool strs_in(const struct tables *t, struct flat_list l)
{
	const struct flat_str *s = at(t, l.off);

	if (!list_in(t, l, sizeof(*s)))
		return false;
	for (uint32_t i = 0; i < l.count; i++)
		if (!str_in(t, s[i]))
			return false;
	return true;
}

static bool rows_ok(const struct tables *t, struct flat_list l)
{
	const struct flat_row *r = at(t, l.off);

	if (!list_in(t, l, sizeof(*r)))
		return false;
	for (uint32_t i = 0; i < l.count; i++) {
		if (r[i].lo > r[i].hi || r[i].rule > t->rules.count || r[i].local > t->rules.count)
			return false;
		if (i == 0)
			continue;
		if (r[i].dest != r[i - 1].dest ? r[i].dest < r[i - 1].dest :
		    r[i].proto != r[i - 1].proto ? r[i].proto < r[i - 1].proto : r[i].lo <= r[i - 1].hi)
			return false;
	}
	return true;
}

static bool rules_ok(const struct tables *t)
{
	const struct flat_rule *r = at(t, t->rules.off);

	if (!list_in(t, t->rules, sizeof(*r)))
		return false;
	for (uint32_t i = 0; i < t->rules.count; i++) {
		const struct flat_match *m = at(t, r[i].matches.off);

		if (!str_in(t, r[i].text) || !str_in(t, r[i].acr) || !str_in(t, r[i].amr) || r[i].max_age < 0 ||
		    r[i].stale < 0 || !list_in(t, r[i].matches, sizeof(*m)))
			return false;
		if ((r[i].flags & FLAT_HTTP ? 1 : 0) != (r[i].matches.count > 0))
			return false;
		for (uint32_t k = 0; k < r[i].matches.count; k++)
			if (!strs_in(t, m[k].methods) || !strs_in(t, m[k].hosts) || !strs_in(t, m[k].paths))
				return false;
	}
	return true;
}

static int cmp128(const uint64_t a[2], const uint64_t b[2])
{
	if (a[0] != b[0])
		return a[0] < b[0] ? -1 : 1;
	return (a[1] > b[1]) - (a[1] < b[1]);
}

static bool dests_ok(const struct tables *t)
{
	const struct flat_dest *d = at(t, t->dests.off);

	if (!list_in(t, t->dests, sizeof(*d)))
		return false;
	for (uint32_t i = 0; i < t->dests.count; i++) {
		if ((d[i].family != IP_V4 && d[i].family != IP_V6) || cmp128(d[i].lo, d[i].hi) > 0)
			return false;
		if (i && (d[i].family < d[i - 1].family ||
		          (d[i].family == d[i - 1].family && cmp128(d[i - 1].hi, d[i].lo) >= 0)))
			return false;
	}
	return true;
}

static bool entries_ok(const struct tables *t, const struct flat_entries *f)
{
	const struct flat_entry *e = at(t, f->entries.off);
	const struct flat_bucket *b = at(t, f->buckets.off);
	const struct flat_rule *rules = at(t, t->rules.off);
	uint32_t empty = 0;

	if (!list_in(t, f->entries, sizeof(*e)) || !list_in(t, f->buckets, sizeof(*b)))
		return false;
	for (uint32_t i = 0; i < f->entries.count; i++)
		if (e[i].rule == 0 || e[i].rule > t->rules.count)
			return false;
	if (f->buckets.count == 0)
		return true;
	if (f->buckets.count & (f->buckets.count - 1))
		return false;
	for (uint32_t i = 0; i < f->buckets.count; i++) {
		const struct flat_item *item = at(t, b[i].items.off);

		empty += b[i].items.count == 0;
		/* Items of one list follow each other without a gap: 4-byte aligned. */
		if (b[i].items.count && (b[i].items.off % 4 || b[i].items.off < sizeof(*t) || b[i].items.off >= t->size ||
		    (uint64_t)b[i].items.count * sizeof(*item) > t->size - b[i].items.off))
			return false;
		for (uint32_t k = 0; k < b[i].items.count; k++) {
			const struct flat_rule *r;

			if (item[k].entry >= f->entries.count)
				return false;
			r = &rules[e[item[k].entry].rule - 1];
			if (item[k].match == FLAT_ANY) {
				if (r->matches.count || item[k].path != FLAT_ANY)
					return false;
				continue;
			}
			if (item[k].match >= r->matches.count)
				return false;
			if (item[k].path == FLAT_ANY ? ((const struct flat_match *)at(t, r->matches.off))[item[k].match].paths.count != 0 :
			    item[k].path >= ((const struct flat_match *)at(t, r->matches.off))[item[k].match].paths.count)
				return false;
		}
	}
	return empty > 0;       /* or a search would not end */
}

static bool classes_ok(const struct tables *t)
{
	const struct flat_class *c = at(t, t->classes.off);

	if (!list_in(t, t->classes, sizeof(*c)))
		return false;
	for (uint32_t i = 0; i < t->classes.count; i++) {
		const struct flat_set *s = at(t, c[i].sets.off);

		if (!rows_ok(t, c[i].rows) || !str_in(t, c[i].caps) || !list_in(t, c[i].sets, sizeof(*s)))
			return false;
		if (i < CLASS_FIRST && (c[i].live || c[i].rows.count || c[i].sets.count))
			return false;
		for (uint32_t k = 0; k < c[i].sets.count; k++)
			if (s[k].service == 0 || s[k].service > t->services.count ||
			    (k && s[k].service <= s[k - 1].service) || !entries_ok(t, &s[k].by[0]) || !entries_ok(t, &s[k].by[1]))
				return false;
	}
	return true;
}

static bool services_ok(const struct tables *t)
{
	const struct flat_service *s = at(t, t->services.off);

	if (!list_in(t, t->services, sizeof(*s)))
		return false;
	for (uint32_t i = 0; i < t->services.count; i++)
		if (!str_in(t, s[i].name) || !list_in(t, s[i].ports, sizeof(uint16_t)) || s[i].ports.count > 32 ||
		    s[i].first_rule > t->rules.count)
			return false;
	return true;
}

bool tables_check(const void *p, size_t n, struct err *err)
{
	const struct tables *t = p;

	if ((uintptr_t)p % 8)
		return err_set(err, ERR_SYNTAX, "tables: not aligned");
	if (n < sizeof(*t) || n > TABLES_MAX || t->magic != FLAT_MAGIC || t->size > n || t->size < sizeof(*t))
		return err_set(err, ERR_SYNTAX, "tables: %zu bytes with no head of theirs", n);
	if (t->strings.len && (t->strings.off < sizeof(*t) || t->strings.off >= t->size ||
	                       t->strings.len > t->size - t->strings.off))
		return err_set(err, ERR_SYNTAX, "tables: strings reach beyond the end");
	if (!rules_ok(t))
		return err_set(err, ERR_SYNTAX, "tables: a rule reaches beyond the end");
	if (!dests_ok(t))
		return err_set(err, ERR_SYNTAX, "tables: destinations are not in order");
	if (!services_ok(t))
		return err_set(err, ERR_SYNTAX, "tables: a service reaches beyond the end");
	if (!classes_ok(t) || !rows_ok(t, t->login))
		return err_set(err, ERR_SYNTAX, "tables: a class is out of order or reaches beyond the end");
	return true;
}

const struct tables *tables_map(const void *p)
{
	return p;
}

uint64_t tables_generation(const struct tables *t)
{
	return t->generation;
}

uint32_t tables_service(const struct tables *t, struct span name)
{
	const struct flat_service *s = at(t, t->services.off);

	for (uint32_t i = 0; i < t->services.count; i++)
		if (span_eq(text(t, s[i].name), name))
			return i + 1;
	return SERVICE_NONE;
}

static const struct flat_class *class_at(const struct tables *t, uint32_t class)
{
	const struct flat_class *c = at(t, t->classes.off);

	return class >= CLASS_FIRST && class < t->classes.count && c[class].live ? &c[class] : NULL;
}

/* ---- HTTP ---- */

struct asking {
	const struct tables         *t;
	const struct tables_request *req;
	const struct tables_session *ses;
	struct wall                  now;
	int64_t                      silent;
	uint32_t                     port;      /* the bit of the listen port */
	uint8_t                      families;
	enum reason_code             best;      /* the nearest so far */
	uint32_t                     rule;
};

static bool same(struct span a, struct span b)
{
	return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static bool one_of(const struct tables *t, struct flat_list l, struct span s)
{
	const struct flat_str *list = at(t, l.off);

	for (uint32_t i = 0; i < l.count; i++)
		if (same(text(t, list[i]), s))
			return true;
	return l.count == 0;
}

static void nearer(struct asking *a, enum reason_code code, uint32_t rule)
{
	if (code > a->best) {
		a->best = code;
		a->rule = rule;
	}
}

/* The rule means this request: what remains is the login and how old the word is. */
static bool login_holds(struct asking *a, const struct flat_entry *e, const struct flat_rule *r)
{
	if (r->flags & FLAT_AUTH) {
		if (!e->strong) {
			nearer(a, REASON_AUTH_STRENGTH, e->rule);
			return false;
		}
		/* Dead at maxAge, not after it; an unknown age is too old. */
		if (r->max_age && (a->ses->auth_time.sec <= 0 || a->ses->auth_time.sec > INT64_MAX - r->max_age ||
		                   a->now.sec >= a->ses->auth_time.sec + r->max_age)) {
			nearer(a, REASON_AUTH_AGE, e->rule);
			return false;
		}
	}
	if (a->silent >= 0 && a->silent >= r->stale) {
		nearer(a, REASON_STALE, e->rule);
		return false;
	}
	nearer(a, REASON_ALLOWED, e->rule);
	return true;
}

static bool reaches(struct asking *a, const struct flat_entry *e)
{
	if ((e->families & a->families) == a->families && (e->ports & a->port))
		return true;
	nearer(a, REASON_PORT, e->rule);
	return false;
}

static bool match_rest(struct asking *a, const struct flat_entry *e, const struct flat_rule *r,
                       const struct flat_match *m)
{
	if (!one_of(a->t, m->hosts, a->req->host)) {
		nearer(a, REASON_HOST, e->rule);
		return false;
	}
	if (!one_of(a->t, m->methods, a->req->method)) {
		nearer(a, REASON_METHOD, e->rule);
		return false;
	}
	return login_holds(a, e, r);
}

static bool walk(struct asking *a, const struct flat_entries *f)
{
	const struct flat_entry *e = at(a->t, f->entries.off);
	const struct flat_rule *rules = at(a->t, a->t->rules.off);

	for (uint32_t i = 0; i < f->entries.count; i++) {
		const struct flat_rule *r = &rules[e[i].rule - 1];
		const struct flat_match *m = at(a->t, r->matches.off);

		if (!reaches(a, &e[i]))
			continue;
		if (!(r->flags & FLAT_HTTP) && login_holds(a, &e[i], r))
			return true;
		for (uint32_t k = 0; k < r->matches.count; k++) {
			const struct flat_str *p = at(a->t, m[k].paths.off);
			bool hit = m[k].paths.count == 0;

			for (uint32_t q = 0; q < m[k].paths.count && !hit; q++)
				hit = pattern_match(text(a->t, p[q]), a->req->path);
			if (!hit)
				nearer(a, REASON_PATH, e[i].rule);
			else if (match_rest(a, &e[i], r, &m[k]))
				return true;
		}
	}
	return false;
}

static bool try_bucket(struct asking *a, const struct flat_entries *f, uint64_t hash)
{
	const struct flat_bucket *b = at(a->t, f->buckets.off);
	const struct flat_entry *e = at(a->t, f->entries.off);
	const struct flat_rule *rules = at(a->t, a->t->rules.off);
	uint32_t mask = f->buckets.count - 1, i = (uint32_t)hash & mask;
	const struct flat_item *item;

	while (b[i].items.count && b[i].hash != hash)
		i = (i + 1) & mask;
	item = at(a->t, b[i].items.off);
	for (uint32_t k = 0; k < b[i].items.count; k++) {
		const struct flat_entry *x = &e[item[k].entry];
		const struct flat_rule *r = &rules[x->rule - 1];
		const struct flat_match *m;

		if (!reaches(a, x))
			continue;
		if (item[k].match == FLAT_ANY) {
			if (login_holds(a, x, r))
				return true;
			continue;
		}
		m = (const struct flat_match *)at(a->t, r->matches.off) + item[k].match;
		if (item[k].path != FLAT_ANY &&
		    !pattern_match(text(a->t, ((const struct flat_str *)at(a->t, m->paths.off))[item[k].path]), a->req->path))
			continue;
		if (match_rest(a, x, r, m))
			return true;
	}
	return false;
}

/* Only patterns that can begin as the path does are looked at. */
static bool lookup(struct asking *a, const struct flat_entries *f)
{
	uint64_t h = FLAT_HASH0;

	nearer(a, REASON_PATH, ((const struct flat_entry *)at(a->t, f->entries.off))->rule);
	if (try_bucket(a, f, h))
		return true;
	for (size_t i = 0; i < a->req->path.len; i++) {
		h = flat_hash(h, (unsigned char)a->req->path.ptr[i]);
		if (a->req->path.ptr[i] == '/' && i + 1 < a->req->path.len && try_bucket(a, f, h))
			return true;
	}
	return try_bucket(a, f, h);
}

static bool decide(struct asking *a, const struct flat_entries *f)
{
	a->best = REASON_NONE;
	a->rule = RULE_NONE;
	return f->buckets.count ? lookup(a, f) : walk(a, f);
}

static enum verdict no(struct reason *why, enum reason_code code, uint32_t rule, uint32_t local)
{
	*why = (struct reason){ code, rule, local };
	return VERDICT_DENY;
}

enum verdict tables_http(const struct tables *t, uint32_t class, uint32_t service,
                         const struct tables_request *req, const struct tables_session *ses,
                         struct wall now, int64_t silent, struct reason *ret_why)
{
	const struct flat_class *c = class_at(t, class);
	const struct flat_service *s = at(t, t->services.off);
	const struct flat_set *set = NULL, *sets;
	struct asking a = { .t = t, .req = req, .ses = ses, .now = now, .silent = silent };
	const uint16_t *ports;
	uint32_t rule;

	if (service == SERVICE_NONE || service > t->services.count)
		return no(ret_why, REASON_NO_GRANT, RULE_NONE, RULE_NONE);
	s += service - 1;
	if (class == CLASS_LOGIN || now.sec >= ses->expires.sec)
		return no(ret_why, REASON_NO_SESSION, s->first_rule, RULE_NONE);
	if (c) {
		sets = at(t, c->sets.off);
		for (uint32_t i = 0; i < c->sets.count; i++)
			if (sets[i].service == service)
				set = &sets[i];
	}
	if (!set || !set->by[0].entries.count)
		return no(ret_why, s->first_rule ? REASON_NO_CLASS : REASON_NO_GRANT, s->first_rule, RULE_NONE);
	a.families = req->family == IP_V4 ? 1 : req->family == IP_V6 ? 2 : 3;
	ports = at(t, s->ports.off);
	for (uint32_t i = 0; i < s->ports.count; i++)
		if (ports[i] == req->port)
			a.port = UINT32_C(1) << i;
	if (!decide(&a, &set->by[0]))
		return no(ret_why, a.best, a.rule, RULE_NONE);
	rule = a.rule;
	if (t->has_owner) {
		bool ok = decide(&a, &set->by[1]);

		if (!ok && (a.best == REASON_AUTH_AGE || a.best == REASON_AUTH_STRENGTH || a.best == REASON_STALE))
			return no(ret_why, a.best, rule, a.rule);
		if (!ok)
			return no(ret_why, REASON_OWNER, rule, a.rule);
	}
	*ret_why = (struct reason){ REASON_ALLOWED, rule, t->has_owner ? a.rule : RULE_NONE };
	return VERDICT_ALLOW;
}

/* ---- packets ---- */

static uint32_t dest_of(const struct tables *t, const struct ip *ip)
{
	const struct flat_dest *d = at(t, t->dests.off);
	uint32_t a = 0, b = t->dests.count;
	ipnum n = ip_num(ip);
	uint64_t key[2] = { (uint64_t)(n >> 64), (uint64_t)n };

	while (a < b) {
		uint32_t m = a + (b - a) / 2;

		if (d[m].family < ip->family || (d[m].family == ip->family && cmp128(d[m].hi, key) < 0))
			a = m + 1;
		else
			b = m;
	}
	return a < t->dests.count && d[a].family == ip->family && cmp128(d[a].lo, key) <= 0 ? d[a].id : 0;
}

/* Dests are numbered by their first range's position + 1. */
static bool dest_local(const struct tables *t, uint32_t id)
{
	const struct flat_dest *d = at(t, t->dests.off);

	return id && id <= t->dests.count && d[id - 1].local;
}

enum verdict tables_packet(const struct tables *t, uint32_t class, const struct ip *dst,
                           uint8_t proto, uint16_t port, int64_t silent, struct reason *ret_why)
{
	const struct flat_class *c = class_at(t, class);
	struct flat_list list = c ? c->rows : class == CLASS_LOGIN ? t->login : (struct flat_list){ 0, 0 };
	const struct flat_row *r = at(t, list.off);
	uint32_t dest = dst->family == IP_NONE ? 0 : dest_of(t, dst), a = 0, b = list.count;
	enum reason_code near = REASON_NO_CLASS;

	if (!dest)
		return no(ret_why, REASON_NO_GRANT, RULE_NONE, RULE_NONE);
	while (a < b) {
		uint32_t m = a + (b - a) / 2;

		if (r[m].dest != dest ? r[m].dest < dest : r[m].proto != proto ? r[m].proto < proto : r[m].hi < port)
			a = m + 1;
		else
			b = m;
	}
	if (a < list.count && r[a].dest == dest && r[a].proto == proto && r[a].lo <= port) {
		if (silent >= 0 && silent >= r[a].stale)
			return no(ret_why, REASON_STALE, r[a].rule, r[a].local);
		*ret_why = (struct reason){ REASON_ALLOWED, r[a].rule, r[a].local };
		return VERDICT_ALLOW;
	}
	/* What is nearest is only looked for once the answer is no. */
	for (uint32_t i = 0; i < list.count && near < REASON_PORT; i++) {
		if (r[i].dest != dest)
			continue;
		near = r[i].proto == proto ? REASON_PORT : REASON_PROTO;
		*ret_why = (struct reason){ near, r[i].rule, r[i].local };
	}
	if (near == REASON_NO_CLASS)
		*ret_why = (struct reason){ dest_local(t, dest) && class == CLASS_LOGIN ? REASON_NO_SESSION : REASON_NO_CLASS,
			RULE_NONE, RULE_NONE };
	return VERDICT_DENY;
}

bool tables_rule(const struct tables *t, uint32_t rule, struct tables_rule *ret_rule)
{
	const struct flat_rule *r = at(t, t->rules.off);

	if (rule == RULE_NONE || rule > t->rules.count)
		return false;
	r += rule - 1;
	*ret_rule = (struct tables_rule){ .at = { r->line, r->col }, .owner = r->flags & FLAT_OWNER,
		.acl = r->flags & FLAT_ACL, .index = r->index, .text = text(t, r->text),
		.auth = { .mfa = r->flags & FLAT_MFA, .max_age = r->max_age, .acr = text(t, r->acr), .amr = text(t, r->amr) } };
	return true;
}

struct span tables_caps(const struct tables *t, uint32_t class)
{
	const struct flat_class *c = class_at(t, class);

	return c && c->caps.len ? text(t, c->caps) : SPAN("{}");
}

const char *reason_name(enum reason_code code)
{
	static const char *const names[] = {
		[REASON_NONE] = "none", [REASON_NO_GRANT] = "no-grant", [REASON_NO_CLASS] = "not-granted",
		[REASON_PROTO] = "protocol", [REASON_PORT] = "port", [REASON_HOST] = "host", [REASON_PATH] = "path",
		[REASON_METHOD] = "method", [REASON_STALE] = "stale", [REASON_OWNER] = "owner",
		[REASON_NO_SESSION] = "no-session", [REASON_AUTH_AGE] = "login-too-old",
		[REASON_AUTH_STRENGTH] = "login-too-weak", [REASON_ALLOWED] = "allowed",
	};

	return (unsigned)code < sizeof(names) / sizeof(names[0]) ? names[code] : "none";
}
