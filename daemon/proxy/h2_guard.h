/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_H2_GUARD_H
#define DAEMON_PROXY_H2_GUARD_H

/*
 * Frames that move nothing - PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM,
 * DATA without data, HEADERS of streams that are gone (nghttp2 passes over them, as
 * it does over their DATA without a word to us), kinds nobody knows - cost whoever sends them next to nothing
 * (RFC 9113 10.5). A connection has FRONT_H2_NOISE of them at once, gets a tenth of
 * that back a second, and some with each request and each frame of an answer that
 * it takes: whoever asks for something may say much about it.
 */

#include "base/span.h"

#include <nghttp2/nghttp2.h>

struct h2_guard {
	int64_t since;
	int64_t left;
	int32_t last;   /* the newest stream */
};

void h2_guard_init(struct h2_guard *g, int64_t now);
/* A frame has come, of a stream that is open or not; false: too many of its kind have, and
 * the connection is to end. */
bool h2_guard_frame(struct h2_guard *g, const nghttp2_frame_hd *hd, bool open, int64_t now);
/* A frame with so many bytes of an answer went out. */
void h2_guard_sent(struct h2_guard *g, size_t n);

#endif
