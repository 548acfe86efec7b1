/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_OPS_H
#define STORE_OPS_H

/*
 * What can be done to the coordinator's memory: one job each, checked and
 * written in one transaction. Make one with X_new() (everything is copied),
 * fill in job.done and job.who, hand &x->job to store_submit(). In done,
 * container_of(job, struct X, job) has the results; the rows as they are now
 * are in job->changes.
 */

#include "daemon/store/store.h"

/* Everything, as changes: nodes, users, living sessions, keys, the latest policy. Also
 * counts seq up: what was told to endpoints before is not relied upon. */
struct load_op {
	struct store_job job;
	struct mesh_row  mesh;
};
struct load_op *load_op_new(void);

/* Seals a refresh token for a session, on the worker: text that only the coordinator opens,
 * the caller's to free. NULL: it cannot, and the session has none. */
typedef char *store_seal_fn(const void *ctx, uint64_t session, struct span token);

/* What a login at the device proves (idp/evidence.h), and the token's SHA-256. */
struct store_evidence {
	const char *id_token;
	uint8_t     opening[32], hash[32];
};

/* Who logged in, as their IdP said (idp/identity.h). */
struct store_person {
	const char *issuer, *sub, *login, *name, *email;        /* name, email: NULL is none */
	const char *groups;             /* list; only if groups_known, else those of before stay */
	bool        groups_known;
	const char *acr, *amr;          /* amr: list */
	bool        mfa, cross_device;
	struct wall auth_time;
	struct wall expires;            /* of the session */
	const char *from;
	/* These may be left out. */
	const char *provider, *sid;     /* session_row */
	bool        device;
	struct span refresh;            /* the refresh token; wiped with the job */
	store_seal_fn *seal;            /* NULL: refresh is not kept */
	const void *seal_ctx;           /* lives as long as the store */
	const struct store_evidence *evidence;  /* of a login at the device; NULL: none */
};

/* Enrols a device key whose possession was proved.
 *
 * With an enrolment key: it is checked and spent in the same transaction
 * (ERR_DENIED, ERR_EXPIRED). The same device key with the same enrolment key
 * again gives the same node, and spends nothing: the answer had been lost.
 *
 * With a person: the user is found or made (ERR_EXISTS where the login name is
 * another's, or where their ID token made a session before; ERR_DENIED where the user is blocked, or the device is not theirs), and
 * the node has a session. */
struct enrol_op {
	struct store_job    job;
	uint8_t             device[32];
	char               *name, *os, *from;
	bool                by_key;
	uint8_t             key_hash[32];       /* SHA-256 of the enrolment key's secret */
	struct store_person person;             /* copies */
	struct wall         now;
	uint64_t            acked;              /* every endpoint has acknowledged up to here */
	bool                unapproved;         /* a new device of a person waits for an administrator */
	int64_t             life;               /* seconds until a person's enrolment ends; 0: never.
	                                         * Each login on it begins anew */
	uint64_t            node;               /* out */
};
struct enrol_op *enrol_op_new(const uint8_t device[32], const char *name, const char *os, const char *from,
                              struct wall now, uint64_t acked);
void enrol_op_key(struct enrol_op *op, const uint8_t hash[32]);
void enrol_op_person(struct enrol_op *op, const struct store_person *p);

/* A login on a node that is enrolled. */
struct login_op {
	struct store_job    job;
	uint64_t            node;
	struct store_person person;
	struct wall         now;
	int64_t             life;               /* as in enrol_op */
	uint64_t            session;            /* out */
};
struct login_op *login_op_new(uint64_t node, const struct store_person *p, struct wall now);

/* A session of a browser at one service of a host: a node of its own, whose key is the hash of its
 * cookie, and which is gone when the session ends. The user is found or made as by enrol_op. With
 * `renews`, that living session's node has another cookie and another session in its place, in one step; ERR_DENIED
 * where it is not this person's. */
struct browser_op {
	struct store_job    job;
	struct store_person person;
	uint8_t             hash[32];
	char               *service;
	uint64_t            host;
	struct wall         now;
	uint64_t            renews;             /* a session; 0: a new node */
	uint64_t            node, session;      /* out */
};
struct browser_op *browser_op_new(const struct store_person *p, const uint8_t hash[32], const char *service,
                                  uint64_t host, struct wall now);

/* Ends living sessions: one of id, or all of node, of user (0: not asked), or
 * everything that expired by now. ERR_MISSING where a session, node or user was named and none ended. */
struct end_op {
	struct store_job job;
	uint64_t         session, node, user;
	bool             expired;
	char            *why;
	struct wall      now;
	size_t           ended;                 /* out */
};
struct end_op *end_op_new(const char *why, struct wall now);

/* Deletes a node, ends its session, puts its IPv4 address into quarantine until `until`. */
struct node_delete_op {
	struct store_job job;
	uint64_t         node;
	struct wall      now, until;
};
struct node_delete_op *node_delete_op_new(uint64_t node, struct wall now, struct wall until);

