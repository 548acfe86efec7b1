/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/h2_guard.h"

#include "base/clock.h"
#include "daemon/proxy/limits.h"

enum {
	PER_REQUEST = 16,       /* frames that a client may say about one request: windows, priority, its reset */
	PER_ANSWER  = 4,        /* ... about one frame of an answer: two windows, and some */
	WORTH       = 64,       /* bytes that make a frame of an answer one */
};

void h2_guard_init(struct h2_guard *g, int64_t now)
{
	*g = (struct h2_guard){ .since = now, .left = FRONT_H2_NOISE };
}

static void refill(struct h2_guard *g, int64_t n)
{
	g->left = g->left + n < FRONT_H2_NOISE ? g->left + n : FRONT_H2_NOISE;
}

void h2_guard_sent(struct h2_guard *g, size_t n)
{
	if (n >= WORTH)
		refill(g, PER_ANSWER);
}

/* Whether it moves something, or is bounded elsewhere. */
static bool carries(struct h2_guard *g, const nghttp2_frame_hd *hd, bool open)
{
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		if (hd->stream_id > g->last) {
			g->last = hd->stream_id;
			refill(g, PER_REQUEST);
			return true;
		}
		return open;    /* trailers, once */
	case NGHTTP2_CONTINUATION:
		return true;    /* the parts of a header block are counted by nghttp2 */
	case NGHTTP2_DATA:
		return hd->length > 1 || (hd->flags & NGHTTP2_FLAG_END_STREAM); /* by windows and deadlines */
	default:
		return false;
	}
}

bool h2_guard_frame(struct h2_guard *g, const nghttp2_frame_hd *hd, bool open, int64_t now)
{
	int64_t tenth = SEC_NS / (FRONT_H2_NOISE / 10), n = (now - g->since) / tenth;

	if (carries(g, hd, open))
		return true;
	if (n > 0) {
		refill(g, n);
		g->since += n * tenth;
	}
	return g->left-- > 0;
}
