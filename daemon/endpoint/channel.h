/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CHANNEL_H
#define ENDPOINT_CHANNEL_H

/*
 * One process's end of a SOCK_SEQPACKET pair to a neighbour. What arrives is
 * read field by field (messages.h), and checked against who may say what; the
 * first thing that is not right ends the channel. Sending never blocks: what
 * the socket does not take waits here, up to a bound.
 */

#include "base/loop.h"
#include "daemon/endpoint/messages.h"

enum { CHANNEL_QUEUE_MAX = 4096 };      /* messages that may wait in one channel */
enum { CHANNEL_QUEUE_BYTES = 64 << 20 };

struct channel;

/* A descriptor that the callee wants to keep is taken by setting it to -1;
 * the others are closed on return. Spans in m live as long as the call. */
typedef void channel_msg_fn(void *arg, const struct msg *m, int *fds, size_t n);

/* The neighbour is gone (why->code is ERR_MISSING) or broke the protocol
 * (ERR_PEER). Called once, and nothing else after it; the owner frees. */
typedef void channel_gone_fn(void *arg, const struct err *why);

/* Takes fd over. Both functions may free the channel. */
struct channel *channel_new(struct loop *l, int fd, enum process_kind self, enum process_kind peer,
                            channel_msg_fn *on_msg, channel_gone_fn *on_gone, void *arg);
void channel_free(struct channel *c);   /* accepts NULL; what waits is dropped */

/* What a peer that has ended said last, before the channel is freed: at most
 * CHANNEL_QUEUE_MAX messages that have arrived are given to on_msg, and its end
 * to on_gone. Accepts NULL. */
void channel_read_rest(struct channel *c);

/* Descriptors stay the caller's. False: ERR_BUSY if too much waits, ERR_NOTNOW
 * if the channel is gone, ERR_LIMIT if the message cannot be written. Nothing
 * was sent then. */
bool channel_send(struct channel *c, const struct msg *m, const int *fds, size_t n,
                  struct err *err);

/* How many messages wait. */
size_t channel_waiting(const struct channel *c);

/* The descriptor, with -1 in its place: how a callee takes one. */
int take_fd(int *fd);

/* A pair for two neighbours, close-on-exec, non-blocking. */
bool channel_pair(int ret_fds[2], struct err *err);

#endif
