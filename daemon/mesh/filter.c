/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/filter.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"
#include "daemon/mesh/nl.h"
#include "daemon/mesh/ruleset.h"

#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHO_TEXT_MAX = 9 };              /* eight digits and a NUL */

/*
 * Two ways into the kernel: libnftables for what changes seldom and is read
 * as text (the table, its rows), libnftnl on one socket for single elements,
 * which change with every login.
 */
struct filter {
	struct filter_base base;        /* its pointers are ours */
	char              *device;
	uint32_t          *users, *fronts;
	struct nft_ctx    *nft;
	struct nl         *nl;
	struct prefix     *own;         /* what the rows loaded last forward to */
	size_t             own_n;
	char               mark[RULESET_MARK_MAX];
	size_t             rules;       /* how many the table has before rows are loaded */
	struct dict       *known;       /* addresses with an element, as far as we remember */
};

static void table_ptr_free(struct nftnl_table **t)
{
	if (*t)
		nftnl_table_free(*t);
}

static void set_ptr_free(struct nftnl_set **s)
{
	if (*s)
		nftnl_set_free(*s);
}

static void obj_ptr_free(struct nftnl_obj **o)
{
	if (*o)
		nftnl_obj_free(*o);
}

#define scoped_table __attribute__((cleanup(table_ptr_free)))
#define scoped_set   __attribute__((cleanup(set_ptr_free)))
#define scoped_obj   __attribute__((cleanup(obj_ptr_free)))

/* libnftnl returns NULL for want of memory alone. */
static void *have(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- the table ---- */

static bool run(struct filter *f, struct buf *text, struct err *err)
{
	const char *words;
	size_t n;

	buf_add_char(text, '\0');
	if (text->over)
		return err_set(err, ERR_LIMIT, "the packet filter's text is too long");
	if (nft_run_cmd_from_buffer(f->nft, text->ptr) == 0)
		return true;
	words = nft_ctx_get_error_buffer(f->nft);
	n = strcspn(words ? words : "", "\n");
	return err_set(err, ERR_SYS, "nftables: %.*s", (int)(n < 300 ? n : 300),
		       words ? words : "");
}

struct found {
	char mark[RULESET_MARK_MAX];
};

static int on_comment(const struct nftnl_udata *attr, void *arg)
{
	struct found *found = arg;

	if (nftnl_udata_type(attr) == NFTNL_UDATA_TABLE_COMMENT) {
		struct span s = span_of(nftnl_udata_get(attr), nftnl_udata_len(attr));

		if (s.len > 0 && s.ptr[s.len - 1] == '\0')
			s.len--;
		if (!span_cstr(s, found->mark, sizeof(found->mark)))
			found->mark[0] = '\0';
	}
	return 0;
}

static bool on_table(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	scoped_table struct nftnl_table *t = have(nftnl_table_alloc());
	const void *data;
	uint32_t len = 0;

	if (nftnl_table_nlmsg_parse(nlh, t) < 0)
		return err_sys(err, "a table that does not parse");
	data = nftnl_table_get_data(t, NFTNL_TABLE_USERDATA, &len);
	if (data)
		nftnl_udata_parse(data, len, on_comment, arg);
	return true;
}

/* The mark of the table that is there; "" for none, and for one that is not ours. */
static bool table_mark(struct filter *f, char ret_mark[RULESET_MARK_MAX], struct err *err)
{
	scoped_table struct nftnl_table *t = have(nftnl_table_alloc());
	struct found found = { 0 };
	struct nlmsghdr *nlh;
	struct err e = { 0 };

	nlh = nftnl_nlmsg_build_hdr(nl_buffer(f->nl), NFT_MSG_GETTABLE, NFPROTO_INET, 0,
				    nl_seq(f->nl));
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, RULESET_TABLE);
	nftnl_table_set_u32(t, NFTNL_TABLE_FAMILY, NFPROTO_INET);
	nftnl_table_nlmsg_build_payload(nlh, t);
	if (!nl_ask(f->nl, nlh, on_table, NULL, &found, NULL, &e) && e.code != ERR_MISSING)
		return err_set(err, e.code, "looking for the packet filter's table: %s", e.msg);
	memcpy(ret_mark, found.mark, sizeof(found.mark));
	return true;
}

