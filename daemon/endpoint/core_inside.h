/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CORE_INSIDE_H
#define ENDPOINT_CORE_INSIDE_H

/*
 * The inside of the core process, shared by core*.c alone: what it knows,
 * whom it talks to, and the four places that act on it.
 *
 *   core.c          the process: parent, neighbours, configuration
 *   core_conf.c     files of the owner: read, checked, then swapped
 *   core_state.c    files of our own: key, last map, lease, addresses
 *   core_net.c      orders to net
 *   core_names.c    upstreams' host names
 *   core_health.c   upstreams that are not well
 *   core_fronts.c   snapshots, revocation words, certificates
 *   core_assertion.c  what fronts may say in our name
 *   core_browser.c  people with only a browser: their codes become cookies
 *   core_paths.c    which of a peer's addresses is tried
 */

#include "base/hash.h"
#include "base/loop.h"
#include "base/secret.h"
#include "daemon/endpoint/audit.h"
#include "daemon/endpoint/channel.h"
#include "daemon/endpoint/claims.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/core.h"
#include "daemon/endpoint/enrolment.h"
#include "daemon/endpoint/error_page.h"
#include "daemon/endpoint/forward_access.h"
#include "daemon/endpoint/lease.h"
#include "daemon/endpoint/metrics.h"
#include "daemon/endpoint/orders.h"
#include "daemon/endpoint/service_secret.h"
#include "daemon/endpoint/successors.h"
#include "daemon/endpoint/vouch.h"
#include "daemon/endpoint/world.h"

/* Everything that one configuration names, read and checked. */
struct core_files {
	uint32_t          generation;
	struct conf      *conf;
	struct vouch     *vouch;                /* verify: idp; else NULL */
	struct policy    *policy, *owner;       /* standalone: policy; else: owner */
	bool              has_ids;
	struct identities ids;
	bool              has_map;
	struct map        map;                  /* map file mode */
	struct buf        certificates;         /* see core_fronts.c: pairs of PEM, wire_span each */
	size_t            certificate_count;
	struct buf        roots;
	struct forward_accesses forwards;
	bool              has_metrics;          /* another place for them: metrics_fd */
	int               metrics_fd;           /* -1: none */
	struct basic_secrets basics;
	struct error_pages pages;
};

enum { CORE_FRONTS_MAX = 2 * CONF_FRONTS_MAX };

struct core_front {
	struct core       *core;
	struct channel    *channel;             /* NULL: none */
	enum process_kind  kind;
	uint16_t           index;
	uint64_t           acked;               /* generation of the snapshot that it uses */
	bool               refused;             /* it could not take the last one */
	bool               basics;              /* it was given services' secrets */
};

/* A snapshot that some front may still use. */
struct core_live {
	struct core_live  *next;
	uint64_t           generation;
	uint32_t           conf;                /* its configuration's */
	uint32_t          *words;
	struct world_slot *slots;
	size_t             n, mapped;
};

struct core {
	struct loop        *loop;
	struct channel     *parent, *net;
	bool              (*confine)(const struct conf *conf, struct err *err);
	bool                confined;
	struct core_files  *files, *next;       /* in use; prepared */
	struct audit       *audit;
	struct world       *world;
	int                 status;             /* exit */

	/* what we are and what we were told (core_state.c) */
	char                boot_id[BOOT_ID_LEN + 1];
	struct secret       key;                /* the device's private key; empty: none yet */
	uint8_t             public_key[MSG_KEY_LEN];
	struct map          map;
	struct claims_memory *memory;
	struct lease_mark   mark;
	bool                policy_set;
	char               *policy_text;        /* of the map, as it is compiled; NULL: none */
	size_t              policy_len;
	const struct policy *policy_owner;      /* these two: compared, not used */
	const struct core_files *policy_files;
	bool                store_map;          /* once it is in force */
	struct enrolment    enrolment;
	uint16_t            port;               /* UDP, of the device; 0: not known */
	char                map_error[ERR_MSG_MAX];     /* why the last map file or policy was not taken; "" */

	/* net */
	struct net_state   *told;               /* NULL: it must be told all */
	struct order       *first, **last;      /* waiting to be sent */
	size_t              waiting, under_way;
	uint32_t            order;              /* number of the last one sent */
	struct loop_timer  *net_again;          /* after a failure */
	bool                all_told;           /* net has the whole state for the first time: our port is known */
	char                net_error[ERR_MSG_MAX];
	struct core_asked  *asked;              /* status questions under way */

	/* upstreams' names (core_names.c) */
	struct names       *names;              /* NULL: there are none */
	struct loop_timer  *names_again;
	uint32_t            names_told;         /* serial of the last one that net was told */

	/* fronts */
	struct core_front   fronts[CORE_FRONTS_MAX];
	struct core_unwell *unwell;             /* upstreams, as fronts say (core_health.c) */
	struct core_live   *live;               /* newest first */
	int                 snapshot_fd, words_fd, public_fd;   /* of the newest; -1 */
	uint64_t            generation;
	uint32_t            snapshot_conf;      /* configuration of the newest */

	bool                due;                /* apply() comes at the end of this round */
	bool                publish;            /* the fronts must know, too */
	bool                vouched;            /* the map is looked at again at the end of this round */
	struct loop_timer  *tick;
	struct loop_timer  *map_poll, *paths, *store, *clock_look;
	struct clock_watch  clock;
	struct map_file_mark { int64_t sec, nsec, size; uint64_t inode; } map_mark;

