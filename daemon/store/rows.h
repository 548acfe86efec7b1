/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_ROWS_H
#define STORE_ROWS_H

/*
 * What the coordinator remembers, as typed rows. Lists are text with one item
 * a line ("tag:a\ntag:b"): no item of ours has controls. Text is never NULL in
 * a row that the store hands out; "" is "none". Ids are never 0, and never
 * given twice.
 */

#include "base/clock.h"
#include "base/ip.h"

enum row_kind { ROW_NODE = 1, ROW_USER, ROW_SESSION, ROW_KEY, ROW_POLICY, ROW_HELD };

struct node_row {
	uint64_t    id;
	uint8_t     key[32];            /* WireGuard public key */
	char       *name;               /* DNS label, unique */
	struct ip   v4;
	char       *tags;               /* of a server; then user is 0 */
	uint64_t    user;
	uint64_t    enrol_key;          /* the key that it enrolled with; 0: a login */
	bool        hub;
	char       *os;
	char       *report;             /* its last POST /v1/node, as text */
	char       *routes;             /* approved by an administrator, beside the policy's autoApprovers */
	char       *from;               /* where it enrolled from */
	char       *browser;            /* no device but a browser's session at this service; "": a device */
	uint64_t    host;               /* ... of this node; key is the cookie's hash, v4 none */
	struct wall created;
	bool        approved;           /* an administrator let it in, or nobody need have */
	bool        ephemeral;          /* goes when it is not in touch any more */
	struct wall expires;            /* of the enrolment; 0: never */
	/* Another key (rotate_op): announced; and the one before, for as long as that is shown. */
	bool        has_next, has_was;
	uint8_t     next_key[32], was_key[32];
	struct wall next_until, was_until;
	char       *next_vouches, *was_vouches; /* list of "NODE HEX", ascending: the old key's word to each */
};

struct user_row {
	uint64_t    id;
	char       *issuer, *sub;       /* the first identity; more are in the table of identities */
	char       *login, *name, *email;
	char       *groups;             /* of every source, each once */
	char       *sources;            /* list of "SOURCE\tGROUP": who says so */
	char       *absent;             /* list of sources whose last word had no groups in it: theirs are older */
	char       *disabled;           /* list of directories that have disabled them, or have them no more */
	bool        blocked;
	struct wall created, last_login;
};

struct session_row {
	uint64_t    id, user, node;
	struct wall auth_time, created, expires;
	char       *issuer, *acr, *amr, *groups, *from;
	bool        mfa, cross_device;
	struct wall ended;              /* 0: it has not */
	char       *why;                /* it ended: "expired", "logout", "revoked", "replaced" */
	char       *provider;           /* the configuration's name of the issuer; "": not said */
	char       *sub;                /* the subject that logged in; "": of before this was kept */
	char       *sid;                /* the provider's session (Back-Channel Logout 1.0); "": none */
	char       *refresh;            /* a refresh token, sealed by the coordinator; "": none */
	bool        device;             /* the login was made with the provider's device client */
	struct wall checked;            /* when the provider stood by this person last; 0: only at the login */
	char       *id_token;           /* evidence of a login at the device (idp/evidence.h); "": none */
	uint8_t     opening[32];        /* its opening */
	bool        has_evidence_key;   /* it was made for this key, which the node had before */
	uint8_t     evidence_key[32];
};

struct key_row {
	uint64_t    id;
	bool        scim;               /* a provisioning token, not an enrolment key */
	uint8_t     hash[32];           /* of its secret; of an enrolment key all zero here */
	char       *tags, *note;
	int64_t     uses, used;         /* allowed and spent */
	struct wall created, expires;
	bool        revoked;
	uint64_t    by;                 /* the user who made it; 0: the machine's administrator */
	bool        ephemeral;          /* of the nodes that enrol with it */
	int64_t     node_life;          /* seconds until those expire; 0: never */
};

struct policy_row {
	uint64_t    version;
	char       *text;
	uint64_t    by;
	struct wall at;
};

/* What a directory took away, and is not believed yet (store/groups.h). */
struct held_row {
	uint64_t    id;
	char       *source, *kind;      /* kind: "group", "all" groups of the source, its "accounts" */
	char       *group;              /* "" for the others */
	int64_t     lost, total;
	struct wall at;
};

struct mesh_row {
	char          epoch[17];        /* sixteen hexadecimal digits */
	uint64_t      seq;
	struct prefix ula, v4;
	char         *name;
};

void node_row_free(struct node_row *r);         /* all accept NULL */
void user_row_free(struct user_row *r);
void session_row_free(struct session_row *r);
void key_row_free(struct key_row *r);
void policy_row_free(struct policy_row *r);
void held_row_free(struct held_row *r);
void mesh_row_done(struct mesh_row *r);

/* One row as it is now, or that it is gone. Rows may be taken out of it. */
struct row_change {
	enum row_kind kind;
	uint64_t      id;
	bool          gone;
	union {
		struct node_row    *node;
		struct user_row    *user;
		struct session_row *session;
		struct key_row     *key;
		struct policy_row  *policy;
		struct held_row    *held;
	};
};

struct row_changes {
	struct row_change *list;
	size_t             count, room;
	uint64_t           seq;         /* the mesh's sequence after these; 0: nothing that a map shows changed */
};
void row_changes_done(struct row_changes *c);
struct row_change *row_changes_add(struct row_changes *c, enum row_kind kind, uint64_t id);

/* The items of a list; false at the end. */
bool row_list_next(struct span *rest, struct span *ret_item);
bool row_list_has(const char *list, struct span item);

#endif