static bool on_rule(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	struct nftnl_rule *r = have(nftnl_rule_alloc());
	size_t *n = arg;
	bool ok = nftnl_rule_nlmsg_parse(nlh, r) >= 0;
	const char *table = ok ? nftnl_rule_get_str(r, NFTNL_RULE_TABLE) : NULL;

	*n += table && strcmp(table, RULESET_TABLE) == 0;
	nftnl_rule_free(r);
	return ok || err_sys(err, "a rule that does not parse");
}

static void count_reset(void *arg)
{
	*(size_t *)arg = 0;
}

/* Whether our table is there, and whole: somebody may have flushed it, or one
 * of its chains. Rows, with rules of their own, are loaded or not yet. */
static bool table_whole(struct filter *f, bool *ret_whole, struct err *err)
{
	char there[RULESET_MARK_MAX];
	struct nlmsghdr *nlh;
	size_t n = 0;

	*ret_whole = false;
	if (!table_mark(f, there, err))
		return false;
	if (strcmp(f->mark, there) != 0)
		return true;
	nlh = nftnl_nlmsg_build_hdr(nl_buffer(f->nl), NFT_MSG_GETRULE, NFPROTO_INET, NLM_F_DUMP,
				    nl_seq(f->nl));
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, RULESET_TABLE);
	if (!nl_ask(f->nl, nlh, on_rule, count_reset, &n, NULL, err))
		return err_prefix(err, "counting rules: ");
	*ret_whole = n == f->rules || n == f->rules + ruleset_rows_count();
	return true;
}

struct filter *filter_open(const struct filter_base *base, bool *ret_adopted, struct err *err)
{
	struct filter *f;
	scoped_buf struct buf text = { 0 };
	bool whole;

	/* Before the lists are copied: what is beyond the limit is not read. */
	if (base->users_n > FILTER_USERS_MAX || base->fronts_n > FILTER_USERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d users", FILTER_USERS_MAX), NULL;
	f = mem_alloc(sizeof(*f));
	f->base = *base;
	f->base.device = f->device = mem_strdup(base->device);
	f->base.users = f->users = mem_dup(base->users_n ? base->users : (const uint32_t[]){ 0 },
					   base->users_n * sizeof(*f->users));
	f->base.fronts = f->fronts =
		mem_dup(base->fronts_n ? base->fronts : (const uint32_t[]){ 0 },
			base->fronts_n * sizeof(*f->fronts));
	f->known = dict_new();
	buf_init(&text, RULESET_TEXT_MAX);
	if (!ruleset_base(&f->base, &text, f->mark, err))
		goto fail;

	f->rules = ruleset_count(buf_span(&text));
	f->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!f->nft || nft_ctx_buffer_error(f->nft) != 0 || nft_ctx_buffer_output(f->nft) != 0) {
		err_set(err, ERR_SYS, "libnftables does not start");
		goto fail;
	}
	f->nl = nl_open(NETLINK_NETFILTER, err);
	if (!f->nl || !table_whole(f, &whole, err) || (!whole && !run(f, &text, err)))
		goto fail;
	*ret_adopted = whole;
	return f;
fail:
	filter_close(f, false, NULL);
	return NULL;
}

bool filter_there(struct filter *f, bool *ret_there, struct err *err)
{
	return table_whole(f, ret_there, err);
}

bool filter_close(struct filter *f, bool remove_table, struct err *err)
{
	bool ok = true;

	if (!f)
		return true;
	if (remove_table) {
		scoped_buf struct buf text = { 0 };

		buf_init(&text, 256);
		buf_add_str(&text, "add table inet " RULESET_TABLE "\n"
				   "delete table inet " RULESET_TABLE "\n");
		ok = run(f, &text, err);
	}
	nl_close(f->nl);
	if (f->nft)
		nft_ctx_free(f->nft);
	dict_free(f->known);
	free(f->own);
	free(f->device);
	free(f->users);
	free(f->fronts);
	free(f);
	return ok;
}

