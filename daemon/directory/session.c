/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One connection to a directory: opened with TLS, bound, read whole; then either watched
 * (RFC 4533, refreshAndPersist) or left until the next poll. Every wait has an end, and
 * ends early where the reader is stopped.
 */
#include "daemon/directory/reader_parts.h"
#include "daemon/directory/sync.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <ldap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

enum { SEARCHES = HELD_SEARCHES, QUIET_MS = 50, DIRTY_MAX_NS = 2000000000 };

struct search {
	enum roster_kind kind;
	const char      *base;
	char            *filter;
	char            *attrs[8];
	int              id;            /* of its message; -1: none */
	bool             resumed;       /* asked with a cookie */
	bool             refreshed;
};

struct session {
	struct shared *s;
	LDAP          *ld;
	int            fd;
	struct held   *held;
	struct search  list[SEARCHES];
	size_t         count;
	struct boot    deadline;        /* of reading everything */
	struct timeval limit;
	struct ldap_conncb connected;
};

static bool failed(struct session *n, int rc, const char *what, struct err *err)
{
	char  shown[LOG_TEXT_MAX];
	char *said = NULL;

	ldap_get_option(n->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &said);
	err_set(err, rc == LDAP_TIMEOUT ? ERR_TIMEOUT : ERR_PEER, "%s: %s%s%s", what,
		ldap_err2string(rc), said && *said ? ": " : "",
		said ? log_text(span_str(said), shown) : "");
	ldap_memfree(said);
	return false;
}

/* ---- opening ---- */

/* libldap's own timeouts do not reach into a TLS handshake: with them GnuTLS is asked without a
 * pause, without them it is asked for ever. So the socket's are used, by which also half a message is
 * waited for this long at most; and the loop's side ends a connection that is not bound in time. */
static int on_connect(LDAP *ld, Sockbuf *sb, LDAPURLDesc *url, struct sockaddr *to,
		      struct ldap_conncb *cb)
{
	struct session      *n = cb->lc_arg;
	const struct timeval none = { .tv_sec = -1 };
	ber_socket_t         fd = -1;

	(void)url;
	(void)to;
	if (ber_sockbuf_ctrl(sb, LBER_SB_OPT_GET_FD, &fd) == 1 && fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &n->limit, sizeof(n->limit));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &n->limit, sizeof(n->limit));
		ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &none);
		shared_guard(n->s, fd);
	}
	return 0;
}

static void on_closed(LDAP *ld, Sockbuf *sb, struct ldap_conncb *cb)
{
	struct session *n = cb->lc_arg;

	(void)ld;
	(void)sb;
	shared_guard(n->s, -1);
}

static bool set_options(struct session *n, struct err *err)
{
	const struct reader_row *row = &n->s->row;
	struct timeval           limit = { .tv_sec = row->timeout };
	int       version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, zero = 0, idle = 60, probes = 3;
	int       tls = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
	ber_len_t most = READER_PDU_MAX;
	Sockbuf  *sb = NULL;
	const struct { int option; const void *value; } rows[] = {
		{ LDAP_OPT_PROTOCOL_VERSION, &version },
		{ LDAP_OPT_REFERRALS, LDAP_OPT_OFF },
		{ LDAP_OPT_RESTART, LDAP_OPT_ON },
		{ LDAP_OPT_NETWORK_TIMEOUT, &limit },
		{ LDAP_OPT_TIMEOUT, &limit },
		{ LDAP_OPT_CONNECT_CB, &n->connected },
		{ LDAP_OPT_X_KEEPALIVE_IDLE, &idle },
		{ LDAP_OPT_X_KEEPALIVE_PROBES, &probes },
		{ LDAP_OPT_X_KEEPALIVE_INTERVAL, &idle },
		{ LDAP_OPT_X_TLS_REQUIRE_CERT, &demand },
		{ LDAP_OPT_X_TLS_PROTOCOL_MIN, &tls },
		{ LDAP_OPT_X_TLS_CACERTFILE, *row->ca ? row->ca : SYSTEM_CA },
		/* the last of these: what was said of TLS counts for this connection */
		{ LDAP_OPT_X_TLS_NEWCTX, &zero },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		int rc = ldap_set_option(n->ld, rows[i].option, rows[i].value);

		if (rc != LDAP_OPT_SUCCESS)
			return err_set(err, ERR_CONFIG, "libldap refuses option %#x%s",
				       (unsigned)rows[i].option,
				       rows[i].option == LDAP_OPT_X_TLS_NEWCTX
					       ? ": can the file of \"ca\" be read?"
					       : "");
	}
	if (ldap_get_option(n->ld, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || !sb ||
	    ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most) != 1)
		return err_set(err, ERR_SYS, "libldap has no limit for messages");
	return true;
}

