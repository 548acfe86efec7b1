/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/held.h"

#include "base/mem.h"
#include "base/wire.h"

#include <string.h>

void held_init(struct held *h, size_t searches)
{
	*h = (struct held){ .searches = searches };
	held_drop(h);
}

void held_done(struct held *h)
{
	roster_free(h->roster);
	h->roster = NULL;
}

void held_drop(struct held *h)
{
	roster_free(h->roster);
	h->roster = roster_new();
	for (size_t i = 0; i < HELD_SEARCHES; i++)
		h->cookies[i].len = 0;
	h->good = false;
	h->whole = true;
}

void held_begin(struct held *h)
{
	held_drop(h);
	roster_journal(h->roster);
}

void held_cookie(struct held *h, size_t search, const struct sync_cookie *c)
{
	if (!c->len)
		return;
	memcpy(h->cookies[search].bytes, c->bytes, c->len);
	h->cookies[search].len = c->len;
}

bool held_complete(const struct held *h)
{
	for (size_t i = 0; i < h->searches; i++)
		if (!h->cookies[i].len)
			return false;
	return h->searches > 0;
}

/* Everything that decides what is read, by whom, and how it is understood. */
static void write_row(const struct reader_row *row, struct buf *out)
{
	const char *const texts[] = {
		row->url, row->ca, row->bind_dn, row->people, row->people_filter, row->login_attribute,
		row->login_suffix, row->disabled_filter, row->groups, row->groups_filter, row->group_attribute,
	};

	wire_u32(out, HELD_FORM);
	for (size_t i = 0; i < array_size(texts); i++)
		wire_span(out, span_str(texts[i]));
}

void held_mark(const struct held *h, const struct reader_row *row, struct buf *out)
{
	write_row(row, out);
	for (size_t i = 0; i < h->searches; i++)
		wire_span(out, span_of(h->cookies[i].bytes, h->cookies[i].len));
}

bool held_load(struct held *h, const struct reader_row *row, struct span mark, struct span records,
	       struct err *err)
{
	scoped_buf struct buf same = { 0 };
	struct wire_reader    w;
	bool                  ok;

	held_drop(h);
	buf_init(&same, HELD_MARK_MAX);
	write_row(row, &same);
	if (same.over || !span_starts(mark, buf_span(&same)))
		return false;
	w = wire_read(span_from(mark, same.len));
	for (size_t i = 0; i < h->searches; i++) {
		struct span c = wire_get_span(&w, SYNC_COOKIE_MAX);

		memcpy(h->cookies[i].bytes, c.ptr ? c.ptr : "", c.len);
		h->cookies[i].len = c.len;
	}
	ok = (wire_end(&w) && held_complete(h)) ||
	     err_set(err, ERR_SYNTAX, "cookies that were kept are none");
	if (!ok || !roster_replay(h->roster, records, err)) {
		held_drop(h);
		return false;
	}
	roster_journal(h->roster);
	h->good = true;
	h->whole = false;
	return true;
}
