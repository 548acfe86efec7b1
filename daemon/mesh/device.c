/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/device.h"

#include "base/mem.h"
#include "daemon/mesh/device_backend.h"
#include "daemon/mesh/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct device {
	const struct device_ops *ops;
	void                    *self;
	char                     name[DEVICE_NAME_MAX];
};

static const char *const backend_names[] = {
	[DEVICE_AUTO] = "auto",
	[DEVICE_KERNEL] = "kernel",
	[DEVICE_USERSPACE] = "userspace",
};

const char *device_backend_name(enum device_backend b)
{
	return (size_t)b < array_size(backend_names) ? backend_names[b] : "unknown";
}

bool device_backend_parse(struct span s, enum device_backend *ret_b)
{
	for (size_t i = 0; i < array_size(backend_names); i++) {
		if (span_eq(s, span_str(backend_names[i]))) {
			*ret_b = (enum device_backend)i;
			return true;
		}
	}
	return false;
}

bool device_backend_pick(enum device_backend wanted, enum device_backend *ret_b, struct err *err)
{
	struct err e = { 0 };

	switch (wanted) {
	case DEVICE_KERNEL:
		if (!device_kernel_there(err))
			return false;
		break;
	case DEVICE_AUTO:
		wanted = device_kernel_there(&e) ? DEVICE_KERNEL : DEVICE_USERSPACE;
		if (wanted == DEVICE_USERSPACE && e.code != ERR_MISSING)
			return err_set(err, e.code, "%s", e.msg);
		break;
	case DEVICE_USERSPACE:
		break;
	}
	*ret_b = wanted;
	return true;
}

bool device_name_ok(struct span name)
{
	if (name.len == 0 || name.len >= DEVICE_NAME_MAX || span_eq(name, SPAN(".")) ||
	    span_eq(name, SPAN("..")))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '.'))
			return false;
	}
	return true;
}

struct device *device_open(enum device_backend backend, const char *name, struct err *err)
{
	const struct device_ops *ops = backend == DEVICE_KERNEL	     ? &device_kernel
				       : backend == DEVICE_USERSPACE ? &device_user
								     : NULL;
	struct device *d;
	void *self;

	if (!ops)
		return err_set(err, ERR_CONFIG, "no backend was chosen"), NULL;
	if (!device_name_ok(span_str(name)))
		return err_set(err, ERR_CONFIG, "not the name of an interface"), NULL;
	self = ops->open(name, err);
	if (!self)
		return err_prefix(err, "%s (%s): ", name, device_backend_name(backend)), NULL;
	d = mem_alloc(sizeof(*d));
	d->ops = ops;
	d->self = self;
	memcpy(d->name, name, strlen(name) + 1);
	return d;
}

void device_close(struct device *d)
{
	if (!d)
		return;
	d->ops->close(d->self);
	free(d);
}

enum device_backend device_kind(const struct device *d)
{
	return d->ops->kind;
}

const char *device_name(const struct device *d)
{
	return d->name;
}

bool device_setup(struct device *d, const struct secret *priv, uint16_t port, struct err *err)
{
	if (priv->len != DEVICE_KEY_LEN)
		return err_set(err, ERR_CRYPTO, "not a private key of %d bytes", DEVICE_KEY_LEN);

	struct device_info now = { 0 };
	struct device_key key;

	if (!device_private_public(priv, &key, err) || !device_info(d, &now, err))
		return false;

	/* A port that is set again is opened again, and a key makes sessions anew. */
	bool key_same = device_key_eq(&key, &now.key);
	bool port_same = now.port != 0 && (port == 0 || port == now.port);

	if (key_same && port_same)
		return true;
	return d->ops->setup(d->self, key_same ? NULL : priv, port_same ? -1 : port, err) ||
	       err_prefix(err, "%s: key and port: ", d->name);
}

bool device_peer_set(struct device *d, const struct device_peer *p, struct err *err)
{
	char text[DEVICE_KEY_TEXT_MAX];

	if (p->allowed_n > DEVICE_ALLOWED_MAX)
		return err_set(err, ERR_LIMIT, "%s: a peer with %zu prefixes, at most %d", d->name,
			       p->allowed_n, DEVICE_ALLOWED_MAX);
	for (size_t i = 0; i < p->allowed_n; i++)
		if (p->allowed[i].ip.family == IP_NONE)
			return err_set(err, ERR_CONFIG, "%s: a prefix without a family", d->name);
	return d->ops->peer_set(d->self, p, err) ||
	       err_prefix(err, "%s: peer %s: ", d->name, device_key_text(&p->key, text));
}

bool device_peer_remove(struct device *d, const struct device_key *key, struct err *err)
{
	char text[DEVICE_KEY_TEXT_MAX];

	return d->ops->peer_remove(d->self, key, err) ||
	       err_prefix(err, "%s: removing peer %s: ", d->name, device_key_text(key, text));
}

bool device_peers(struct device *d, device_peer_fn *fn, void *arg, struct err *err)
{
	return d->ops->read(d->self, NULL, fn, arg, err) ||
	       err_prefix(err, "%s: listing peers: ", d->name);
}

bool device_info(struct device *d, struct device_info *ret_info, struct err *err)
{
	return d->ops->read(d->self, ret_info, NULL, NULL, err) ||
	       err_prefix(err, "%s: reading the device: ", d->name);
}

struct device_peer_state *device_peer_list_add(struct device_peer_list *l, struct err *err)
{
	if (l->n >= DEVICE_PEERS_MAX) {
		err_set(err, ERR_LIMIT, "more than %d peers", DEVICE_PEERS_MAX);
		return NULL;
	}
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->list = mem_realloc(l->list, l->cap, sizeof(*l->list));
	}
	memset(&l->list[l->n], 0, sizeof(*l->list));
	return &l->list[l->n++];
}

bool device_delete(const char *name, struct err *err)
{
	char path[128], kind[LINK_KIND_MAX] = "";
	struct link *link;
	struct err e = { 0 };
	bool ok;

	if (!device_name_ok(span_str(name)))
		return err_set(err, ERR_CONFIG, "not the name of an interface");
	link = link_open(err);
	if (!link)
		return false;
	if (!link_kind(link, name, kind, &e))
		ok = e.code == ERR_MISSING || err_set(err, e.code, "%s", e.msg);
	else if (strcmp(kind, "wireguard") == 0 || strcmp(kind, "tun") == 0)
		ok = link_delete(link, name, err);
	else
		ok = err_set(err, ERR_EXISTS, "%s is not a device of ours", name);
	link_close(link);

	/* Its absence makes the tunnel process end. */
	snprintf(path, sizeof(path), "%s/%s.sock", DEVICE_RUN_DIR, name);
	if (ok && unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
		ok = err_sys(err, "%s", path);
	return ok;
}