static bool open_session(struct session *n, struct err *err)
{
	const struct reader_row *row = &n->s->row;
	struct span              password = secret_span(&n->s->password);
	struct berval            cred = { .bv_val = (char *)(uintptr_t)password.ptr, .bv_len = password.len };
	bool                     local = strncmp(row->url, "ldapi:", 6) == 0;
	int                      rc = ldap_initialize(&n->ld, row->url);

	if (rc != LDAP_SUCCESS)
		return err_set(err, ERR_CONFIG, "%s: %s", row->url, ldap_err2string(rc));
	if (!set_options(n, err))
		return false;
	if (strncmp(row->url, "ldap:", 5) == 0 && !row->clear_text) {
		rc = ldap_start_tls_s(n->ld, NULL, NULL);
		if (rc != LDAP_SUCCESS)
			return failed(n, rc, "StartTLS", err);
	}
	/* On a socket of this machine, who has no name there is who the kernel says. */
	rc = ldap_sasl_bind_s(n->ld, *row->bind_dn ? row->bind_dn : NULL,
			      local && !*row->bind_dn ? "EXTERNAL" : LDAP_SASL_SIMPLE, &cred, NULL,
			      NULL, NULL);
	if (rc != LDAP_SUCCESS)
		return failed(n, rc, "bind", err);
	shared_guard(n->s, -1);
	if (ldap_get_option(n->ld, LDAP_OPT_DESC, &n->fd) != LDAP_OPT_SUCCESS || n->fd < 0)
		return err_set(err, ERR_SYS, "libldap has no descriptor");
	return true;
}

/* The next message of any search (id -1) or of one: 1, 0 after ms without one, -1: err. ms < 0: no end. */
static int next_message(struct session *n, int id, int64_t ms, LDAPMessage **ret, struct err *err)
{
	struct boot end = ms < 0 ? BOOT_NEVER : boot_add(clock_boot(), ms * 1000000);

	for (;;) {
		struct timeval none = { 0 };
		struct pollfd  p[2] = { { .fd = n->fd, .events = POLLIN },
			                { .fd = n->s->stop, .events = POLLIN } };
		int            rc = ldap_result(n->ld, id < 0 ? LDAP_RES_ANY : id, LDAP_MSG_ONE, &none, ret);
		struct boot    now = clock_boot();

		if (rc > 0)
			return 1;
		if (rc < 0) {
			int code = LDAP_SERVER_DOWN;

			ldap_get_option(n->ld, LDAP_OPT_RESULT_CODE, &code);
			failed(n, code ? code : LDAP_SERVER_DOWN, "reading", err);
			return -1;
		}
		if (boot_passed(end, now))
			return 0;
		int64_t left = (end.ns - now.ns) / 1000000 + 1;
		if (poll(p, 2, ms < 0 || left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR) {
			err_sys(err, "poll");
			return -1;
		}
		if (p[1].revents) {
			err_set(err, ERR_NOTNOW, "stopped");
			return -1;
		}
	}
}

/* The end of a search: its result code, and the cookie of the next page. */
static bool result_of(struct session *n, LDAPMessage *msg, int *ret_code, struct berval *ret_cookie,
		      struct err *err)
{
	LDAPControl **controls = NULL, *page;
	char *said = NULL;
	ber_int_t estimate;
	char shown[LOG_TEXT_MAX];

	int rc = ldap_parse_result(n->ld, msg, ret_code, NULL, &said, NULL, &controls, 0);
	if (rc != LDAP_SUCCESS) {
		ldap_memfree(said);
		return failed(n, rc, "a search's end", err);
	}
	if (*ret_code != LDAP_SUCCESS)
		err_set(err, ERR_PEER, "the server ends a search: %s%s%s",
			ldap_err2string(*ret_code), said && *said ? ": " : "",
			said ? log_text(span_str(said), shown) : "");
	ldap_memfree(said);
	page = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL);
	if (page && ret_cookie &&
	    ldap_parse_pageresponse_control(n->ld, page, &estimate, ret_cookie) != LDAP_SUCCESS)
		*ret_cookie = (struct berval){0};
	ldap_controls_free(controls);
	return *ret_code == LDAP_SUCCESS;
}

