/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_H2_FRAMES_H
#define DAEMON_PROXY_H2_FRAMES_H

/*
 * What h2.c and upstream_h2.c share: frames on their way out, and the forms in
 * which HTTP/1.1 and HTTP/2 say the same.
 */

#include "daemon/proxy/engine.h"

#include <nghttp2/nghttp2.h>

/*
 * The frames of one turn, gathered: what all streams of a connection have to
 * say after a round of the loop goes in one write. User data of a session begins
 * with one of these.
 */
struct h2_out {
	struct front    *front;
	struct io       *io;
	nghttp2_session *session;
	char            *ptr;           /* FRONT_H2_TX bytes while h2_out_send() runs */
	size_t           len;
};

/* Writes what the session has to say, until nothing is left or the connection takes no more.
 * False: the connection has failed, or the session is beyond repair. */
bool h2_out_send(struct h2_out *o);
/* Out of a session's send_data_callback: one DATA frame, its 9 bytes of head first. */
int h2_out_data(struct h2_out *o, const uint8_t *head, struct span payload);

/* A field's name in small letters, behind what is in q (RFC 9113 8.2.1). */
void h2_name_add(struct queue *q, struct span name);
/* "name: value\r\n" */
void h2_line_add(struct queue *q, struct span name, struct span value);
/* Payload of a DATA frame as a chunk (RFC 9112 7.1). */
void h2_chunk_add(struct queue *q, struct span payload);
nghttp2_nv h2_pair(struct span name, struct span value);
/* Connection-specific: no HTTP/2 message has them (RFC 9113 8.2.2). */
bool h2_is_hop(enum head_id id);

#endif
