/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_PORTAL_H
#define WEB_PORTAL_H

/*
 * The portal that a person reaches through the mesh: who am I, my devices, my
 * sessions, and a button that ends each. It asks the coordinator through
 * struct portal_ops; the caller is named by the front's headers, never by the request.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "web/page.h"

struct portal_caller {
	const char *user, *node, *session;      /* ids; session NULL: the node has none */
};

struct portal_person {
	const char *name, *login, *email, *issuer;
	const char *const *groups;
	size_t n_groups;
};

struct portal_device {
	const char *id, *name, *os, *v4, *v6;
	struct wall seen;                       /* 0: never */
	bool online;
};

struct portal_session {
	const char *id, *device, *from;         /* the device's name; where the login came from */
	struct wall auth_time, expires;
	bool mfa, cross_device;
	/* In a browser, without the device: the service, and where people reach it ("" for nowhere); NULL: on a device. */
	const char *service, *origin;
	bool kept;                              /* its renewal came to nothing */
};

typedef void portal_ended_fn(void *arg, bool ok, const struct err *err);

/* Strings are borrowed for the call. each_* call fn once per row. */
struct portal_ops {
	bool (*person)(void *ctx, const char *user, void (*fn)(void *arg, const struct portal_person *),
	               void *arg);
	void (*each_device)(void *ctx, const char *user,
	                    void (*fn)(void *arg, const struct portal_device *), void *arg);
	void (*each_session)(void *ctx, const char *user,
	                     void (*fn)(void *arg, const struct portal_session *), void *arg);
	/* Ends a session of that user, and of nobody else; calls done once it is on disk. */
	void (*end_session)(void *ctx, const char *user, const char *session,
	                    portal_ended_fn *done, void *arg);
	/* Where the provider of that session of theirs logs people out; false: nowhere. May be NULL. */
	bool (*logout_url)(void *ctx, const char *user, const char *session, struct buf *ret_url);
	void (*remove_device)(void *ctx, const char *user, const char *node,
	                      portal_ended_fn *done, void *arg);
};

struct portal;

struct portal *portal_new(const struct portal_ops *ops, void *ctx);     /* ops borrowed */
void portal_free(struct portal *p);

struct portal_request {
	bool        post;
	struct span path;               /* "/", "/session/end", "/session/logout", "/device/remove" */
	struct span body;               /* of a POST; at most PORTAL_BODY_MAX */
	struct wall now;
};
enum { PORTAL_BODY_MAX = 4 << 10 };

/* Answers with one page, at once or later; reply may be called before this returns.
 * The portal must be there until every reply was called. */
typedef void portal_reply_fn(void *arg, struct page *page);     /* page is freed after */
void portal_handle(struct portal *p, const struct portal_caller *who,
                   const struct portal_request *req, portal_reply_fn *reply, void *arg);

#endif