/* ---- entries ---- */

/* One form for one name: what RFC 4514 leaves open is closed, and letters are lowered. NULL: no DN. */
static char *dn_form(const char *text)
{
	LDAPDN dn = NULL;
	char  *form = NULL, *copy = NULL;

	if (ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS)
		return NULL;
	if (ldap_dn2str(dn, &form, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && form) {
		copy = mem_strdup(form);
		for (char *p = copy; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p = (char)(*p + 32);
	}
	ldap_memfree(form);
	ldap_dnfree(dn);
	return copy;
}

static char *text_of(const struct berval *v)
{
	return memchr(v->bv_val, 0, v->bv_len) ? NULL : mem_dup(v->bv_val, v->bv_len);
}

static char *first_value(struct session *n, LDAPMessage *msg, const char *attr)
{
	struct berval **v = ldap_get_values_len(n->ld, msg, attr);
	char           *text = v && v[0] ? text_of(v[0]) : NULL;

	ldap_value_free_len(v);
	return text ? text : mem_strdup("");
}

struct texts {
	char **list;
	size_t count, room, bytes;
};

static void texts_add(struct texts *t, char *text)      /* takes text */
{
	if (t->count + 1 >= t->room)
		t->list = mem_realloc(t->list, t->room = t->room ? t->room * 2 : 16, sizeof(char *));
	t->list[t->count++] = text;
	t->list[t->count] = NULL;
	t->bytes += strlen(text);
}

static void texts_done(struct texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->list[i]);
	free(t->list);
}

/* Values as DNs; "name#'01'B" (uniqueMember) without what is optional. */
static void add_values(struct session *n, LDAPMessage *msg, const char *attr, bool dns, struct texts *t)
{
	struct berval **v = ldap_get_values_len(n->ld, msg, attr);

	for (size_t i = 0; v && v[i]; i++) {
		char *text = text_of(v[i]), *form, *mark;

		if (!text)
			continue;
		if (!dns) {
			texts_add(t, text);
			continue;
		}
		mark = strrchr(text, '#');
		if (mark && mark[1] == '\'')
			*mark = '\0';
		if ((form = dn_form(text)))
			texts_add(t, form);
		free(text);
	}
	ldap_value_free_len(v);
}

/* ---- values in pieces ---- */

/* Active Directory gives at most 1,500 values of an attribute at once, and calls them
 * "member;range=0-1499" (MS-ADTS 3.1.1.3.1.3.3); the last piece ends with "*". */
struct range {
	char name[96]; /* as it is called in the entry */
	uint64_t low, high;
	bool last;
};

static bool range_is(struct span name, const char *attr)
{
	return span_ieq(span_head(name, strlen(attr)), span_str(attr)) &&
	       span_ieq(span_head(span_from(name, strlen(attr)), 7), SPAN(";range="));
}

static bool range_read(struct span name, const char *attr, struct range *ret)
{
	struct span option = span_from(name, strlen(attr) + 7), low, high;
	size_t dash;

	dash = span_find(option, '-');
	low = span_head(option, dash);
	high = span_from(option, dash + 1);
	ret->last = span_eq(high, SPAN("*"));
	return span_u64(low, READER_VALUES_MAX, &ret->low) &&
	       (ret->last ||
		(span_u64(high, READER_VALUES_MAX, &ret->high) && ret->high >= ret->low)) &&
	       span_cstr(name, ret->name, sizeof(ret->name));
}

/* ret: the piece there is, if it is one. */
static bool range_find(struct session *n, LDAPMessage *msg, const char *attr, struct range *ret,
		       bool *ret_good)
{
	BerElement *ber = NULL;
	bool found = false;

	*ret_good = false;
	for (char *name = ldap_first_attribute(n->ld, msg, &ber); name;
	     name = ldap_next_attribute(n->ld, msg, ber)) {
		if (!found && range_is(span_str(name), attr)) {
			found = true;
			*ret_good = range_read(span_str(name), attr, ret);
		}
		ldap_memfree(name);
	}
	ber_free(ber, 0);
	return found;
}

static bool piece_add(struct session *n, LDAPMessage *msg, const char *attr, uint64_t from,
		      struct texts *t, struct range *ret, struct err *err)
{
	bool good;

	if (!range_find(n, msg, attr, ret, &good) || !good || ret->low != from)
		return err_set(err, ERR_PEER,
			       "a group's values from %llu on are not what was asked for",
			       (unsigned long long)from);
	add_values(n, msg, ret->name, true, t);
	return (t->count <= READER_VALUES_MAX && t->bytes <= ROSTER_BYTES_MAX) ||
	       err_set(err, ERR_LIMIT, "a group of more than %d members", READER_VALUES_MAX);
}

/* The next piece of one entry, by a search of its own beside the one that is under way. */
static bool piece_read(struct session *n, const char *dn, const char *attr, uint64_t from,
		       struct texts *t, struct range *ret, struct err *err)
{
	char name[96], *attrs[] = {name, NULL};
	LDAPMessage *msg = NULL;
	bool ok = true, there = false;
	int id, code;

	snprintf(name, sizeof(name), "%s;range=%llu-*", attr, (unsigned long long)from);
	int rc = ldap_search_ext(n->ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attrs, 0, NULL,
				 NULL, NULL, LDAP_NO_LIMIT, &id);
	if (rc != LDAP_SUCCESS)
		return failed(n, rc, "a search", err);
	while (ok) {
		int got = next_message(n, id, n->s->row.timeout * 1000, &msg, err);

		if (got < 0)
			return false;
		if (got == 0 || boot_passed(n->deadline, clock_boot()))
			return err_set(err, ERR_TIMEOUT,
				       "the server is silent, or slow without an end");
		int type = ldap_msgtype(msg);
		if (type == LDAP_RES_SEARCH_ENTRY && !there)
			ok = there = piece_add(n, msg, attr, from, t, ret, err);
		else if (type == LDAP_RES_SEARCH_RESULT)
			ok = result_of(n, msg, &code, NULL, err);
		ldap_msgfree(msg);
		if (ok && type == LDAP_RES_SEARCH_RESULT)
			return there ||
			       err_set(err, ERR_PEER, "a group's values from %llu on are not there",
				       (unsigned long long)from);
	}
	ldap_abandon_ext(n->ld, id, NULL, NULL);
	return false;
}

/* All of an attribute's DNs, however many pieces they come in. */
static bool add_all(struct session *n, LDAPMessage *msg, const char *dn, const char *attr,
		    struct texts *t, struct err *err)
{
	struct range r;
	bool ok;

	add_values(n, msg, attr, true, t);
	if (!range_find(n, msg, attr, &r, &ok))
		return true;
	ok = piece_add(n, msg, attr, 0, t, &r, err);
	while (ok && !r.last)
		ok = piece_read(n, dn, attr, r.high + 1, t, &r, err);
	return ok;
}

/* uuid: the server's id of it; NULL: the DN is its key. */
static bool put_entry(struct session *n, const struct search *q, LDAPMessage *msg,
		      const unsigned char *uuid, struct err *err)
{
	const struct reader_row *row = &n->s->row;
	char                    *raw = ldap_get_dn(n->ld, msg), *dn = raw ? dn_form(raw) : NULL;
	struct texts             members = { 0 }, uids = { 0 }, of = { 0 };
	scoped_free char        *name = NULL, *uid = NULL;
	struct buf               login = { 0 };
	bool                     ok = true;

	if (!dn) {
		ldap_memfree(raw);
		return true;            /* nobody could refer to it */
	}
	buf_init(&login, 1024);
	if (q->kind == ROSTER_PERSON) {
		name = first_value(n, msg, row->login_attribute);
		uid = first_value(n, msg, "uid");
		buf_add_str(&login, name);
		if (*name)
			buf_add_str(&login, row->login_suffix);
	} else if (q->kind == ROSTER_GROUP) {
		name = first_value(n, msg, row->group_attribute);
		buf_add_str(&login, name);
		ok = add_all(n, msg, raw, "member", &members, err);
		add_values(n, msg, "uniqueMember", true, &members);
		add_values(n, msg, "memberUid", false, &uids);
	}
	if (q->kind != ROSTER_DISABLED)
		ok = ok && add_all(n, msg, raw, "memberOf", &of, err);
	ldap_memfree(raw);
	const struct roster_entry e = {
		.kind = q->kind,
		.key = uuid ? span_of(uuid, SYNC_UUID) : span_str(dn),
		.dn = span_str(dn),
		.name = login.over ? SPAN("") : buf_span(&login),
		.uid = span_str(uid),
		.members = (const char *const *)members.list,
		.member_uids = (const char *const *)uids.list,
		.member_of = (const char *const *)of.list,
	};
	ok = ok && roster_put(n->held->roster, &e, err);
	buf_done(&login);
	texts_done(&members);
	texts_done(&uids);
	texts_done(&of);
	free(dn);
	return ok;
}

/* ---- searches ---- */

static void add_search(struct session *n, enum roster_kind kind, const char *base, char *filter,
		       const char *const *attrs)
{
	struct search *q = &n->list[n->count++];

	*q = (struct search){ .kind = kind, .base = base, .filter = filter, .id = -1 };
	for (size_t i = 0; attrs[i] && i + 1 < array_size(q->attrs); i++)
		q->attrs[i] = (char *)(uintptr_t)attrs[i];
}

static void make_searches(struct session *n)
{
	const struct reader_row *row = &n->s->row;
	const char *const people[] = { row->login_attribute, "uid", "memberOf", NULL };
	const char *const groups[] = { row->group_attribute, "member",   "uniqueMember",
		                       "memberUid",          "memberOf", NULL };
	const char *const nothing[] = { LDAP_NO_ATTRS, NULL };
	struct buf        both;

	add_search(n, ROSTER_PERSON, row->people, mem_strdup(row->people_filter), people);
	add_search(n, ROSTER_GROUP, row->groups, mem_strdup(row->groups_filter), groups);
	if (!*row->disabled_filter)
		return;
	buf_init(&both, 4096);
	buf_addf(&both, "(&%s%s)", row->people_filter, row->disabled_filter);
	add_search(n, ROSTER_DISABLED, row->people, buf_take(&both), nothing);
}

static int start(struct session *n, struct search *q, LDAPControl *control)
{
	LDAPControl *controls[] = { control, NULL };

	return ldap_search_ext(n->ld, q->base, LDAP_SCOPE_SUBTREE, q->filter, q->attrs, 0,
			       control ? controls : NULL, NULL, NULL, LDAP_NO_LIMIT, &q->id);
}

/* One page; cookie is that of the next one, empty at the end. */
static bool read_page(struct session *n, struct search *q, struct berval *cookie, struct err *err)
{
	LDAPControl *control = NULL;
	LDAPMessage *msg = NULL;
	int          code = 0, rc;

	rc = ldap_create_page_control(n->ld, (ber_int_t)n->s->row.page, cookie, 0, &control);
	if (rc != LDAP_SUCCESS)
		return failed(n, rc, "a page's control", err);
	rc = start(n, q, control);
	ldap_control_free(control);
	ber_memfree(cookie->bv_val);
	*cookie = (struct berval){ 0 };
	if (rc != LDAP_SUCCESS)
		return failed(n, rc, "a search", err);
	for (;;) {
		int got = next_message(n, q->id, n->s->row.timeout * 1000, &msg, err);

		if (got < 0)
			return false;
		if (got == 0 || boot_passed(n->deadline, clock_boot()))
			return err_set(err, ERR_TIMEOUT, "the server is silent, or slow without an end");
		int  type = ldap_msgtype(msg);
		bool ok = true, end = type == LDAP_RES_SEARCH_RESULT;
		if (type == LDAP_RES_SEARCH_ENTRY)
			ok = put_entry(n, q, msg, NULL, err);
		else if (end)
			ok = result_of(n, msg, &code, cookie, err);
		ldap_msgfree(msg);
		if (!ok || end)
			return ok;
	}
}

static bool read_all(struct session *n, struct err *err)
{
	for (size_t i = 0; i < n->count; i++) {
		struct berval cookie = { 0 };
		bool          ok;

		do
			ok = read_page(n, &n->list[i], &cookie, err);
		while (ok && cookie.bv_len);
		ber_memfree(cookie.bv_val);
		if (!ok)
			return false;
	}
	shared_list(n->s, roster_list(n->held->roster), READER_POLLING, NULL);
	n->s->answered = true;
	return true;
}

/* ---- watching ---- */

/* Whether the server says in its root entry that it knows RFC 4533. */
static bool can_watch(struct session *n)
{
	char           *attrs[] = { (char *)"supportedControl", NULL };
	struct timeval  limit = { .tv_sec = n->s->row.timeout };
	LDAPMessage    *res = NULL;
	bool            can = false;

	if (n->s->row.mode == READER_POLL)
		return false;
	if (ldap_search_ext_s(n->ld, "", LDAP_SCOPE_BASE, "(objectClass=*)", attrs, 0, NULL, NULL,
			      &limit, 1, &res) == LDAP_SUCCESS) {
		LDAPMessage    *e = ldap_first_entry(n->ld, res);
		struct berval **v = e ? ldap_get_values_len(n->ld, e, attrs[0]) : NULL;

		for (size_t i = 0; v && v[i]; i++)
			can |= span_eq(span_of(v[i]->bv_val, v[i]->bv_len), SPAN(LDAP_CONTROL_SYNC));
		ldap_value_free_len(v);
	}
	ldap_msgfree(res);
	return can;
}

/* A cookie is of a search: each goes on from where it was, or all begin anew. */
static bool start_watching(struct session *n, struct err *err)
{
	struct held *h = n->held;
	int          rc = LDAP_SUCCESS;

	if (!h->good)
		held_begin(h);
	for (size_t i = 0; i < n->count && rc == LDAP_SUCCESS; i++) {
		struct search *q = &n->list[i];
		struct berval *value = sync_request(span_of(h->cookies[i].bytes, h->cookies[i].len));
		LDAPControl    control = { .ldctl_oid = (char *)LDAP_CONTROL_SYNC, .ldctl_iscritical = 1 };

		if (!value)
			return failed(n, LDAP_ENCODING_ERROR, "a search", err);
		control.ldctl_value = *value;
		q->resumed = h->cookies[i].len > 0;
		q->refreshed = false;
		roster_seen_begin(h->roster, q->kind);
		rc = start(n, q, &control);
		ber_bvfree(value);
	}
	return rc == LDAP_SUCCESS || failed(n, rc, "a search", err);
}

/* Said to be there. In answer to a cookie it is one that was had, or one that is sent with it. */
static bool seen(struct session *n, struct search *q, const void *uuid, struct err *err)
{
	return !q->resumed || q->refreshed ||
	       roster_seen(n->held->roster, q->kind, span_of(uuid, SYNC_UUID), err);
}

static bool on_entry(struct session *n, struct search *q, LDAPMessage *msg, struct err *err)
{
	LDAPControl     **controls = NULL;
	struct sync_state state;
	bool              ok = true;

	if (ldap_get_entry_controls(n->ld, msg, &controls) != LDAP_SUCCESS ||
	    !sync_state_read(controls, &state))
		ok = err_set(err, ERR_PEER, "an entry without its state (RFC 4533)");
	else if (state.state == LDAP_SYNC_DELETE)
		roster_remove(n->held->roster, q->kind, span_of(state.uuid, SYNC_UUID));
	else if (state.state == LDAP_SYNC_PRESENT)
		ok = seen(n, q, state.uuid, err);
	else
		ok = put_entry(n, q, msg, state.uuid, err);
	if (ok)
		held_cookie(n->held, (size_t)(q - n->list), &state.cookie);
	ldap_controls_free(controls);
	return ok;
}

static bool apply_info(struct session *n, struct search *q, const struct sync_info *info,
		       struct err *err)
{
	bool ok = true;

	for (size_t i = 0; ok && info->uuids && info->uuids[i].bv_val; i++)
		if (info->remove)
			roster_remove(n->held->roster, q->kind, span_of(info->uuids[i].bv_val, SYNC_UUID));
		else
			ok = seen(n, q, info->uuids[i].bv_val, err);
	if (!ok)
		return false;
	/* The whole of it was told, by name: now, and never before, who was not named is gone. */
	if (info->present && q->resumed && !q->refreshed)
		roster_sweep(n->held->roster, q->kind);
	q->refreshed |= info->refreshed;
	if (q->refreshed && roster_missing(n->held->roster, q->kind))
		return err_set(err, ERR_PEER, "the server takes entries for known that are not");
	held_cookie(n->held, (size_t)(q - n->list), &info->cookie);
	return true;
}

static bool on_info(struct session *n, struct search *q, LDAPMessage *msg, struct err *err)
{
	char            *oid = NULL;
	struct berval   *data = NULL;
	struct sync_info info;
	bool             ok = true;

	if (ldap_parse_intermediate(n->ld, msg, &oid, &data, NULL, 0) != LDAP_SUCCESS) {
		ok = err_set(err, ERR_PEER, "a message that does not parse");
	} else if (oid && strcmp(oid, LDAP_SYNC_INFO) == 0) {
		ok = sync_info_read(data, &info) ||
		     err_set(err, ERR_PEER, "a Sync Info message that does not parse (RFC 4533)");
		if (ok) {
			ok = apply_info(n, q, &info, err);
			ber_bvarray_free(info.uuids);
		}
	}
	ldap_memfree(oid);
	ber_bvfree(data);
	return ok;
}

/* True while the watch goes on; *ret_cannot: this server does not do it after all. */
static bool on_message(struct session *n, LDAPMessage *msg, bool *ret_cannot, struct err *err)
{
	struct search *q = NULL;
	int            code = 0;

	for (size_t i = 0; i < n->count; i++)
		if (n->list[i].id == ldap_msgid(msg))
			q = &n->list[i];
	if (!q) /* libldap hands nothing else out but a notice of disconnection */
		return err_set(err, ERR_PEER, "the server says goodbye");
	switch (ldap_msgtype(msg)) {
	/* In the middle of a refresh, or of a message that is refused, it is neither what it was nor
	 * what it will be. */
	case LDAP_RES_SEARCH_ENTRY:
		n->held->good = false;
		return on_entry(n, q, msg, err);
	case LDAP_RES_INTERMEDIATE:
		n->held->good = false;
		return on_info(n, q, msg, err);
	case LDAP_RES_SEARCH_RESULT:
		/* Before anything came it is a refusal, if not of the cookie; later an end. */
		if (result_of(n, msg, &code, NULL, err))
			err_set(err, ERR_PEER, "the server ends the watch");
		*ret_cannot = !n->s->answered && !q->resumed && code != LDAP_SYNC_REFRESH_REQUIRED &&
			      code != LDAP_NO_SUCH_OBJECT;
		if (!n->s->answered || code == LDAP_SYNC_REFRESH_REQUIRED)
			n->held->good = false;
		return false;
	default:
		return true;
	}
}

/* Returns false at its end. */
static bool watch(struct session *n, bool *ret_cannot, struct err *err)
{
	LDAPMessage *msg;
	bool         dirty = true, all = false;
	struct boot  since = clock_boot(), not_before = since;

	for (;;) {
		struct boot now = clock_boot();
		int64_t     ms = !all ? n->s->row.timeout * 1000 : dirty ? QUIET_MS : -1;

		if (all && dirty && !boot_passed(not_before, now))
			ms = (not_before.ns - now.ns) / 1000000 + 1;
		int got = next_message(n, -1, ms, &msg, err);
		if (got < 0)
			return false;
		if (!all && (got == 0 || boot_passed(n->deadline, clock_boot()))) {
			n->held->good = false;
			return err_set(err, ERR_TIMEOUT, "the server is silent, or slow without an end");
		}
		if (got) {
			if (!dirty)
				since = clock_boot();
			dirty = true;
			bool ok = on_message(n, msg, ret_cannot, err);
			ldap_msgfree(msg);
			if (!ok)
				return false;
			n->held->good = all && held_complete(n->held);
		}
		if (!all) {
			all = true;
			for (size_t i = 0; i < n->count; i++)
				all &= n->list[i].refreshed;
			if (!all)
				continue;
			n->held->good = held_complete(n->held);
		}
		now = clock_boot();
		if (!dirty || !boot_passed(not_before, now) ||
		    (got && !boot_passed(boot_add(since, DIRTY_MAX_NS), now)))
			continue;
		shared_list(n->s, roster_list(n->held->roster), READER_WATCHING, n->held);
		n->s->answered = true;
		dirty = false;
		/* Many changes are not many times the work. */
		not_before = boot_add(clock_boot(), (clock_boot().ns - now.ns) * 4);
	}
}

size_t session_searches(const struct reader_row *row)
{
	return *row->disabled_filter ? 3 : 2;
}

/* Watches for as long as it goes. What a cookie of before led to is tried once: if the server does not
 * go on from there, everything is read, on a connection of its own, since answers may be under way. */
static bool run_watch(struct session *n, struct err *err)
{
	bool resumed = n->held->good, cannot = false;

	if (start_watching(n, err) && watch(n, &cannot, err))
		return true;
	if (!cannot && !(resumed && !n->held->good && !n->s->answered))
		return false;
	if (shared_stopped(n->s, 0))
		return false;
	if (!cannot)
		log_note("%s: everything is read again: %s", n->s->row.url, err->msg);
	held_drop(n->held);
	ldap_unbind_ext(n->ld, NULL, NULL);
	n->ld = NULL;
	if (!open_session(n, err))
		return false;
	return cannot ? read_all(n, err) : start_watching(n, err) && watch(n, &cannot, err);
}

bool session_run(struct shared *s, struct held *held, struct err *err)
{
	struct session n = { .s = s, .fd = -1, .held = held };
	bool           ok = false;

	n.limit.tv_sec = s->row.timeout;
	n.connected = (struct ldap_conncb){ on_connect, on_closed, &n };
	s->answered = false;
	n.deadline = boot_add(clock_boot(), READER_REFRESH_SEC * SEC_NS);
	make_searches(&n);
	if (open_session(&n, err)) {
		if (can_watch(&n)) {
			ok = run_watch(&n, err);
		} else {
			held_drop(held);
			ok = read_all(&n, err);
			held_drop(held);
		}
	}
	if (n.ld)
		ldap_unbind_ext(n.ld, NULL, NULL);
	for (size_t i = 0; i < n.count; i++)
		free(n.list[i].filter);
	return ok;
}
