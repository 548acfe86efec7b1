/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_MODEL_H
#define POLICY_MODEL_H

/*
 * The inside of a policy, for this folder alone: what the reader fills, the
 * checker has looked at, and everything else only reads. All of it lives in
 * the policy's arena. Next: policy/read.c.
 */

#include "base/arena.h"
#include "base/hash.h"
#include "base/hujson.h"
#include "policy/ipset.h"
#include "policy/policy.h"
#include "policy/tables.h"
#include "policy/topology.h"

enum selector_kind {
	SEL_NONE = 0,           /* matches nothing */
	SEL_ANY,                /* "*": every node; as a destination also what nodes route */
	SEL_USER,               /* name: login or email, without a trailing '@' */
	SEL_DOMAIN,             /* "user:*@example.edu": name is "example.edu" */
	SEL_GROUP,              /* index into groups, or UINT32_MAX where only the coordinator knows it */
	SEL_TAG,
	SEL_IPS,                /* address, prefix, host or ipset: see ips */
	SEL_MEMBER,
	SEL_TAGGED,
	SEL_SHARED,
	SEL_ROLE,               /* autogroup:admin and relatives: name is the role */
	SEL_SELF,               /* dst only: the caller's own devices */
	SEL_INTERNET,           /* dst only */
	SEL_DANGER_ALL,         /* src only: every address */
	SEL_IDP,                /* group of the IdP */
	SEL_SVC,
};

struct selector {
	enum selector_kind  kind;
	struct place        at;
	struct span         text;       /* as written, trimmed */
	struct span         name;
	uint32_t            index;
	const struct ipset *ips;        /* SEL_IPS */
};

struct port_range { uint16_t lo, hi; };

struct ip_spec {
	uint8_t                  protos[4];
	uint8_t                  proto_count;
	bool                     default_protos;        /* none was written */
	const struct port_range *ports;
	size_t                   port_count;
	struct span              text;
};

struct http_match {
	struct spans methods, hosts, paths;     /* empty: any */
};

struct auth {
	bool         set, mfa;
	int64_t      max_age;   /* 0: any */
	struct spans acr;       /* one of */
	struct spans amr;       /* all of */
};

struct rule_dst {
	struct selector       sel;
	const struct ip_spec *ip;       /* for svc without "ip": none, its own ports */
	size_t                ip_count;
};

struct cap { struct span name, json; };         /* json: the array, compact */

struct posture;

struct rule {
	struct place           at;
	bool                   acl;
	uint32_t               index;
	struct span            text;
	const struct selector *src;
	size_t                 src_count;
	const struct rule_dst *dst;
	size_t                 dst_count;
	struct spans           via;             /* tags */
	const struct cap      *caps;
	size_t                 cap_count;
	const struct http_match *http;          /* NULL: every request */
	size_t                 http_count;
	struct auth            auth;
	int64_t                stale;           /* seconds; INT64_MAX: as long as the lease */
	struct span            stale_text;      /* as written, empty where absent */
	const struct posture *const *postures;  /* any of them; none: no condition */
	size_t                 posture_count;
	bool                   ip_given;        /* a grant that has "ip" */
};

struct group {
	struct span  name;      /* "group:staff" */
	struct place at;
	struct spans members;   /* user selectors, without a trailing '@' */
};

struct host { struct span name; struct place at; struct prefix prefix; };

struct named_ipset { struct span name; struct place at; struct ipset ips; bool busy, done; };

struct tag { struct span name; struct place at; const struct selector *owners; size_t owner_count; };

enum posture_op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN, OP_SET, OP_NOT_SET };
struct posture_test { struct span attr; enum posture_op op; struct spans values; };
struct posture {
	struct span          name;      /* "posture:managed" */
	struct place         at;
	struct posture_test *tests;
	size_t               test_count;
};

struct approver { struct prefix route; struct selector *who; size_t who_count; };

struct node_attr {
	struct selector *target;
	size_t           target_count;
	struct spans     attrs;
};

struct policy_test_dst {
	struct place    at;
	struct span     text;
	struct selector sel;
	struct port_range port; /* one; svc without a port: 0..0 */
};

