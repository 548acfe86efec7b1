/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_DEVICE_H
#define DAEMON_MESH_DEVICE_H

/*
 * The WireGuard device: one interface, two backends. The kernel's is spoken
 * to by generic netlink; where the kernel has no WireGuard, a userspace
 * process (tunnel.h) is spoken to over its socket in DEVICE_RUN_DIR. Peers
 * are added, changed and removed one by one; the device is never rewritten.
 * It knows keys and addresses and no names; who may send what is filter.h.
 *
 * Every call ends within DEVICE_DEADLINE_MS: ERR_TIMEOUT, and the device may
 * then hold the old or the new state of that one peer.
 */

#include "base/clock.h"
#include "daemon/mesh/overlay.h"

enum {
	DEVICE_NAME_MAX = 16,           /* with NUL; IFNAMSIZ */
	DEVICE_ALLOWED_MAX = 512,       /* addresses and approved routes of one peer */
	DEVICE_PEERS_MAX = 1 << 16,     /* a listing longer than this is refused */
	DEVICE_DEADLINE_MS = 2000,
	DEVICE_MTU = 1420,              /* 1500 less IPv6, UDP and WireGuard's own headers */
};

#define DEVICE_RUN_DIR "/var/run/wireguard"     /* where wg(8) looks as well */

enum device_backend {
	DEVICE_AUTO = 0,        /* the kernel's if it has one */
	DEVICE_KERNEL,
	DEVICE_USERSPACE,
};

/* "auto", "kernel", "userspace" */
const char *device_backend_name(enum device_backend b);
bool device_backend_parse(struct span s, enum device_backend *ret_b);

/* Turns DEVICE_AUTO into one of the others by asking the kernel (which may
 * load its module). DEVICE_KERNEL where the kernel has none is ERR_MISSING. */
bool device_backend_pick(enum device_backend wanted, enum device_backend *ret_b, struct err *err);

/* Letters, digits, '-', '_', '.'; not "." or ".."; 1 to 15 bytes. */
bool device_name_ok(struct span name);

struct device;

/* The kernel backend creates the interface, or adopts one of that name and
 * kind with all its peers; ERR_EXISTS if it is of another kind. The userspace
 * backend needs the tunnel process: ERR_BUSY while its socket does not answer
 * yet (try again). backend is not DEVICE_AUTO. */
struct device *device_open(enum device_backend backend, const char *name, struct err *err);

/* Lets go; the interface and its peers stay. Accepts NULL. */
void device_close(struct device *d);

/* Removes the interface (both kinds) and what it left in DEVICE_RUN_DIR, open or not. No such
 * interface is success. */
bool device_delete(const char *name, struct err *err);

enum device_backend device_kind(const struct device *d);
const char *device_name(const struct device *d);

/* Sets the private key and the UDP port (0: the kernel chooses). Peers stay;
 * one that has this very public key is dropped by the device. */
bool device_setup(struct device *d, const struct secret *priv, uint16_t port, struct err *err);

struct device_peer {
	struct device_key    key;
	struct ipport        endpoint;  /* ip.family IP_NONE: leave what the device knows */
	uint16_t             keepalive; /* seconds, 0 is off */
	const struct prefix *allowed;   /* its own /32 and /128, and approved routes */
	size_t               allowed_n; /* at most DEVICE_ALLOWED_MAX */
};

/* Adds the peer, or replaces its addresses and settings and leaves sessions alone.
 * An address that another peer had moves here: see design on the order of moving one. */
bool device_peer_set(struct device *d, const struct device_peer *p, struct err *err);

/* A peer that is not there is success. */
bool device_peer_remove(struct device *d, const struct device_key *key, struct err *err);

struct device_peer_state {
	struct device_key key;
	struct ipport     endpoint;             /* ip.family IP_NONE: none known */
	struct wall       handshake;            /* 0: never */
	uint64_t          rx, tx;               /* bytes */
	uint16_t          keepalive;
	size_t            allowed_n;
};

/* Every peer of the device; fn must not call the device. */
typedef void device_peer_fn(void *arg, const struct device_peer_state *st);
bool device_peers(struct device *d, device_peer_fn *fn, void *arg, struct err *err);

struct device_info {
	struct device_key key;          /* public; all zero: none set */
	uint16_t          port;
	size_t            peers;
};
bool device_info(struct device *d, struct device_info *ret_info, struct err *err);

#endif
