/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_NL_H
#define DAEMON_MESH_NL_H

/*
 * One netlink socket that asks and waits for the answer, with a deadline.
 * What link, device and filter share; nobody outside this folder needs it.
 */

#include "base/err.h"

#include <libmnl/libmnl.h>

enum {
	NL_DEADLINE_MS = 2000,          /* the kernel answers at once; for when it does not */
	NL_MESSAGE_MAX = 64 << 10,      /* one request, one batch or one read */
};

struct nl;

struct nl *nl_open(int bus, struct err *err);
void nl_close(struct nl *nl);           /* accepts NULL */
int  nl_fd(const struct nl *nl);
/* Dumps are filtered by what the request says, where the kernel can. */
void nl_strict(struct nl *nl);
/* For a socket that is only listened to: becomes readable when its group is
 * told something. nl_drain() reads all there is; true if fn said so of any
 * message, or some were lost. */
bool nl_join(struct nl *nl, unsigned group, struct err *err);
bool nl_drain(struct nl *nl, bool (*fn)(void *arg, const struct nlmsghdr *nlh), void *arg);
void nl_wipe(struct nl *nl);            /* both buffers, after a secret passed through */

/* A fresh request in the socket's own buffer, at its start. */
struct nlmsghdr *nl_request(struct nl *nl, uint16_t type, uint16_t flags);

/* The buffer, NL_MESSAGE_MAX bytes, for those who put several messages into it. */
void    *nl_buffer(struct nl *nl);
uint32_t nl_seq(struct nl *nl);         /* the next one */

/* For each message of the answer; false stops it, with err set. */
typedef bool nl_message_fn(void *arg, const struct nlmsghdr *nlh, struct err *err);

/*
 * Sends one request and reads its whole answer (NLM_F_ACK is added unless it
 * is a dump). A refusal is ERR_SYS, ERR_MISSING for ENOENT, ENODEV, ESRCH and
 * ENXIO, ERR_EXISTS for EEXIST, ERR_BUSY for EBUSY and EAGAIN; *ret_errno
 * (may be NULL) is its number, 0 where the kernel did not answer. A dump that
 * changed underway is asked again, so fn may see an object twice: reset(arg),
 * unless NULL, is called before that.
 */
bool nl_ask(struct nl *nl, struct nlmsghdr *req, nl_message_fn *fn, void (*reset)(void *arg),
	    void *arg, int *ret_errno, struct err *err);

/* Sends what a batch holds, `bytes` from the buffer, and waits for the answers of the
 * `n` messages from seq `first` on; the batch's own begin and end are around them.
 * The first refusal counts. */
bool nl_batch(struct nl *nl, size_t bytes, uint32_t begin, uint32_t first, size_t n,
	      int *ret_errno, struct err *err);

/* Attributes of one level into a table by type; those above max are passed over. */
bool nl_attrs(const struct nlmsghdr *nlh, size_t header, const struct nlattr **tb, uint16_t max);
bool nl_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max);

#endif