/* Changes what is not NULL. ERR_EXISTS where the name is taken. Tags only for
 * a node without a user. */
struct node_set_op {
	struct store_job job;
	uint64_t         node;
	char            *name, *tags, *routes, *report, *os;
	bool             approve, set_expires;
	struct wall      expires;               /* 0: never */
};
struct node_set_op *node_set_op_new(uint64_t node);

/* Another key of a node (doc/identity 5.11): announced until `until`, with the old key's word for
 * it (vouches: a list of "NODE HEX", ascending); then in use, and the old one is shown until
 * `until`; or given up, if its time is over by now. BEGIN: ERR_EXISTS where the key is or was a node's,
 * ERR_DENIED for the hub. FINISH: ERR_MISSING where that key is not announced. */
struct rotate_op {
	struct store_job job;
	uint64_t         node;
	enum { ROTATE_BEGIN, ROTATE_FINISH, ROTATE_DROP } what;
	uint8_t          key[32];
	char            *vouches;
	struct wall      now, until;
	bool             again;                 /* out: it was in use already */
};
struct rotate_op *rotate_op_new(uint64_t node, int what, struct wall now);

/* Remembers a logout token and ends what it names, at once: the sessions of that issuer with that
 * sid, else all of that subject (sid, sub: NULL is not said). ERR_EXISTS where the token was
 * obeyed before. It is no error that nobody is logged in. */
struct logout_op {
	struct store_job job;
	char            *issuer, *sub, *sid, *jti;
	struct wall      now, until;
	size_t           ended;                 /* out */
};
struct logout_op *logout_op_new(const char *issuer, const char *sub, const char *sid, const char *jti,
                                struct wall now, struct wall until);

/* What the provider said of a living session: it stands by it (checked), and gave another refresh
 * token (sealed; NULL: the old one stays, "": there is none any more). No endpoint is told. */
struct checked_op {
	struct store_job job;
	uint64_t         session;
	char            *refresh;
	struct wall      checked;
};
struct checked_op *checked_op_new(uint64_t session, const char *refresh, struct wall checked);

/* A user: blocked or not (blocking ends the sessions), another identity that
 * is the same person, another account that is (`other` goes up in this one: its identities,
 * devices and names; its sessions end), or deletion (with the user's nodes, into quarantine
 * until `until`). */
struct user_op {
	struct store_job job;
	uint64_t         user;
	enum { USER_BLOCK, USER_UNBLOCK, USER_LINK, USER_DELETE, USER_MERGE } what;
	char            *issuer, *sub;
	uint64_t         other;
	struct wall      now, until;
};
struct user_op *user_op_new(uint64_t user, int what, struct wall now);

/* Gives a login name up that nobody has any more: of a deleted account, or of before a
 * renaming. ERR_DENIED while somebody is called that, ERR_MISSING where nobody ever was. */
struct name_op {
	struct store_job job;
	char            *login;
};
struct name_op *name_op_release(const char *login);

struct key_op {
	struct store_job job;
	enum { KEY_CREATE, KEY_REVOKE } what;
	uint64_t         key;                   /* out of create */
	uint8_t          hash[32];
	char            *tags, *note;
	int64_t          uses;
	struct wall      now, expires;
	uint64_t         by;
	bool             ephemeral;             /* as in key_row; set after key_op_create() */
	int64_t          node_life;
	bool             scim;                  /* of create: a provisioning token */
};
struct key_op *key_op_create(const uint8_t hash[32], const char *tags, const char *note, int64_t uses,
                             struct wall now, struct wall expires, uint64_t by);
struct key_op *key_op_revoke(uint64_t key);

/* A new version of the policy; ERR_NOTNOW unless base is the latest one (0: whatever is). */
struct policy_op {
	struct store_job job;
	char            *text;
	uint64_t         base, by;
	struct wall      now;
	uint64_t         version;               /* out */
};
struct policy_op *policy_op_new(struct span text, uint64_t base, uint64_t by, struct wall now);

/* An old version's text: text is NULL if there is none. */
struct policy_get_op {
	struct store_job  job;
	uint64_t          version;
	struct policy_row *row;                 /* out; the op's */
};
struct policy_get_op *policy_get_op_new(uint64_t version);

/* A new epoch: somebody knows more than we do, so this database is a restored backup. */
struct epoch_op {
	struct store_job job;
	char             epoch[17];
};
struct epoch_op *epoch_op_new(const char epoch[17]);

/* Forgets what ended long ago: sessions and keys before `before`, quarantine that is over. */
struct sweep_op {
	struct store_job job;
	struct wall      now, before;
	uint64_t         acked;
};
struct sweep_op *sweep_op_new(struct wall now, struct wall before, uint64_t acked);

#endif
