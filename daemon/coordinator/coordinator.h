/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_COORDINATOR_H
#define COORDINATOR_COORDINATOR_H

/*
 * reeve-coordinator as one object: who talks to whom. Requests come in
 * through api_public.c, login_flow.c (browsers), api_mesh.c and api_admin.c; each change is a job for
 * the store; when it is on disk, coordinator_commit() brings it into the registry,
 * and every endpoint that listens is told. No request is answered before that.
 */

#include "daemon/control/browser.h"
#include "daemon/coordinator/attempt.h"
#include "daemon/coordinator/disbelief.h"
#include "daemon/control/fields.h"
#include "daemon/coordinator/feed.h"
#include "daemon/store/groups.h"
#include "web/portal.h"

struct own;

struct coordinator {
	struct loop       *loop;
	char              *conf_path;
	struct conf       *conf;
	struct store      *store;
	struct registry   *reg;
	struct audit      *audit;
	struct attempts   *attempts;
	struct rates      *reports, *opens;     /* of each node: what it says, and map streams */
	struct idp        *idp;
	struct feeds      *feeds;
	struct http       *http;
	struct portal     *portal;
	struct own        *own;                 /* own accounts (own.h); NULL: none are configured */
	struct ldap_feeds *ldap;                /* ldap_feed.h; NULL: none are configured */
	struct bearer_wait *bearer_waits;       /* tokens that an issuer's keys are asked about */
	struct disbelief  *disbelief;
	struct secret      form_key;            /* of the login pages' forms; a new process has a new one */
	struct loop_timer *expiry, *sweep, *life;
	struct wall        started;             /* nobody was heard before */
	struct clock_watch clock;
	struct seal       *seal;                /* of refresh tokens */
	struct refresher  *refresher;
	struct told       *told;                /* logout.c: providers' words that are checked now */
	size_t             told_count;
	struct boot        pins_read;           /* when certificate files were read last */
	bool               loaded, changing_epoch, ending;
	int                status;
	struct err         failed;
};

/* What a device without a browser is told where the switch is off. */
#define NO_BROWSER_WORDS "a login needs a browser on the device itself: approval on another one (\"cross-device\") is off here"

enum {
	HUB_WAIT_MS = 2000,             /* a new peer is told its node this much later at most */
	SWEEP_SEC = 600,
	LIFE_SEC = 2,                   /* between looks at what is over (lifetime.h) */
	KEEP_ENDED_SEC = 90 * 86400,    /* ended sessions are remembered */
	REPORTS_PER_MINUTE = 30,        /* each may concern every endpoint */
	OPENS_PER_MINUTE = 60,          /* each may be a full map */
	NODE_REPORT_MAX = 256 << 10,    /* the hub's alone may be larger: it tells of its peers */
};

/* Runs until SIGTERM; the exit status. */
int coordinator_run(const char *conf_path);

/* In every job's done, when err is NULL: the rows are on disk, now they count. */
void coordinator_commit(struct coordinator *co, struct store_job *job);

/* A request's job: done is called with it. Answers r itself if it cannot be handed over. */
void coordinator_submit(struct coordinator *co, struct request *r, struct store_job *job, store_done_fn *done);

/* A session's length and the rest, from what the provider said. Lists live in mem. */
void coordinator_person(const struct coordinator *co, const struct attempt *a, const char *from, struct arena *mem,
                        struct store_person *ret);

/* Whether a pin is one of the public listener's; reads certificate files again if not. */
bool coordinator_pin_ok(struct coordinator *co, const struct enrol_pin *pin);

/* "done" of enrolments and logins; of an enrolment once the hub knows the new peer. */
void coordinator_reply_node(struct coordinator *co, uint64_t request, uint64_t node);

extern const struct route public_routes[], mesh_routes[];

/* api_public.c */
void api_hello(void *ctx, struct request *r);
void api_enrol_start(void *ctx, struct request *r);
/* Answers r, whose body began the attempt, with what is to be proved. */
void api_enrol_challenge(struct coordinator *co, struct attempt *a, struct request *r);
void api_enrol_prove(void *ctx, struct request *r);
void api_enrol_finish(void *ctx, struct request *r);
/* The person is known and approved: the attempt, FINISHING, becomes a node (a session); it is gone after. */
void enrol_complete(struct coordinator *co, struct request *r, struct attempt *a);
/* The ticket, or an approval on another device: on true the attempt is FINISHING; else r is answered. */
bool enrol_take_ticket(struct coordinator *co, struct request *r, struct attempt *a, const struct enrol_finish *f);

/* login_flow.c */
void api_login_get(void *ctx, struct request *r);       /* /login/ATTEMPT, /login/callback */
void api_login_post(void *ctx, struct request *r);      /* /login/ATTEMPT/continue, approve, refuse */
void api_source(void *ctx, struct request *r);          /* what the pages' footer links to */

