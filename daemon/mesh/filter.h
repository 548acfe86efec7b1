/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_FILTER_H
#define DAEMON_MESH_FILTER_H

/*
 * The packet filter: nftables table `inet reeve`. Every packet to and from
 * the mesh is judged, in both directions: peer's overlay address -> class,
 * then class x protocol x port (x destination for what a gateway forwards).
 * It never looks into the user's own tables, never flushes connection
 * tracking, and knows no names: classes are numbers that the caller chose.
 *
 * What holds while the table stands, whoever runs or died:
 *
 *  - Overlay addresses and far routes that arrive on any interface but the
 *    mesh's (or lo) are dropped before reassembly and connection tracking see
 *    them, as is a source from the mesh interface that is neither.
 *  - A peer without a class, or whose element has timed out, exchanges nothing
 *    with this host or through it; the class is looked up before any connection
 *    state. Removing one element therefore ends established flows of every kind.
 *  - What a peer opens needs a row on every packet, both ways: a row that goes
 *    ends its flows too.
 *  - What this host opens towards a peer needs the peer to have a class without
 *    FILTER_CLASS_QUIET, and, where users are listed, one of them (or root) as the
 *    socket's owner. Whoever flushes connection tracking makes an answer look like
 *    a flow of ours: so where we open nothing, the class says it.
 *  - A new TCP flow begins with SYN. Untracked and invalid packets are dropped.
 *  - The laboratory side opens nothing; peers do not reach each other through
 *    this host; nothing else is forwarded into the mesh.
 *  - Refused is answered with ICMP "administratively prohibited", and counted.
 *  - A front's user sends nothing, anywhere, but answers on established connections.
 *
 * The packet mark of what passes is zeroed: it carries the class inside our
 * chains. Priorities: -450 for what arrives, filter - 10 for the rest; the
 * user's own chains still judge what we accept.
 *
 * A table without an owner: it stays when its process dies, and elements run out.
 */

#include "daemon/mesh/overlay.h"

enum {
	FILTER_USERS_MAX = 256,
	FILTER_ROWS_MAX = 65536,        /* rows for this host, as given */
	FILTER_FORWARD_MAX = 4096,      /* rows that forward, as given */
	FILTER_INTERVALS_MAX = 16384,   /* of each kind, after overlaps are resolved */
	FILTER_VIA_MAX = 4096,
};

/* What does not change while it runs. A table that was made for another base
 * is replaced by one that lets nothing through. */
struct filter_base {
	const char    *device;          /* "reeve0" */
	struct overlay overlay;
	const uint32_t *users;          /* uids beside 0 that may open flows into the mesh */
	size_t         users_n;
	bool           users_any;       /* everybody local may: a server */
	const uint32_t *fronts;         /* uids of fronts */
	size_t         fronts_n;
};

/* A timeout from here on, a hundred years, is none. */
#define FILTER_TIMEOUT_MAX_MS INT64_C(3155760000000)

/*
 * Bits of an element's class, not of a row's.
 * QUIET: this host opens no flow towards the peer.
 * CONTROL: the coordinator's node. TCP segments that open nothing pass to and from it
 * whatever connection tracking knows: else whoever flushes that cuts this host off from
 * the next revocation, until a deadline notices.
 */
enum { FILTER_CLASS_QUIET = 0x00080000, FILTER_CLASS_CONTROL = 0x00040000 };

enum { FILTER_PROTO_ANY = 0 };          /* every protocol and port; lo and hi do not count */

/* Peers of this class may open flows to this host. */
struct filter_row {
	uint32_t class;                 /* not 0 */
	uint8_t  proto;                 /* IPPROTO_x or FILTER_PROTO_ANY */
	uint16_t lo, hi;                /* destination ports, for TCP, UDP, UDP-Lite, SCTP, DCCP */
};

/* Peers of this class may open flows through this host to `to`, a laboratory's
 * prefix that this host routes. It is not inside the overlay's ranges. */
struct filter_forward {
	uint32_t      class;
	struct prefix to;
	uint8_t       proto;
	uint16_t      lo, hi;
};

/* Rows may overlap each other in any way. */
struct filter_rows {
	const struct filter_row     *rows;
	size_t                       rows_n;
	const struct filter_forward *forward;
	size_t                       forward_n;
};

/* A far gateway's route: this host may open flows to it through the mesh and
 * get its answers; it never opens anything. */
struct filter_via {
	struct prefix to;               /* neither inside nor around the overlay's ranges */
	int64_t       timeout_ms;       /* as for a class */
};

struct filter_class {
	struct ip ip;                   /* a peer's overlay address; anything else is refused */
	uint32_t  class;                /* not 0 */
	int64_t   timeout_ms;           /* from now; 0 and less: it has run out */
	uint32_t  who;                  /* whose address it is for now, for the caller alone: in the
					 * element's comment, so that whoever adopts the table knows; 0: not said */
};

struct filter;

/*
 * Makes the table, which lets nothing through, or adopts the one that is
 * there, untouched, if it was made for the same base: then what was loaded
 * before still counts, and *ret_adopted is true. Needs CAP_NET_ADMIN. base is
 * copied.
 */
struct filter *filter_open(const struct filter_base *base, bool *ret_adopted, struct err *err);

/* Lets go. With remove_table the table goes too, and with it every
 * restriction: only when the mesh interface has gone already. Accepts NULL. */
bool filter_close(struct filter *f, bool remove_table, struct err *err);

/* Replaces all rows in one transaction: a packet meets the old or the new ones,
 * never neither. Classes and via stay. */
bool filter_load(struct filter *f, const struct filter_rows *rows, struct err *err);

/* Replaces all far routes likewise. Of overlapping ones the longest-living
 * counts; what the rows loaded last forward to is this host's own and left out. */
bool filter_via_load(struct filter *f, const struct filter_via *via, size_t n, struct err *err);

/* One element, one transaction; replaces class and timeout. A timeout that has run out removes. */
bool filter_class_set(struct filter *f, const struct filter_class *c, struct err *err);

/* When this returns true, no further packet from or to ip passes. One that is
 * not there is success. */
bool filter_class_remove(struct filter *f, const struct ip *ip, struct err *err);

/* What is in the kernel's maps now, with the time that is left. fn must not call the filter. */
typedef void filter_class_fn(void *arg, const struct filter_class *c);
bool filter_classes(struct filter *f, filter_class_fn *fn, void *arg, struct err *err);

/* Whether the table is still there and has all its rules: root may say `nft
 * flush ruleset`, and nftables.service does. What is not whole does not count:
 * close, open and load again. */
bool filter_there(struct filter *f, bool *ret_there, struct err *err);

struct filter_counter {
	uint64_t packets, bytes;
};

struct filter_counters {
	struct filter_counter forged;           /* overlay addresses on another interface */
	struct filter_counter source;           /* from the mesh, and not the overlay's */
	struct filter_counter classless;        /* no class: input, output, forward */
	struct filter_counter no_row;           /* a class, and no row for that */
	struct filter_counter not_new;          /* TCP without SYN, invalid, untracked */
	struct filter_counter user;             /* a local user who may not open flows */
	struct filter_counter lab;              /* opened by the lab side, or forwarded in */
	struct filter_counter front;            /* a front that tried to open something */
};
bool filter_counters(struct filter *f, struct filter_counters *ret_c, struct err *err);

#endif
