/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/roster.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/wire.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	enum roster_kind kind;
	char            *dn, *name, *uid;
	char           **members, **member_uids, **member_of;
	size_t           bytes;
	unsigned         mark;          /* of the walk that saw this group last */
	unsigned         round;         /* of roster_seen_begin() */
	struct entry   **parents;       /* of a group: groups that it is a member of */
	size_t           parent_count, parent_room;
};

struct roster {
	struct dict *kinds[ROSTER_DISABLED + 1];        /* key -> entry */
	size_t       bytes;
	unsigned     round[ROSTER_DISABLED + 1];
	struct dict *missing[ROSTER_DISABLED + 1];      /* seen, but not here */
	bool         journaled;
	struct buf   journal;
};

struct roster *roster_new(void)
{
	struct roster *r = mem_alloc(sizeof(*r));

	for (int k = ROSTER_PERSON; k <= ROSTER_DISABLED; k++) {
		r->kinds[k] = dict_new();
		r->missing[k] = dict_new();
	}
	return r;
}

static void strings_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	free(e->dn);
	free(e->name);
	free(e->uid);
	strings_free(e->members);
	strings_free(e->member_uids);
	strings_free(e->member_of);
	free(e->parents);
	free(e);
}

void roster_remove_kind(struct roster *r, enum roster_kind kind)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(r->kinds[kind], &pos, &key, &v)) {
		r->bytes -= ((struct entry *)v)->bytes;
		entry_free(v);
	}
	dict_free(r->kinds[kind]);
	r->kinds[kind] = dict_new();
}

void roster_free(struct roster *r)
{
	if (!r)
		return;
	for (enum roster_kind k = ROSTER_PERSON; k <= ROSTER_DISABLED; k++) {
		roster_remove_kind(r, k);
		dict_free(r->kinds[k]);
		dict_free(r->missing[k]);
	}
	buf_done(&r->journal);
	free(r);
}

static char **strings_copy(const char *const *list, size_t *bytes)
{
	size_t n = 0;
	char **copy;

	while (list && list[n])
		n++;
	if (!n)
		return NULL;
	copy = mem_calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++) {
		copy[i] = mem_strdup(list[i]);
		*bytes += strlen(list[i]) + 32;
	}
	return copy;
}

static size_t all(const struct roster *r)
{
	return dict_count(r->kinds[ROSTER_PERSON]) + dict_count(r->kinds[ROSTER_GROUP]) +
	       dict_count(r->kinds[ROSTER_DISABLED]);
}

/* ---- the journal ---- */

static void write_list(struct buf *b, const char *const *list)
{
	uint32_t n = 0;

	while (list && list[n])
		n++;
	wire_u32(b, n);
	for (uint32_t i = 0; i < n; i++)
		wire_span(b, span_str(list[i]));
}

/* The record's own length comes first, and is filled in last. */
static void write_put(struct buf *b, const struct roster_entry *e)
{
	struct buf len;
	size_t     at;

	wire_u8(b, (uint8_t)e->kind);
	wire_span(b, e->key);
	at = b->len;
	wire_u32(b, 0);
	wire_span(b, e->dn);
	wire_span(b, e->name);
	wire_span(b, e->uid);
	write_list(b, e->members);
	write_list(b, e->member_uids);
	write_list(b, e->member_of);
	if (b->over)
		return;
	buf_init(&len, 4);
	wire_u32(&len, (uint32_t)(b->len - at - 4));
	memcpy(b->ptr + at, len.ptr, 4);
	buf_done(&len);
}

static void write_gone(struct roster *r, enum roster_kind kind, struct span key)
{
	if (!r->journaled)
		return;
	wire_u8(&r->journal, (uint8_t)kind);
	wire_span(&r->journal, key);
	wire_span(&r->journal, SPAN(""));
}

void roster_journal(struct roster *r)
{
	r->journaled = true;
	buf_done(&r->journal);
	buf_init(&r->journal, ROSTER_KEEP_MAX);
}

void roster_journal_take(struct roster *r, struct buf *ret)
{
	*ret = r->journal;
	buf_init(&r->journal, ROSTER_KEEP_MAX);
}