/* login_device.c: what a node is told that wants somebody to log in. The attempt may be gone after. */
void login_answer(struct coordinator *co, struct request *r, struct attempt *a);
/* The evidence in f: checked, then as enrol_complete() or session_complete(). Answers r in any case. */
void login_evidence(struct coordinator *co, struct request *r, struct attempt *a, struct enrol_finish *f);
/* logout.c */
void api_backchannel(void *ctx, struct request *r);     /* POST /login/logout/PROVIDER */
void logout_cancel(struct coordinator *co);             /* before the providers go */
/* Where a person ends their session at the provider, too; false where there is no such page. */
bool coordinator_logout_url(const struct coordinator *co, const struct session_row *s, struct buf *out);
void login_bye(struct request *r);                      /* where the provider sends them then */

/* browser.c: people with only a browser. */
struct attempt *browser_begin(struct coordinator *co, const struct request *r, struct err *err);
void browser_return(struct coordinator *co, struct request *r, struct attempt *a);
/* "https://wiki.example.edu"; "" where it is gone. */
void browser_origin(const struct coordinator *co, uint64_t host, struct span service, char ret[BROWSER_ORIGIN_MAX + 1]);
void api_browser_redeem(void *ctx, struct request *r);
/* browser_renew.c. The provider to ask for an attempt's renewal, and for whom; NULL: there is nothing to renew. */
const char *browser_renew_provider(const struct coordinator *co, const struct attempt *a, const char **ret_hint);
/* Whether what the provider said (a->who) renews the session: the same person, proven no less. */
bool browser_renews(const struct coordinator *co, const struct attempt *a, struct err *err);
/* The new session's refresh token, where the provider gave none: that of the one before. */
bool browser_renew_token(const struct coordinator *co, struct attempt *a, struct err *err);
/* Back to the service; the session is as it was. why: for the audit; NULL: it is there already. */
void browser_kept(struct coordinator *co, struct request *r, const struct attempt *a, const char *why);
void api_browser_renew(void *ctx, struct request *r);
void api_browser_end(void *ctx, struct request *r);
/* The end of an end_op that a request asked for; job->note: where its page is to go. */
void api_session_ended(void *owner, struct store_job *job, const struct err *err);

/* api_mesh.c */
void session_complete(struct coordinator *co, struct request *r, struct attempt *a);
/* Who calls on the mesh's listener: a node always. NULL, and r is answered: it was deleted and has
 * no word any more. */
struct reg_node *api_caller(struct coordinator *co, struct request *r);
void api_map(void *ctx, struct request *r);
void api_map_ack(void *ctx, struct request *r);
void api_map_refused(void *ctx, struct request *r);
void api_map_used(void *ctx, struct request *r);
void api_node_report(void *ctx, struct request *r);
void api_session_start(void *ctx, struct request *r);
void api_session_finish(void *ctx, struct request *r);
void api_logout(void *ctx, struct request *r);
void api_portal(void *ctx, struct request *r);
extern const struct portal_ops portal_ops;

/* rotate_api.c: another key of a node */
void api_rotate_start(void *ctx, struct request *r);
void api_rotate_prove(void *ctx, struct request *r);
void api_rotate_state(void *ctx, struct request *r);
void api_rotate_due(void *ctx, struct request *r);
void api_rotate_finish(void *ctx, struct request *r);

/* api_admin.c */
void api_admin_get(void *ctx, struct request *r);
void api_admin_post(void *ctx, struct request *r);
void api_admin_put(void *ctx, struct request *r);
void api_admin_delete(void *ctx, struct request *r);

/* groups_api.c: below .../groups. True: it was theirs, r is or will be answered, or out has the answer. */
bool groups_get(struct coordinator *co, struct request *r, struct span id, struct span sub, struct buf *out);
bool groups_post(struct coordinator *co, struct request *r, struct span id, struct span sub, struct fields *f);
void groups_say_ended(struct coordinator *co, const struct row_changes *changes);
void groups_say_held(struct coordinator *co, const struct row_changes *changes);
struct hold_rules groups_rules(const struct coordinator *co);
void groups_user_json(const struct coordinator *co, const struct reg_user *u, struct buf *out);
void groups_status_json(const struct coordinator *co, struct buf *out);

/* scim_api.c: what identity providers push; and the tokens for it. */
void api_scim(void *ctx, struct request *r);
void scim_error_reply(struct request *r, const struct err *err);
void scim_make_key(struct coordinator *co, struct request *r, struct fields *f);

/* bearer.c: before the issuers' objects go. */
void bearer_cancel(struct coordinator *co);

/* api_admin.c: who asks for what, written with what came of it before that is answered. */
void admin_note(struct buf *b, const struct coordinator *co, const struct request *r, const char *event);
void admin_record(struct coordinator *co, const struct store_job *job, const struct err *err);

/* admin_json.c: one object each, no newline. */
void admin_node_json(const struct coordinator *co, const struct reg_node *n, struct buf *out);
void admin_user_json(const struct coordinator *co, const struct reg_user *u, struct buf *out);
void admin_session_json(const struct coordinator *co, const struct reg_node *n, struct buf *out);       /* it has one */
void admin_key_json(const struct key_row *k, struct buf *out);
void admin_status_json(const struct coordinator *co, struct buf *out);
void admin_metrics(const struct coordinator *co, struct buf *out);

#endif
