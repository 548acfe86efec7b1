/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SPARE_MAX = 256 };       /* exchanges kept for the next requests: 128 KiB */

struct exchange *exchange_new(struct conn *c)
{
	struct front *f = c->front;
	struct exchange *ex = f->spare;

	if (ex) {
		f->spare = ex->next;
		f->spare_count--;
		memset(ex, 0, sizeof(*ex));
	} else {
		ex = mem_alloc(sizeof(*ex));
	}
	c->ex = ex;
	ex->conn = c;
	ex->service = SERVICE_UNKNOWN;
	ex->started = front_now(c->front);
	if (c->front->snap)
		ex->snap = snapshot_ref(c->front->snap);
	return ex;
}

/* Callers further up may still look at its state: it is somebody else's from the next round on. */
static void retire(struct exchange *ex)
{
	struct front *f = ex->conn->front;

	ex->conn->ex = NULL;
	ex->next = f->ended;
	f->ended = ex;
	front_later(f);
}

void exchange_drop(struct exchange *ex)
{
	ex->state = EX_NONE;
	snapshot_unref(ex->snap);
	ex->snap = NULL;
	retire(ex);
}

void exchanges_reap(struct front *f)
{
	while (f->ended) {
		struct exchange *ex = f->ended;

		f->ended = ex->next;
		if (f->spare_count == SPARE_MAX) {
			free(ex);
			continue;
		}
		ex->next = f->spare;
		f->spare = ex;
		f->spare_count++;
	}
}

void exchanges_free(struct front *f)
{
	exchanges_reap(f);
	while (f->spare) {
		struct exchange *ex = f->spare;

		f->spare = ex->next;
		free(ex);
	}
}

static void free_mem(struct exchange *ex)
{
	struct front *f = ex->conn->front;

	if (ex->mem && ex->secret)
		mem_wipe(ex->mem, ex->mem_cap);
	if (ex->mem && ex->mem_cap == EX_BLOCK && f->block_count < array_size(f->blocks))
		f->blocks[f->block_count++] = ex->mem;
	else
		free(ex->mem);
	ex->mem = NULL;
	ex->mem_cap = 0;
}

char *exchange_mem(struct exchange *ex, size_t n)
{
	struct front *f = ex->conn->front;

	free_mem(ex);
	ex->mem_cap = n > EX_BLOCK ? n : EX_BLOCK;
	if (ex->mem_cap == EX_BLOCK && f->block_count)
		ex->mem = f->blocks[--f->block_count];
	else
		ex->mem = mem_alloc(ex->mem_cap);
	return ex->mem;
}

void exchange_end(struct exchange *ex, enum ex_end why)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct upconn *u = ex->up;
	bool clean = why == END_OK && ex->req.done && ex->resp.done && !ex->close_up;

	ex->state = EX_NONE;    /* from here on nobody finds it through the connection */
	if (ex->waiting)
		upstream_leave(ex);
	ex->up = NULL;
	if (u)
		up_release(u, clean);
	if (ex->run) {
		ex->run->by_class[ex->status / 100 < 6 ? ex->status / 100 : 0]++;
		if (ex->counted)
			service_latency(ex->run, front_now(f) - ex->started);
	}
	audit_exchange(ex, why);
	if (ex->counted) {
		ex->run->in_flight--;
		f->stats.in_flight--;
		if (f->snap && c->slot < snapshot_ident_count(f->snap) && f->busy[c->slot])
			f->busy[c->slot]--;
	}
	f->stats.bytes_in += ex->bytes_in;
	f->stats.bytes_out += ex->bytes_out;
	free_mem(ex);
	snapshot_unref(ex->snap);
	ex->snap = NULL;
	ex->run = NULL;
	ex->svc = NULL;
	retire(ex);
}

static void refuse(struct exchange *ex, unsigned status, const char *word, const char *detail,
                   enum ex_end why)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	bool close = !ex->keep_alive || !ex->req.done || status == 400 || status == 408;

	if (ex->forward)
		status = forward_status(ex, status);
	ex->refused = word;
	ex->detail = detail;
	ex->status = status;
	if (why == END_REFUSED) {
		f->stats.denied++;
		if (ex->run)
			ex->run->refused++;
	}
	if (ex->tcp) {
		exchange_end(ex, why);
		conn_close(c);
		return;
	}
	page_write(ex, status, word, detail, close);
	exchange_end(ex, why);
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_READY;
	c->closing = c->closing || close;
	c->owed = !ex->req.done;
	conn_due(c, front_now(f) + (close ? FRONT_LINGER_NS : f->keep_ns));
	conn_later(c);
}

void exchange_refuse(struct exchange *ex, unsigned status, const char *word, const char *detail)
{
	refuse(ex, status, word, detail, END_REFUSED);
}

void exchange_fail(struct exchange *ex, unsigned status, const char *word, const char *detail,
                   enum ex_end why)
{
	struct conn *c = ex->conn;

	if (why == END_UPSTREAM || why == END_TIMEOUT)
		c->front->stats.upstream_errors++;
	if (ex->state < EX_RESPONSE && !ex->answered) {
		refuse(ex, status, word, detail, why);
		return;
	}
	/* Part of an answer is with the client: only the end of the connection says that it is not whole. */
	ex->refused = word;
	ex->detail = detail;
	exchange_end(ex, why);
	conn_close(c);
}

void exchange_done(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	bool close = !ex->keep_alive || !ex->req.done || f->draining;

	exchange_end(ex, END_OK);
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_READY;
	c->closing = c->closing || close;
	c->owed = !ex->req.done;
	conn_due(c, front_now(f) + f->keep_ns);
	/* the next request may be here already; a connection that ends goes the same way */
	if (c->closing || c->io.in.len || c->io.can_read)
		conn_later(c);
}