struct policy_test {
	struct place    at;
	struct selector src;
	uint8_t         proto;          /* 0: any of the default ones */
	struct policy_test_dst *accept, *deny;
	size_t          accept_count, deny_count;
	/* HTTP and session assertions; has_http where method, path or host is given */
	bool            has_http;
	struct span     method, path, host;
	struct spans    header_names, header_values;
	bool            has_session;
	int64_t         age, silent;    /* seconds; age -1: unknown auth_time; silent -1: never */
	bool            mfa;
	struct span     acr;
	struct spans    amr, idp;
};

struct policy {
	struct arena        arena;
	unsigned            refs;
	enum policy_mode    mode;
	struct rule        *rules;
	size_t              rule_count, acl_count;
	struct group       *groups;     size_t group_count;
	struct host        *hosts;      size_t host_count;
	struct named_ipset *ipsets;     size_t ipset_count;
	struct tag         *tags;       size_t tag_count;
	struct posture     *postures;   size_t posture_count;
	const struct posture **default_postures; size_t default_posture_count;
	struct approver    *approvers;  size_t approver_count;
	struct selector    *exit_approvers; size_t exit_approver_count;
	struct node_attr   *attrs;      size_t attr_count;
	struct policy_test *tests;      size_t test_count;
	struct dict        *group_index;        /* name -> struct group */
	struct dict        *host_index, *ipset_index, *tag_index, *posture_index;
	struct dict        *member_index;       /* user -> struct group_list: the groups that name them */
	bool                has_ssh, has_ssh_tests;
};

struct group_list { uint32_t *list; size_t count, cap; };

/* ---- who a selector means (policy/match.c) ---- */

/* A user selector's token against a person: login or email, and only one person may have it. */
bool user_is(const struct topology *topo, const struct topology_user *u, struct span token);
bool user_in_group(const struct policy *pol, const struct topology *topo,
                   const struct topology_user *u, uint32_t group, struct span name, bool idp_only);
bool session_holds(const struct topology_node *n, struct wall now);
bool node_has_tag(const struct topology_node *n, struct span tag);
bool posture_holds(const struct rule *r, const struct topology_node *n);

/* auth of a rule against a session, without its age. */
bool auth_strong(const struct auth *a, const struct topology_session *s);

/* ---- the reader's parts ---- */

struct reader {
	struct policy *pol;
	struct hujson *doc;
	struct diags  *diags;
	bool           lenient;         /* OWNER, MAP: tags and groups need not be defined here */
};

struct strs { struct span *list; struct place *at; size_t count; };

/* Every key of obj must be in the NULL-terminated list (any case); '#' keys pass where allowed. */
void   read_keys(struct reader *r, json_t *obj, const char *const *known, const char *const *ignored,
                 bool comments, const char *what);
json_t *read_get(json_t *obj, const char *key, const char **ret_key);
struct place read_at(struct reader *r, json_t *obj, const char *key);
bool   read_strs(struct reader *r, json_t *obj, const char *key, size_t max, bool required, struct strs *ret);
bool   read_str(struct reader *r, json_t *v, struct place at, const char *what, struct span *ret);
bool   read_bool(struct reader *r, json_t *obj, const char *key, bool *ret);

enum selector_role { ROLE_SRC, ROLE_DST, ROLE_OWNER, ROLE_APPROVER, ROLE_TARGET, ROLE_TEST, ROLE_SSH_SRC, ROLE_SSH_DST };
bool read_selector(struct reader *r, struct span text, struct place at, enum selector_role role, struct selector *ret);
bool read_ports(struct reader *r, struct span text, struct place at, const struct port_range **ret, size_t *ret_n);
bool read_proto(struct span text, uint8_t *ret_proto, bool *ret_default, const char **ret_why);
bool read_split_port(struct span text, struct span *ret_dst, struct span *ret_port, const char **ret_why);
/* Is it a name that stands for a user? */
bool read_user_name(struct span text, struct span *ret_token);

void read_acls(struct reader *r, json_t *root);
void read_grants(struct reader *r, json_t *root);
void read_tests(struct reader *r, json_t *root);
void read_ssh(struct reader *r, json_t *root);
void read_postures(struct reader *r, json_t *root);
bool pattern_valid(struct span pattern, const char **ret_why);

#endif