/* NULL: there is no such list. What it points to is the record's, but for the array and its texts. */
static char **read_list(struct wire_reader *w)
{
	uint32_t n = wire_get_u32(w);
	char   **list;

	/* Each has four bytes of length at least. */
	if (w->bad || n > w->rest.len / 4) {
		w->bad = true;
		return NULL;
	}
	list = mem_calloc((size_t)n + 1, sizeof(*list));
	for (uint32_t i = 0; i < n; i++)
		list[i] = span_dup(wire_get_span(w, w->rest.len));
	return list;
}

static bool replay_put(struct roster *r, enum roster_kind kind, struct span key, struct span body,
		       struct err *err)
{
	struct wire_reader  w = wire_read(body);
	struct roster_entry e = { .kind = kind, .key = key };

	e.dn = wire_get_span(&w, body.len);
	e.name = wire_get_span(&w, body.len);
	e.uid = wire_get_span(&w, body.len);
	char **members = read_list(&w), **uids = read_list(&w), **of = read_list(&w);
	e.members = (const char *const *)members;
	e.member_uids = (const char *const *)uids;
	e.member_of = (const char *const *)of;
	bool ok = wire_end(&w) ? roster_put(r, &e, err) :
				 err_set(err, ERR_SYNTAX, "an entry that was kept is none");
	strings_free(members);
	strings_free(uids);
	strings_free(of);
	return ok;
}

bool roster_replay(struct roster *r, struct span records, struct err *err)
{
	struct wire_reader w = wire_read(records);
	bool               was = r->journaled, ok = true;

	r->journaled = false;
	while (ok && w.rest.len && !w.bad) {
		uint8_t     kind = wire_get_u8(&w);
		struct span key = wire_get_span(&w, records.len), body = wire_get_span(&w, records.len);

		if (w.bad || kind < ROSTER_PERSON || kind > ROSTER_DISABLED)
			ok = err_set(err, ERR_SYNTAX, "a record that was kept is none");
		else if (body.len)
			ok = replay_put(r, kind, key, body, err);
		else
			roster_remove(r, kind, key);
	}
	r->journaled = was;
	return ok;
}

bool roster_put(struct roster *r, const struct roster_entry *from, struct err *err)
{
	struct entry *e = mem_alloc(sizeof(*e));

	e->kind = from->kind;
	e->dn = span_dup(from->dn);
	e->name = span_dup(from->name);
	e->uid = span_dup(from->uid);
	e->bytes = sizeof(*e) + from->key.len + from->dn.len + from->name.len + from->uid.len + 128;
	e->members = strings_copy(from->members, &e->bytes);
	e->member_uids = strings_copy(from->member_uids, &e->bytes);
	e->member_of = strings_copy(from->member_of, &e->bytes);
	if (r->bytes + e->bytes > ROSTER_BYTES_MAX || all(r) >= ROSTER_ENTRIES_MAX) {
		entry_free(e);
		return err_set(err, ERR_LIMIT, "more than %d entries, or %d MiB of them",
			       ROSTER_ENTRIES_MAX, ROSTER_BYTES_MAX >> 20);
	}
	r->bytes += e->bytes;
	e->round = r->round[e->kind];
	dict_remove(r->missing[e->kind], from->key);
	if (r->journaled)
		write_put(&r->journal, from);
	struct entry *old = dict_put(r->kinds[e->kind], from->key, e);
	if (old)
		r->bytes -= old->bytes;
	entry_free(old);
	return true;
}

void roster_remove(struct roster *r, enum roster_kind kind, struct span key)
{
	struct entry *e = dict_remove(r->kinds[kind], key);

	dict_remove(r->missing[kind], key);
	if (!e)
		return;
	r->bytes -= e->bytes;
	entry_free(e);
	write_gone(r, kind, key);
}

void roster_seen_begin(struct roster *r, enum roster_kind kind)
{
	r->round[kind]++;
	dict_free(r->missing[kind]);
	r->missing[kind] = dict_new();
}

