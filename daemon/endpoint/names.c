/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/names.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKUP_SOCKETS = 16 };   /* of one lookup: c-ares opens two for each name server */

/* One question under way, with a channel of its own: it reads the resolver's files anew, and
 * its end is the end of everything it opened. */
struct lookup {
	struct name       *name;
	ares_channel       channel;
	struct loop_timer *timer;
	struct { struct loop_fd *watch; ares_socket_t fd; struct lookup *of; } socks[LOOKUP_SOCKETS];
	struct boot        deadline;
	bool               over, inside, buried;
};

struct name {
	struct names       *names;
	struct name        *next;
	char               *text;
	struct names_answer now, told, used;
	bool                has_now, has_told, has_used;
	bool                wanted, tell, left; /* left: more addresses than there is room for */
	struct lookup      *lookup;             /* NULL: none under way */
	struct boot         due;                /* of the next one */
	struct boot         good;               /* of the last answer */
	unsigned            gone;               /* "no such name", in a row */
	char                fault[128];
};

struct names {
	struct loop        *loop;
	void              (*changed)(void *arg);
	void               *arg;
	struct name        *list;
	struct loop_timer  *timer;
	char               *servers;            /* as c-ares takes them; NULL: the system's */
	int64_t             ttl_min, ttl_max;
	unsigned            under_way;
};

static void run(void *arg);

/* ---- one lookup ---- */

static void lookup_free(void *arg)
{
	struct lookup *l = arg;

	ares_destroy(l->channel);
	for (size_t i = 0; i < LOOKUP_SOCKETS; i++)
		loop_fd_remove(l->socks[i].watch);
	loop_timer_free(l->timer);
	free(l);
}

/* Not from within c-ares: its channel is still in use there. */
static void lookup_end(struct lookup *l)
{
	struct name *e = l->name;

	if (e && e->lookup == l) {
		e->lookup = NULL;
		e->names->under_way--;
	}
	l->name = NULL;
	if (l->inside || l->buried)
		return;
	l->buried = true;
	lookup_free(l);
}

/* After c-ares had its turn. */
static void lookup_look(struct lookup *l, struct loop *loop)
{
	struct timeval most = { 3600, 0 }, tv, *t;
	struct boot due;

	if (l->over || !l->name) {
		lookup_end(l);
		return;
	}
	t = ares_timeout(l->channel, &most, &tv);
	due = boot_add(loop_now(loop), t->tv_sec * SEC_NS + t->tv_usec * 1000 + SEC_NS / 1000);
	loop_timer_set(l->timer, boot_min(due, l->deadline));
}

static void turn(struct lookup *l, ares_socket_t in, ares_socket_t out)
{
	struct loop *loop;

	if (!l->name) {
		lookup_end(l);
		return;
	}
	loop = l->name->names->loop;
	l->inside = true;
	if (boot_passed(l->deadline, loop_now(loop)))
		ares_cancel(l->channel);
	else
		ares_process_fd(l->channel, in, out);
	l->inside = false;
	lookup_look(l, loop);
}