bool filter_load(struct filter *f, const struct filter_rows *rows, struct err *err)
{
	scoped_buf struct buf text = { 0 };
	struct prefix *own;

	buf_init(&text, RULESET_TEXT_MAX);
	if (!ruleset_rows(&f->base, rows, &text, err) || !run(f, &text, err))
		return err_prefix(err, "loading the packet filter's rows: ");
	own = mem_calloc(rows->forward_n + 1, sizeof(*own));
	for (size_t i = 0; i < rows->forward_n; i++)
		own[i] = rows->forward[i].to;
	free(f->own);
	f->own = own;
	f->own_n = rows->forward_n;
	return true;
}

bool filter_via_load(struct filter *f, const struct filter_via *via, size_t n, struct err *err)
{
	scoped_buf struct buf text = { 0 };

	buf_init(&text, RULESET_TEXT_MAX);
	if (!ruleset_via(&f->base, via, n, f->own, f->own_n, &text, err) || !run(f, &text, err))
		return err_prefix(err, "loading far routes into the packet filter: ");
	return true;
}

/* ---- single elements ---- */

static struct span address_key(const struct ip *ip)
{
	return span_of(ip->b, ip_len(ip));
}

static const char *map_of(uint8_t family)
{
	return family == IP_V4 ? RULESET_CLASS4 : RULESET_CLASS6;
}

/* As nft(8) writes and shows comments. */
static void put_who(struct nftnl_set_elem *elem, uint32_t who)
{
	struct nftnl_udata_buf *buf;
	char text[WHO_TEXT_MAX];

	if (who == 0)
		return;
	snprintf(text, sizeof(text), "%08x", (unsigned)who);
	buf = have(nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN));
	if (nftnl_udata_put_strz(buf, NFTNL_UDATA_SET_ELEM_COMMENT, text))
		nftnl_set_elem_set(elem, NFTNL_SET_ELEM_USERDATA, nftnl_udata_buf_data(buf),
				   nftnl_udata_buf_len(buf));
	nftnl_udata_buf_free(buf);
}

static int on_who(const struct nftnl_udata *attr, void *arg)
{
	uint32_t *who = arg;
	struct span s = span_of(nftnl_udata_get(attr), nftnl_udata_len(attr));
	unsigned char b[4];
	size_t n = 0;

	if (nftnl_udata_type(attr) == NFTNL_UDATA_SET_ELEM_COMMENT && s.len == WHO_TEXT_MAX &&
	    hex_decode(span_head(s, WHO_TEXT_MAX - 1), b, sizeof(b), &n) && n == sizeof(b))
		*who = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return 0;
}

static struct nftnl_set *set_of(const struct filter_class *c)
{
	struct nftnl_set *set = have(nftnl_set_alloc());
	struct nftnl_set_elem *elem = have(nftnl_set_elem_alloc());

	nftnl_set_set_str(set, NFTNL_SET_TABLE, RULESET_TABLE);
	nftnl_set_set_str(set, NFTNL_SET_NAME, map_of(c->ip.family));
	nftnl_set_elem_set(elem, NFTNL_SET_ELEM_KEY, c->ip.b, (uint32_t)ip_len(&c->ip));
	if (c->class != 0) {
		nftnl_set_elem_set(elem, NFTNL_SET_ELEM_DATA, &c->class, sizeof(c->class));
		put_who(elem, c->who);
		if (c->timeout_ms < FILTER_TIMEOUT_MAX_MS)
			nftnl_set_elem_set_u64(elem, NFTNL_SET_ELEM_TIMEOUT,
					       (uint64_t)c->timeout_ms);
	}
	nftnl_set_elem_add(set, elem);
	return set;
}