bool roster_seen(struct roster *r, enum roster_kind kind, struct span key, struct err *err)
{
	struct entry *e = dict_find(r->kinds[kind], key);

	if (e) {
		e->round = r->round[kind];
		return true;
	}
	if (dict_count(r->missing[kind]) >= ROSTER_ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d entries", ROSTER_ENTRIES_MAX);
	dict_put(r->missing[kind], key, r);
	return true;
}

size_t roster_missing(const struct roster *r, enum roster_kind kind)
{
	return dict_count(r->missing[kind]);
}

void roster_sweep(struct roster *r, enum roster_kind kind)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(r->kinds[kind], &pos, &key, &v)) {
		struct entry *e = v;

		if (e->round == r->round[kind])
			continue;
		write_gone(r, kind, key);
		dict_remove(r->kinds[kind], key);
		r->bytes -= e->bytes;
		entry_free(e);
	}
}

size_t roster_count(const struct roster *r, enum roster_kind kind)
{
	return dict_count(r->kinds[kind]);
}

/* ---- who is where ---- */

struct person {
	struct entry  *e;
	char          *login;
	struct entry **direct;
	size_t         count, room;
	bool           disabled, twice;
};

struct work {
	struct dict   *groups;          /* DN -> group */
	struct dict   *people;          /* DN -> person */
	struct dict   *uids;            /* memberUid -> person */
	struct person *list;
	size_t         count;
	unsigned       mark;
	size_t         unnamed, cut, twice, group_count;
};

static bool name_ok(const char *s)
{
	size_t n = strlen(s);

	if (!n || n > ROSTER_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return span_is_utf8(span_str(s));
}

static char *lower(const char *s)
{
	char *copy = mem_strdup(s);

	for (char *p = copy; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	return copy;
}

static void add_parent(struct entry *child, struct entry *parent)
{
	if (child->parent_count == child->parent_room)
		child->parents = mem_realloc(child->parents,
					     child->parent_room = child->parent_room ? child->parent_room * 2 : 4,
					     sizeof(struct entry *));
	child->parents[child->parent_count++] = parent;
}

static void add_direct(struct person *p, struct entry *group)
{
	if (p->count == p->room)
		p->direct = mem_realloc(p->direct, p->room = p->room ? p->room * 2 : 8,
					sizeof(struct entry *));
	p->direct[p->count++] = group;
}

static void index_people(struct work *w, const struct roster *r)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	w->list = mem_calloc(dict_count(r->kinds[ROSTER_PERSON]) + 1, sizeof(*w->list));
	while (dict_next(r->kinds[ROSTER_PERSON], &pos, &key, &v)) {
		struct entry *e = v;

		if (!name_ok(e->name)) {
			w->unnamed++;
			continue;
		}
		struct person *p = &w->list[w->count++];
		p->e = e;
		p->login = lower(e->name);
		dict_put(w->people, span_str(e->dn), p);
		if (*e->uid)
			dict_put(w->uids, span_str(e->uid), p);
	}
	pos = 0;
	while (dict_next(r->kinds[ROSTER_DISABLED], &pos, &key, &v)) {
		struct person *p = dict_find(w->people, span_str(((struct entry *)v)->dn));

		if (p)
			p->disabled = true;
	}
}

static void link_member(struct work *w, struct entry *group, const char *dn)
{
	struct person *p = dict_find(w->people, span_str(dn));
	struct entry  *child = p ? NULL : dict_find(w->groups, span_str(dn));

	if (p)
		add_direct(p, group);
	else if (child)
		add_parent(child, group);
}

static void index_groups(struct work *w, const struct roster *r)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(r->kinds[ROSTER_GROUP], &pos, &key, &v)) {
		struct entry *g = v;

		g->mark = 0;
		g->parent_count = 0;
		dict_put(w->groups, span_str(g->dn), g);
		w->unnamed += !name_ok(g->name);
	}
	pos = 0;
	while (dict_next(r->kinds[ROSTER_GROUP], &pos, &key, &v)) {
		struct entry *g = v, *parent;

		for (size_t i = 0; g->members && g->members[i]; i++)
			link_member(w, g, g->members[i]);
		for (size_t i = 0; g->member_uids && g->member_uids[i]; i++) {
			struct person *p = dict_find(w->uids, span_str(g->member_uids[i]));

			if (p)
				add_direct(p, g);
		}
		for (size_t i = 0; g->member_of && g->member_of[i]; i++)
			if ((parent = dict_find(w->groups, span_str(g->member_of[i]))))
				add_parent(g, parent);
	}
	for (size_t i = 0; i < w->count; i++) {
		struct person *p = &w->list[i];
		struct entry  *g;

		for (size_t k = 0; p->e->member_of && p->e->member_of[k]; k++)
			if ((g = dict_find(w->groups, span_str(p->e->member_of[k]))))
				add_direct(p, g);
	}
}