	struct core_browser *browsers;          /* what the coordinator is asked for them */
	size_t              browser_count;
	struct loop_timer  *browser_tick;

	struct assertion_keys *assertions;      /* NULL: no service carries them */
	struct loop_timer  *assertion_turn;

	struct client      *client;
	struct sync        *sync;
	struct join        *join;
	struct rotate      *rotate;             /* NULL: no coordinator */
	struct aging       *aging;
	struct successors  *successors;
	struct refusals    *refusals;
	struct usage       *usage;
	struct api         *api;
	struct metrics     *metrics;            /* NULL: nobody may ask */
};

/* core.c */
void core_changed(struct core *c);              /* something that fronts and net must know */
void core_net_changed(struct core *c);          /* something that net alone must know */
void core_now(const struct core *c, struct world_now *ret_now);
void core_map_changed(struct core *c);          /* c->map holds another state, or our own key is another */

/* core_conf.c */
struct core_files *core_files_read(uint32_t generation, struct span text, const char *dir, const char *file,
                                   struct buf *words);
void core_files_free(struct core_files *f);     /* accepts NULL; wipes */
/* Says in log and audit which break-glass keys the configuration lists: at the start, and after a reload. */
void core_glass_listed(struct core *c);
/* With what "break-glass" grants (glass.h); NULL, and it is logged, where that makes no policy. */
struct policy *core_policy_with_glass(const struct conf *conf, struct span text, enum policy_mode mode);
bool core_map_read(const char *path, struct map *ret_map, struct err *err);

/* core_state.c: failures are logged; what cannot be read is as if it were not there. */
void core_state_load(struct core *c);
bool core_state_key(struct core *c, bool make, struct err *err);
bool core_state_store_map(struct core *c, struct err *err);
bool core_state_store_enrolment(struct core *c, const struct enrolment *e, struct err *err);   /* and takes it */
void core_state_forget(struct core *c);         /* the enrolment and the map; the key stays */
void core_state_store_lease(struct core *c);
void core_state_load_verified(struct core *c);
void core_state_store_verified(struct core *c);
void core_state_heard(struct core *c);          /* the coordinator spoke: the lease begins anew */
uint32_t core_state_epoch(struct core *c);      /* of classes; another one at every start */
char *core_state_path(const struct core *c, const char *name);          /* the caller frees */

/* core_net.c */
void core_net_up(struct core *c);               /* a new net: tell all */
void core_net_down(struct core *c);
void core_net_deny(struct core *c, const struct net_state *want);
void core_net_allow(struct core *c, struct net_state *want, struct boot now);   /* takes want over */
void core_net_done(struct core *c, const struct msg_done *d);
void core_net_status(struct core *c, const struct msg_status *s);
/* fn is called once for every part and once more with NULL at the end; err where net is not there. */
typedef void core_status_fn(void *arg, const struct msg_status *part, const struct err *err);
void core_net_ask(struct core *c, core_status_fn *fn, void *arg);
void core_net_forget(struct core *c, void *arg);        /* whoever asked has gone */

/* core_names.c */
void core_names_use(struct core *c);            /* a configuration is in use */
void core_names_up(struct core *c);             /* a new net */
void core_names_done(struct core *c, const struct msg_named *m);
void core_names_free(struct core *c);

/* core_health.c */
void core_health_told(struct core *c, const struct core_front *f, const struct msg_upstream *m);
void core_health_forget(struct core *c, const struct core_front *f);    /* it has gone; NULL: all have */
/* How many fronts of that kind find it not well; "well", "down" or "resting", and why; until the next call. */
unsigned core_health_look(const struct core *c, enum process_kind kind, const char *service, const char *upstream,
                          const char **ret_state, const char **ret_why);

/* core_assertion.c */
void core_assertion_use(struct core *c);        /* a configuration is in use: does it want any? */
void core_assertion_ask(struct core *c, struct core_front *f, const struct msg_assert *m);
void core_assertion_free(struct core *c);

/* core_browser.c */
void core_browser_ask(struct core *c, struct core_front *f, const struct msg_browser *m);
void core_browsers_published(struct core *c, const struct world_now *now);      /* fronts were sent a snapshot */
void core_browsers_settle(struct core *c);      /* one of them has it, or has gone */
void core_browsers_late(void *core);            /* the timer's */
void core_browsers_free(struct core *c);

/* core_paths.c */
void core_paths_look(void *core);               /* the timer's; sets it again */

/* core_fronts.c */
void core_fronts_revoke(struct core *c, const struct world_now *now);
void core_fronts_publish(struct core *c, const struct world_now *now);
void core_front_up(struct core *c, struct core_front *f);
void core_front_certificates(struct core *c, struct core_front *f);
void core_front_done(struct core *c, struct core_front *f, const struct msg_snapshot_done *d);
/* Of a snapshot that is still in use somewhere; NULL: it is not. */
const struct world_slot *core_fronts_slot(const struct core *c, uint64_t generation, uint32_t slot);
/* It is of the configuration in use, whose services it has by their places, however many came after it. */
bool core_fronts_current(const struct core *c, uint64_t generation);
void core_fronts_free(struct core *c);
bool core_certificates_read(struct core_files *f, struct diags *diags);
/* Of the certificates in use, how many; one of our own counts once a front was given it. */
size_t core_certificates_pins(struct core *c, struct enrol_pin ret_pins[ENROL_PINS_MAX]);

#endif
