/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/enrol.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_MAP_MAX = 512 << 20 };     /* two hundred thousand nodes of 2 KiB */

char *core_state_path(const struct core *c, const char *name)
{
	const char *dir = c->files->conf->state_dir;
	size_t size = strlen(dir) + strlen(name) + 2;
	char *path = mem_alloc(size);

	snprintf(path, size, "%s/%s", dir, name);
	return path;
}

static void read_boot_id(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, 256);
	if (!file_read("/proc/sys/kernel/random/boot_id", 256, &b, &err)) {
		/* Without it every start is like a reboot: the wall clock alone decides. */
		log_warn("boot_id: %s", err.msg);
		return;
	}
	if (b.len > BOOT_ID_LEN)
		memcpy(c->boot_id, b.ptr, BOOT_ID_LEN);
}

static bool read_state(const struct core *c, const char *name, size_t max, struct buf *ret)
{
	scoped_free char *path = core_state_path(c, name);
	struct err err = { 0 };

	buf_init(ret, max);
	if (file_read(path, max, ret, &err))
		return true;
	if (err.code != ERR_MISSING)
		log_error("%s", err.msg);
	return false;
}

static bool store_state(const struct core *c, const char *name, struct span text, struct err *err)
{
	scoped_free char *path = core_state_path(c, name);

	if (mkdir(c->files->conf->state_dir, 0700) < 0 && errno != EEXIST)
		return err_sys(err, "%s", c->files->conf->state_dir);
	return file_replace(path, text, 0600, err);
}

static void load_map(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct map map;

	if (!read_state(c, "map.ndjson", STATE_MAP_MAX, &b))
		return;
	map_init(&map);
	if (!map_load(&map, buf_span(&b), &err)) {
		log_error("the stored map is not taken: %s", err.msg);
		map_done(&map);
		return;
	}
	map_done(&c->map);
	c->map = map;
}

void core_state_load(struct core *c)
{
	struct err err = { 0 };

	read_boot_id(c);
	if (c->files->conf->mode == CONF_STANDALONE)
		return;
	{
		scoped_buf struct buf b = { 0 };

		if (read_state(c, "addresses.json", CLAIMS_TEXT_MAX, &b) &&
		    !claims_memory_decode(buf_span(&b), c->memory, &err))
			log_error("%s", err.msg);
	}
	if (!core_state_key(c, c->files->conf->mode == CONF_MESH, &err) && err.code != ERR_MISSING)
		log_error("%s", err.msg);
	if (c->files->conf->mode != CONF_MESH)
		return;
	{
		scoped_buf struct buf b = { 0 };

		if (read_state(c, "lease.json", LEASE_TEXT_MAX, &b) &&
		    !lease_decode(buf_span(&b), &c->mark, &err))
			log_error("%s", err.msg);
	}
	load_map(c);
	{
		scoped_buf struct buf b = { 0 };

		if (read_state(c, "enrolment.json", ENROLMENT_TEXT_MAX, &b) &&
		    !enrolment_decode(buf_span(&b), &c->enrolment, &err))
			log_error("%s", err.msg);
	}
	/* A map without an enrolment is of another life of this host. */
	if (!c->enrolment.enrolled || (c->map.whole && c->map.self != c->enrolment.node)) {
		map_done(&c->map);
		map_init(&c->map);
	}
}

bool core_state_key(struct core *c, bool make, struct err *err)
{
	scoped_free char *path = core_state_path(c, "device.key");
	struct secret key = { 0 };

	if (c->key.len)
		return true;
	if (!enrol_device_load(path, &key, err)) {
		if (err->code != ERR_MISSING || !make)
			return false;
		if (mkdir(c->files->conf->state_dir, 0700) < 0 && errno != EEXIST)
			return err_sys(err, "%s", c->files->conf->state_dir);
		enrol_device_new(&key);
		if (!enrol_device_store(path, &key, err)) {
			secret_done(&key);
			return false;
		}
		log_note("a new device key: %s", path);
	}
	if (!enrol_device_public(&key, c->public_key, err)) {
		secret_done(&key);
		return false;
	}
	c->key = key;
	return true;
}

bool core_state_store_map(struct core *c, struct err *err)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, STATE_MAP_MAX);
	map_store(&c->map, &b);
	if (b.over)
		return err_set(err, ERR_LIMIT, "the map is larger than %d bytes", STATE_MAP_MAX);
	if (!store_state(c, "map.ndjson", buf_span(&b), err))
		return false;
	buf_done(&b);
	buf_init(&b, CLAIMS_TEXT_MAX);
	claims_memory_encode(c->memory, clock_wall(), &b);
	return store_state(c, "addresses.json", buf_span(&b), err);
}

bool core_state_store_enrolment(struct core *c, const struct enrolment *e, struct err *err)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, ENROLMENT_TEXT_MAX);
	enrolment_encode(e, &b);
	if (!store_state(c, "enrolment.json", buf_span(&b), err))
		return false;
	c->enrolment = *e;
	return true;
}

void core_state_forget(struct core *c)
{
	static const char *const names[] = { "enrolment.json", "map.ndjson", "lease.json", "addresses.json", "verified.json" };

	for (size_t i = 0; i < array_size(names); i++) {
		scoped_free char *path = core_state_path(c, names[i]);

		if (unlink(path) < 0 && errno != ENOENT)
			log_error("%s: %s", path, strerror(errno));
	}
	memset(&c->enrolment, 0, sizeof(c->enrolment));
	memset(&c->mark, 0, sizeof(c->mark));
	map_done(&c->map);
	map_init(&c->map);
}

void core_state_load_verified(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	if (read_state(c, "verified.json", VOUCH_TEXT_MAX, &b) &&
	    !vouch_decode(c->files->vouch, buf_span(&b), &err))
		log_error("%s", err.msg);
}

void core_state_store_verified(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, VOUCH_TEXT_MAX);
	vouch_encode(c->files->vouch, &b);
	if (b.over)
		err_set(&err, ERR_LIMIT, "what was verified is larger than %d bytes", VOUCH_TEXT_MAX);
	if (b.over || !store_state(c, "verified.json", buf_span(&b), &err))
		log_error("%s", err.msg);
}

void core_state_store_lease(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, LEASE_TEXT_MAX);
	lease_encode(&c->mark, &b);
	if (!store_state(c, "lease.json", buf_span(&b), &err))
		log_error("%s", err.msg);
}

void core_state_heard(struct core *c)
{
	memcpy(c->mark.boot_id, c->boot_id, sizeof(c->mark.boot_id));
	c->mark.at = loop_now(c->loop);
	c->mark.wall = loop_wall(c->loop);
	c->mark.lease = c->map.lease;
	core_state_store_lease(c);
}

uint32_t core_state_epoch(struct core *c)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };
	char text[32];
	uint64_t n = 0;

	if (c->files->conf->mode == CONF_STANDALONE)
		return 1;
	if (!read_state(c, "class-epoch", sizeof(text), &b) ||
	    !span_u64(span_trim(span_head(buf_span(&b), span_find(buf_span(&b), '\n'))), WORLD_EPOCH_MAX, &n))
		n = 0;
	n = n >= WORLD_EPOCH_MAX ? 1 : n + 1;
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)n);
	if (!store_state(c, "class-epoch", span_str(text), &err))
		log_error("%s", err.msg);
	return (uint32_t)n;
}