static int text_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Upwards from a person, level by level; a mark is what ends a circle. */
static char *groups_of(struct work *w, struct person *p)
{
	struct entry **seen = NULL;
	size_t         n = 0, room = 0, from = 0;
	struct buf     out;

	w->mark++;
	for (unsigned depth = 0; depth <= ROSTER_NEST_MAX; depth++) {
		size_t to = n;

		for (size_t i = from; depth == 0 ? i < 1 : i < to; i++) {
			struct entry **next = depth == 0 ? p->direct : seen[i]->parents;
			size_t         count = depth == 0 ? p->count : seen[i]->parent_count;

			for (size_t k = 0; k < count; k++) {
				if (next[k]->mark == w->mark)
					continue;
				if (depth == ROSTER_NEST_MAX || n == ROSTER_GROUPS_MAX) {
					w->cut++;
					goto done;
				}
				next[k]->mark = w->mark;
				if (n == room)
					seen = mem_realloc(seen, room = room ? room * 2 : 16,
							   sizeof(struct entry *));
				seen[n++] = next[k];
			}
		}
		from = depth == 0 ? 0 : to;
		if (from == n)
			break;
	}
done:;
	const char **names = mem_calloc(n + 1, sizeof(*names));
	size_t       kept = 0;
	for (size_t i = 0; i < n; i++)
		if (name_ok(seen[i]->name))
			names[kept++] = seen[i]->name;
	qsort(names, kept, sizeof(*names), text_cmp);
	buf_init(&out, 1 << 20);
	buf_add_str(&out, "");
	for (size_t i = 0; i < kept; i++) {
		if (i && strcmp(names[i], names[i - 1]) == 0)
			continue;       /* two groups of one name are one */
		if (out.len)
			buf_add_char(&out, '\n');
		buf_add_str(&out, names[i]);
	}
	free(names);
	free(seen);
	char *text = out.len ? buf_take(&out) : NULL;
	buf_done(&out);
	return text ? text : mem_strdup("");
}

static int person_cmp(const void *a, const void *b)
{
	return strcmp(((const struct roster_person *)a)->login,
		      ((const struct roster_person *)b)->login);
}

struct roster_list *roster_list(const struct roster *r)
{
	struct work         w = { dict_new(), dict_new(), dict_new(), NULL, 0, 0, 0, 0, 0, 0 };
	struct roster_list *l = mem_alloc(sizeof(*l));
	size_t              k = 0;

	index_people(&w, r);
	index_groups(&w, r);
	l->people = mem_calloc(w.count + 1, sizeof(*l->people));
	for (size_t i = 0; i < w.count; i++) {
		struct person *p = &w.list[i];

		l->people[i] = (struct roster_person){ take(p->login), groups_of(&w, p), p->disabled };
		free(p->direct);
	}
	qsort(l->people, w.count, sizeof(*l->people), person_cmp);
	/* One login, several entries: whose groups would it have? Nobody's; and one that is
	 * disabled disables it. */
	for (size_t i = 0; i < w.count; i++) {
		struct roster_person *p = &l->people[i], *last = k ? &l->people[k - 1] : NULL;

		if (last && strcmp(last->login, p->login) == 0) {
			l->twice++;
			last->groups[0] = '\0';
			last->disabled |= p->disabled;
			free(p->login);
			free(p->groups);
		} else {
			l->people[k++] = *p;
		}
	}
	l->count = k;
	l->unnamed = w.unnamed;
	l->cut = w.cut;
	l->groups = dict_count(w.groups);
	dict_free(w.groups);
	dict_free(w.people);
	dict_free(w.uids);
	free(w.list);
	return l;
}

void roster_list_free(struct roster_list *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++) {
		free(l->people[i].login);
		free(l->people[i].groups);
	}
	free(l->people);
	free(l);
}