/* One transaction: with `away` the element goes first, with `into` it is made. */
static int change(struct filter *f, const struct filter_class *away,
		  const struct filter_class *into, struct err *err)
{
	char *at = nl_buffer(f->nl);
	uint32_t begin = nl_seq(f->nl), first = 0;
	size_t n = 0;
	int number = 0;
	const struct {
		const struct filter_class *c;
		uint16_t type, flags;
	} parts[] = {
		{ away, NFT_MSG_DELSETELEM, NLM_F_ACK },
		{ into, NFT_MSG_NEWSETELEM, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
	};

	at += nftnl_batch_begin(at, begin)->nlmsg_len;
	for (size_t i = 0; i < array_size(parts); i++) {
		if (!parts[i].c)
			continue;

		scoped_set struct nftnl_set *set = set_of(parts[i].c);
		uint32_t seq = nl_seq(f->nl);
		struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(at, parts[i].type, NFPROTO_INET,
							     parts[i].flags, seq);

		nftnl_set_elems_nlmsg_build_payload(nlh, set);
		at += nlh->nlmsg_len;
		if (n++ == 0)
			first = seq;
	}
	at += nftnl_batch_end(at, nl_seq(f->nl))->nlmsg_len;
	if (nl_batch(f->nl, (size_t)(at - (char *)nl_buffer(f->nl)), begin, first, n, &number, err))
		return 0;
	return number != 0 ? number : -1;
}

bool filter_class_set(struct filter *f, const struct filter_class *c, struct err *err)
{
	struct filter_class away = { .ip = c->ip };
	char text[IP_TEXT_MAX];
	bool there;
	int number = 0;

	if (!overlay_has(&f->base.overlay, &c->ip))
		return err_set(err, ERR_CONFIG, "%s is not an overlay address",
			       ip_text(&c->ip, text));
	if (c->class == 0 || c->timeout_ms <= 0)
		return filter_class_remove(f, &c->ip, err);

	/* An element's class and timeout do not change: it goes and comes in one
	 * transaction. Whether it is there is remembered, and the kernel corrects us:
	 * it may have run out, or an earlier process may have left it. */
	there = dict_find(f->known, address_key(&c->ip)) != NULL;
	for (int tries = 0; tries < 4; tries++) {
		number = change(f, there ? &away : NULL, c, err);
		if (number == ENOENT && there)
			there = false;
		else if ((number == EEXIST || number == EBUSY) && !there)
			there = true;
		else
			break;
	}
	if (number != 0)
		return err_prefix(err, "class of %s: ", ip_text(&c->ip, text));
	dict_put(f->known, address_key(&c->ip), f);
	return true;
}

bool filter_class_remove(struct filter *f, const struct ip *ip, struct err *err)
{
	struct filter_class away = { .ip = *ip };
	char text[IP_TEXT_MAX];
	int number;

	if (!overlay_has(&f->base.overlay, ip))
		return err_set(err, ERR_CONFIG, "%s is not an overlay address", ip_text(ip, text));
	number = change(f, &away, NULL, err);
	if (number != 0 && number != ENOENT)
		return err_prefix(err, "class of %s: ", ip_text(ip, text));
	dict_remove(f->known, address_key(ip));
	return true;
}

/* ---- what is there ---- */

struct classes {
	struct filter_class *list;
	size_t               n, cap;
};

static int on_element(struct nftnl_set_elem *elem, void *arg)
{
	struct classes *out = arg;
	struct filter_class c = { .timeout_ms = INT64_MAX };
	uint32_t len = 0;
	const void *key = nftnl_set_elem_get(elem, NFTNL_SET_ELEM_KEY, &len);
	const void *data;

	if (!key || (len != 4 && len != 16))
		return 0;
	c.ip.family = len == 4 ? IP_V4 : IP_V6;
	memcpy(c.ip.b, key, len);
	data = nftnl_set_elem_get(elem, NFTNL_SET_ELEM_DATA, &len);
	if (!data || len != sizeof(c.class))
		return 0;
	memcpy(&c.class, data, len);
	data = nftnl_set_elem_get(elem, NFTNL_SET_ELEM_USERDATA, &len);
	if (data)
		nftnl_udata_parse(data, len, on_who, &c.who);
	if (nftnl_set_elem_is_set(elem, NFTNL_SET_ELEM_EXPIRATION)) {
		uint64_t left = nftnl_set_elem_get_u64(elem, NFTNL_SET_ELEM_EXPIRATION);

		c.timeout_ms = left < INT64_MAX ? (int64_t)left : INT64_MAX;
	}
	if (out->n == out->cap) {
		out->cap = out->cap ? 2 * out->cap : 256;
		out->list = mem_realloc(out->list, out->cap, sizeof(*out->list));
	}
	out->list[out->n++] = c;
	return 0;
}

static bool on_elements(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	scoped_set struct nftnl_set *set = have(nftnl_set_alloc());

	if (nftnl_set_elems_nlmsg_parse(nlh, set) < 0)
		return err_sys(err, "elements that do not parse");
	nftnl_set_elem_foreach(set, on_element, arg);
	return true;
}

static void classes_reset(void *arg)
{
	struct classes *out = arg;

	out->n = 0;
}

bool filter_classes(struct filter *f, filter_class_fn *fn, void *arg, struct err *err)
{
	static const uint8_t families[] = { IP_V4, IP_V6 };

	for (size_t i = 0; i < array_size(families); i++) {
		scoped_set struct nftnl_set *set = have(nftnl_set_alloc());
		struct classes out = { 0 };
		struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(nl_buffer(f->nl), NFT_MSG_GETSETELEM,
							     NFPROTO_INET, NLM_F_DUMP,
							     nl_seq(f->nl));

		nftnl_set_set_str(set, NFTNL_SET_TABLE, RULESET_TABLE);
		nftnl_set_set_str(set, NFTNL_SET_NAME, map_of(families[i]));
		nftnl_set_elems_nlmsg_build_payload(nlh, set);
		if (!nl_ask(f->nl, nlh, on_elements, classes_reset, &out, NULL, err)) {
			free(out.list);
			return err_prefix(err, "listing classes: ");
		}
		for (size_t k = 0; k < out.n; k++)
			fn(arg, &out.list[k]);
		free(out.list);
	}
	return true;
}

static bool on_counter(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	struct filter_counters *out = arg;
	const struct {
		const char *name;
		struct filter_counter *into;
	} rows[] = {
		{ "forged", &out->forged },       { "source", &out->source },
		{ "classless", &out->classless }, { "no_row", &out->no_row },
		{ "not_new", &out->not_new },     { "user", &out->user },
		{ "lab", &out->lab },             { "front", &out->front },
	};
	scoped_obj struct nftnl_obj *o = have(nftnl_obj_alloc());
	const char *table, *name;

	if (nftnl_obj_nlmsg_parse(nlh, o) < 0)
		return err_sys(err, "a counter that does not parse");
	table = nftnl_obj_get_str(o, NFTNL_OBJ_TABLE);
	name = nftnl_obj_get_str(o, NFTNL_OBJ_NAME);
	if (!table || !name || strcmp(table, RULESET_TABLE) != 0 ||
	    nftnl_obj_get_u32(o, NFTNL_OBJ_TYPE) != NFT_OBJECT_COUNTER)
		return true;
	for (size_t i = 0; i < array_size(rows); i++)
		if (strcmp(name, rows[i].name) == 0)
			*rows[i].into = (struct filter_counter){
				nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS),
				nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_BYTES),
			};
	return true;
}

bool filter_counters(struct filter *f, struct filter_counters *ret_c, struct err *err)
{
	scoped_obj struct nftnl_obj *o = have(nftnl_obj_alloc());
	struct filter_counters c = { 0 };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(nl_buffer(f->nl), NFT_MSG_GETOBJ, NFPROTO_INET,
						     NLM_F_DUMP, nl_seq(f->nl));

	nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, RULESET_TABLE);
	nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_nlmsg_build_payload(nlh, o);
	if (!nl_ask(f->nl, nlh, on_counter, NULL, &c, NULL, err))
		return err_prefix(err, "reading the packet filter's counters: ");
	*ret_c = c;
	return true;
}
