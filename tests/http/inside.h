/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_HTTP_INSIDE_H
#define TESTS_HTTP_INSIDE_H

/*
 * The whole engine in this process, between a client and an application that
 * are this process, too: bytes in, bytes out, no network and no clock to wait
 * for. One public service "wiki" that writes X-Campus-Person. For fuzzers and
 * property tests; next: inside.c.
 */

#include "base/buf.h"
#include "daemon/proxy/snapshot.h"

enum { INSIDE_UPS = 128, INSIDE_WORDS = 4 };

struct inside;

struct inside *inside_new(void);

/* The same with two services for people with only a browser besides: "notes", where INSIDE_COOKIE
 * is somebody's session and the code "good" brings it, and "closed", where there is no session. */
struct inside *inside_new_browser(void);
#define INSIDE_COOKIE "c2Vzc2lvbiBvZiBzb21lYm9keSBmb3IgdGVzdGluZyE"
/* With services of the caller's, which build() puts into b and of which one listens at
 * `listen`; words[slot] is to be each identity's generation. */
typedef void inside_build_fn(struct snapshot_builder *b, uint32_t words[INSIDE_WORDS], unsigned which);
struct inside *inside_with(inside_build_fn *build, unsigned which, struct span listen);
void inside_free(struct inside *in);

struct inside_result {
	struct buf app[INSIDE_UPS];     /* what the application was sent, by connection */
	size_t     app_count;
	struct buf client;              /* what the client was sent */
	bool       left_open;           /* something is still there after both had gone: a leak */
};

/* A client connects, sends bytes, and leaves when nothing moves any more. The application
 * sends answer for every whole request that it gets. */
void inside_run(struct inside *in, struct span bytes, struct span answer, struct inside_result *ret);
void inside_result_done(struct inside_result *r);

#endif