static void on_timer(void *arg)
{
	turn(arg, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_socket(void *arg, uint32_t events)
{
	struct lookup *l = *(struct lookup **)arg;
	ares_socket_t fd = ARES_SOCKET_BAD;

	for (size_t i = 0; i < LOOKUP_SOCKETS; i++)
		if ((void *)&l->socks[i].of == arg)
			fd = l->socks[i].fd;
	turn(l, events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD,
	     events & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD);
}

/* c-ares says which of its sockets it waits for, and when one closes. */
static void on_state(void *arg, ares_socket_t fd, int in, int out)
{
	struct lookup *l = arg;
	uint32_t events = (in ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0);
	size_t at = LOOKUP_SOCKETS;

	for (size_t i = 0; i < LOOKUP_SOCKETS; i++) {
		if (l->socks[i].watch && l->socks[i].fd == fd) {
			at = i;
			break;
		}
		if (!l->socks[i].watch && at == LOOKUP_SOCKETS)
			at = i;
	}
	if (at == LOOKUP_SOCKETS)
		return;         /* its question runs out of time */
	if (!events) {
		loop_fd_remove(l->socks[at].watch);
		l->socks[at].watch = NULL;
	} else if (l->socks[at].watch) {
		loop_fd_set(l->socks[at].watch, events);
	} else if (l->name) {
		l->socks[at].fd = fd;
		l->socks[at].of = l;
		l->socks[at].watch = loop_fd_add(l->name->names->loop, fd, events, on_socket, &l->socks[at].of);
	}
}

/* ---- an answer ---- */

static bool usable(const struct ip *ip)
{
	static const uint8_t none[16];

	if (ip->family == IP_V4)        /* "this network", multicast, reserved and broadcast */
		return ip->b[0] != 0 && ip->b[0] < 224;
	/* link-local ones need a zone, which no answer carries */
	return memcmp(ip->b, none, sizeof(none)) != 0 && ip->b[0] != 0xff && !(ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80);
}

static bool has(const struct names_answer *a, const struct ip *ip)
{
	for (size_t i = 0; i < NAMES_ADDRESSES_MAX; i++)
		if (a->at[i].family != IP_NONE && ip_eq(&a->at[i], ip))
			return true;
	return false;
}

/* Addresses that stay keep their places; new ones take what is free, above all what was never another's. */
static bool merge(struct name *e, const struct ip *list, size_t n)
{
	struct names_answer a = e->now, want = { 0 };
	size_t k = 0;
	bool other = false;

	for (size_t i = 0; i < n; i++)
		want.at[i] = list[i];
	for (size_t i = 0; i < NAMES_ADDRESSES_MAX; i++) {
		if (a.at[i].family != IP_NONE && !has(&want, &a.at[i])) {
			a.at[i] = (struct ip){ 0 };
			other = true;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (has(&a, &list[i]))
			continue;
		for (k = 0; k < NAMES_ADDRESSES_MAX; k++)
			if (a.at[k].family == IP_NONE && e->now.at[k].family == IP_NONE)
				break;
		for (k = k < NAMES_ADDRESSES_MAX ? k : 0; k < NAMES_ADDRESSES_MAX; k++)
			if (a.at[k].family == IP_NONE)
				break;
		if (k < NAMES_ADDRESSES_MAX)
			a.at[k] = list[i];
		other = true;
	}
	e->now = a;
	return other;
}

static void say(const struct name *e)
{
	char text[IP_TEXT_MAX], line[512];
	size_t n = 0;

	line[0] = '\0';
	for (size_t i = 0; i < NAMES_ADDRESSES_MAX && n < sizeof(line) - IP_TEXT_MAX; i++)
		if (e->now.at[i].family != IP_NONE)
			n += (size_t)snprintf(line + n, sizeof(line) - n, " %s", ip_text(&e->now.at[i], text));
	log_info("upstream name %s:%s", e->text, n ? line : " no address");
}

static void took(struct name *e, const struct ip *list, size_t n, int64_t ttl)
{
	struct names *ns = e->names;

	ttl = ttl < ns->ttl_min ? ns->ttl_min : ttl > ns->ttl_max ? ns->ttl_max : ttl;
	e->due = boot_add(loop_now(ns->loop), ttl * SEC_NS);
	e->good = loop_now(ns->loop);
	e->gone = 0;
	if (e->fault[0])
		log_info("upstream name %s is answered again", e->text);
	e->fault[0] = '\0';
	if (!merge(e, list, n) && e->has_now)
		return;
	e->has_now = e->tell = true;
	say(e);
}

static void failed(struct name *e, const char *why, bool gone)
{
	struct names *ns = e->names;
	bool news = strcmp(e->fault, why) != 0, over;

	e->due = boot_add(loop_now(ns->loop), ns->ttl_min * SEC_NS);
	e->gone = gone ? e->gone + 1 : 0;
	snprintf(e->fault, sizeof(e->fault), "%s", why);
	over = e->has_now && (e->gone >= NAMES_GONE_TIMES ||
	                      boot_passed(boot_add(e->good, NAMES_STALE_SEC * SEC_NS), loop_now(ns->loop)));
	if (over) {
		merge(e, NULL, 0);
		e->has_now = false;
		e->tell = true;
		log_error("upstream name %s: %s, and its last answer is not used any more", e->text, why);
	} else if (news) {
		log_warn("upstream name %s: %s; %s", e->text, why,
		         e->has_now ? "its last answer stays in use" : "it has no address");
	}
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *l = arg;
	struct name *e = l->name;
	struct ip list[NAMES_ADDRESSES_MAX];
	int64_t ttl = -1;
	size_t n = 0, left = 0;

	(void)timeouts;
	l->over = true;
	for (struct ares_addrinfo_node *a = e && status == ARES_SUCCESS && info ? info->nodes : NULL; a; a = a->ai_next) {
		struct sockaddr_storage ss = { 0 };
		struct ipport at;
		struct names_answer so_far = { 0 };

		if (a->ai_addrlen > sizeof(ss))
			continue;
		memcpy(&ss, a->ai_addr, a->ai_addrlen);
		if (!ipport_from_sockaddr(&ss, &at))
			continue;
		ip_fold(&at.ip);
		if (n)
			memcpy(so_far.at, list, n * sizeof(*list));
		if (!usable(&at.ip) || has(&so_far, &at.ip))
			continue;
		if (n == NAMES_ADDRESSES_MAX) {
			left++;
			continue;
		}
		list[n++] = at.ip;
		if (a->ai_ttl > 0 && (ttl < 0 || a->ai_ttl < ttl))
			ttl = a->ai_ttl;
	}
	for (struct ares_addrinfo_cname *c = n ? info->cnames : NULL; c; c = c->next)
		if (c->ttl >= 0 && (ttl < 0 || c->ttl < ttl))
			ttl = c->ttl;
	if (e && left && !e->left)
		log_warn("upstream name %s has more than %d addresses: %zu are left out", e->text,
		         NAMES_ADDRESSES_MAX, left);
	if (e)
		e->left = left > 0;
	if (e && n)
		took(e, list, n, ttl);
	else if (e && status == ARES_SUCCESS)
		failed(e, "it has no address that can be used", true);
	else if (e && (status == ARES_ENOTFOUND || status == ARES_ENODATA))
		failed(e, "there is no such name, or it has no address", true);
	else if (e)
		failed(e, "no name server gives an answer", false);
	ares_freeaddrinfo(info);
	if (!e)
		return;
	e->lookup = NULL;
	e->names->under_way--;
	l->name = NULL;
	loop_timer_after(e->names->timer, 0);
}

static void lookup_new(struct name *e)
{
	struct names *ns = e->names;
	struct lookup *l = mem_alloc(sizeof(*l));
	char lookups[] = "fb";  /* the hosts file, then name servers */
	struct ares_options o = { .timeout = NAMES_TRY_MS, .tries = 2, .lookups = lookups,
		                  .sock_state_cb = on_state, .sock_state_cb_data = l };
	struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC,
		                             .ai_socktype = SOCK_STREAM };
	int r = ares_init_options(&l->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
	                                           ARES_OPT_SOCK_STATE_CB);

	if (r != ARES_SUCCESS) {
		free(l);
		failed(e, ares_strerror(r), false);
		return;
	}
	l->name = e;
	l->timer = loop_timer_new(ns->loop, on_timer, l);
	l->deadline = boot_add(loop_now(ns->loop), NAMES_LOOKUP_SEC * SEC_NS);
	e->lookup = l;
	ns->under_way++;
	if (ns->servers && (r = ares_set_servers_ports_csv(l->channel, ns->servers)) != ARES_SUCCESS) {
		failed(e, ares_strerror(r), false);
		lookup_end(l);
		return;
	}
	l->inside = true;
	ares_getaddrinfo(l->channel, e->text, NULL, &hints, on_answer, l);
	l->inside = false;
	lookup_look(l, ns->loop);
}

/* ---- all of them ---- */

static struct name *find(const struct names *n, struct span name)
{
	for (struct name *e = n->list; e; e = e->next)
		if (span_eq(span_str(e->text), name))
			return e;
	return NULL;
}

/* Begins what is due, as many as may be under way, and says what is new. */
static void run(void *arg)
{
	struct names *n = arg;
	struct boot next = BOOT_NEVER;
	bool news = false;

	for (struct name *e = n->list; e; e = e->next) {
		if (!e->lookup && n->under_way < NAMES_AT_ONCE && boot_passed(e->due, loop_now(n->loop)))
			lookup_new(e);
		news |= e->tell;
	}
	for (struct name *e = n->list; e; e = e->next)
		if (!e->lookup)
			next = boot_min(next, e->due);
	/* whoever ends makes room, and sets it to now */
	loop_timer_set(n->timer, n->under_way < NAMES_AT_ONCE ? next : BOOT_NEVER);
	if (news)
		n->changed(n->arg);
}

struct names *names_new(struct loop *loop, void (*changed)(void *arg), void *arg, struct err *err)
{
	struct names *n;
	int r = ares_library_init(ARES_LIB_INIT_ALL);

	if (r != ARES_SUCCESS) {
		err_set(err, ERR_SYS, "c-ares: %s", ares_strerror(r));
		return NULL;
	}
	n = mem_alloc(sizeof(*n));
	n->loop = loop;
	n->changed = changed;
	n->arg = arg;
	n->timer = loop_timer_new(loop, run, n);
	return n;
}

static void name_free(struct name *e)
{
	if (e->lookup)
		lookup_end(e->lookup);
	free(e->text);
	free(e);
}

void names_free(struct names *n)
{
	if (!n)
		return;
	while (n->list) {
		struct name *e = n->list;

		n->list = e->next;
		name_free(e);
	}
	loop_timer_free(n->timer);
	free(n->servers);
	free(n);
	ares_library_cleanup();
}

static char *csv(const struct names_bounds *b)
{
	struct buf all;

	if (!b->server_count)
		return NULL;
	buf_init(&all, 4096);
	for (size_t i = 0; i < b->server_count; i++)
		buf_addf(&all, "%s%s", i ? "," : "", b->servers[i]);
	return all.ptr;
}

void names_want(struct names *n, const struct names_bounds *b, const struct span *list, size_t count)
{
	n->ttl_min = b->ttl_min;
	n->ttl_max = b->ttl_max > b->ttl_min ? b->ttl_max : b->ttl_min;
	free(n->servers);
	n->servers = csv(b);
	for (struct name *e = n->list; e; e = e->next)
		e->wanted = false;
	for (size_t i = 0; i < count; i++) {
		struct name *e = find(n, list[i]);

		if (!e) {
			e = mem_alloc(sizeof(*e));
			e->names = n;
			e->text = span_dup(list[i]);
			e->next = n->list;
			n->list = e;
		}
		e->wanted = true;
		/* other servers may know better, or the owner mended something */
		if (!e->lookup)
			e->due = loop_now(n->loop);
	}
	for (struct name **p = &n->list; *p;) {
		struct name *e = *p;

		if (e->wanted) {
			p = &e->next;
			continue;
		}
		*p = e->next;
		name_free(e);
	}
	loop_timer_after(n->timer, 0);
}

const struct names_answer *names_next(struct names *n, struct span *ret_name)
{
	for (struct name *e = n->list; e; e = e->next) {
		if (!e->tell)
			continue;
		e->tell = false;
		e->told = e->now;
		e->has_told = e->has_now;
		*ret_name = span_str(e->text);
		return &e->told;
	}
	return NULL;
}

void names_tell_again(struct names *n)
{
	for (struct name *e = n->list; e; e = e->next)
		e->tell = true;
}

bool names_settle(struct names *n)
{
	bool other = false;

	for (struct name *e = n->list; e; e = e->next) {
		if (e->has_used == e->has_told && memcmp(&e->used, &e->told, sizeof(e->used)) == 0)
			continue;
		e->used = e->told;
		e->has_used = e->has_told;
		other = true;
	}
	return other;
}

const struct names_answer *names_find(const struct names *n, struct span name)
{
	const struct name *e = n ? find(n, name) : NULL;

	return e && e->has_used ? &e->used : NULL;
}

const char *names_fault(const struct names *n, struct span name)
{
	const struct name *e = n ? find(n, name) : NULL;

	return !e ? "" : e->fault[0] || e->has_now ? e->fault : "not answered yet";
}
