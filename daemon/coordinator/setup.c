/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/setup.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"
#include "daemon/coordinator/own.h"
#include "daemon/coordinator/registry.h"
#include "daemon/mesh/overlay.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_policy[] =
	"{\n"
	"\t// Nothing is allowed without a grant. For example:\n"
	"\t// { \"src\": [\"autogroup:member\"], \"dst\": [\"svc:wiki\"], \"ip\": [\"tcp:80\"] },\n"
	"\t\"grants\": [\n"
	"\t],\n"
	"}\n";

static int complain(const struct err *err)
{
	fprintf(stderr, "reeve-coordinator: %s\n", err->msg);
	return 1;
}

static bool give(const char *path, const struct passwd *pw, struct err *err)
{
	if (!pw || geteuid() != 0)
		return true;
	return chown(path, pw->pw_uid, pw->pw_gid) == 0 || errno == ENOENT ||
	       err_sys(err, "%s", path);
}

static bool make_dir(const char *path, mode_t mode, const struct passwd *pw, struct err *err)
{
	if (mkdir(path, mode) == 0)
		return give(path, pw, err);
	return errno == EEXIST || err_sys(err, "%s", path);
}

/* The hub's reeved and we agree on one key: it is there already, or made here. */
static bool hub_key(const struct conf *conf, const struct init_options *o, struct device_key *ret,
		    struct err *err)
{
	const struct passwd *pw = conf->hub_user[0] ? getpwnam(conf->hub_user) : NULL;
	struct secret        priv = { 0 };

	if (o->hub_key)
		return device_key_parse(span_str(o->hub_key), ret, err);
	scoped_free char *path = conf_path(conf, o->endpoint_state, "device.key");
	if (!make_dir(o->endpoint_state, 0700, pw, err))
		return false;
	if (!enrol_device_load(path, &priv, err)) {
		if (err->code != ERR_MISSING)
			return false;
		enrol_device_new(&priv);
		if (!enrol_device_store(path, &priv, err) || !give(path, pw, err)) {
			secret_done(&priv);
			return false;
		}
	}
	bool ok = enrol_device_public(&priv, ret->b, err);
	secret_done(&priv);
	return ok;
}

/* doc/architecture section 9: what the hub's reeved needs beside its key. */
static bool hub_enrolment(const struct conf *conf, const struct init_options *o, uint64_t node,
			  struct err *err)
{
	const struct passwd  *pw = conf->hub_user[0] ? getpwnam(conf->hub_user) : NULL;
	scoped_buf struct buf text = { 0 };
	char                  id[MAP_ID_MAX];

	if (o->hub_key)
		return true;
	scoped_free char *path = conf_path(conf, o->endpoint_state, "enrolment.json");
	scoped_free char *sock = conf_path(conf, conf->run_dir, "mesh.sock");
	buf_init(&text, 8192);
	buf_add_str(&text, "{\"v\":1,\"url\":");
	buf_add_json(&text, span_str(conf->url));
	buf_add_str(&text, ",\"pins\":[");
	for (size_t i = 0; i < conf->pins.count; i++) {
		if (i)
			buf_add_char(&text, ',');
		buf_add_json(&text, span_str(conf->pins.list[i]));
	}
	buf_addf(&text, "],\"node\":\"%s\",\"control\":\"unix:%s\",\"down\":false}\n",
		 map_id_text('n', node, id), sock);
	return file_replace(path, buf_span(&text), 0600, err) && give(path, pw, err);
}

static bool read_policy(const char *path, struct buf *text, struct err *err)
{
	struct diags diags;

	buf_init(text, POLICY_TEXT_MAX);
	if (!path) {
		buf_add_str(text, first_policy);
		return true;
	}
	if (!file_read(path, POLICY_TEXT_MAX, text, err))
		return false;
	diags_init(&diags, path);
	struct policy *pol = policy_parse(buf_span(text), POLICY_FILE, &diags);
	scoped_buf struct buf words = { 0 };
	buf_init(&words, 1 << 20);
	diags_text(&diags, &words);
	fprintf(stderr, "%s", words.len ? words.ptr : "");
	diags_done(&diags);
	policy_unref(pol);
	return pol != NULL || err_set(err, ERR_SYNTAX, "%s: not taken", path);
}

static void own_all(const char *db, const struct passwd *pw)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char                     path[PATH_MAX];

	for (size_t i = 0; i < array_size(ends); i++) {
		struct err err;

		snprintf(path, sizeof(path), "%s%s", db, ends[i]);
		if (!give(path, pw, &err))
			complain(&err);
	}
}

/* While nobody can log in, nobody can invite: the first one is invited here. */
static bool first_invitation(const struct conf *conf, const char *db, struct err *err)
{
	struct account_op    *op;
	scoped_buf struct buf link = { 0 };
	char                  login[LOGIN_MAX + 1];

	if (!own_login_ok(span_str(conf->admins.list[0]), login))
		return err_set(err, ERR_CONFIG, "\"admins\": %s is no login name", conf->admins.list[0]);
	op = own_invite_new(login, NULL, clock_wall());
	buf_init(&link, 1024);
	own_link_new(conf, op, &link);
	if (!store_run_once(db, &op->job, NULL, err))
		return false;
	printf("Invitation of %s, once this runs: %s\n", login, link.ptr);
	mem_wipe(link.ptr, link.len);
	return true;
}

int setup_init(const struct conf *conf, const struct init_options *o)
{
	/* A copy: the next getpwnam() writes over the one it returned. */
	const struct passwd *found = o->user ? getpwnam(o->user) : NULL;
	const struct passwd  owner = found ? *found : (struct passwd){ 0 };
	const struct passwd *pw = found ? &owner : NULL;
	struct mesh_row      mesh = { .v4 = conf->v4, .name = conf->mesh_name };
	struct node_row      hub = { .name = conf->hub_name, .tags = "tag:hub", .hub = true };
	struct device_key    key;
	struct err           err = { 0 };
	scoped_buf struct buf policy = { 0 }, hex = { 0 };
	unsigned char        raw[8];
	char                 v4[IP_TEXT_MAX], v6[IP_TEXT_MAX], text[DEVICE_KEY_TEXT_MAX];

	if (o->user && !pw) {
		err_set(&err, ERR_CONFIG, "there is no user %s", o->user);
		return complain(&err);
	}
	/* What is made for the hub's reeved is its user's; of root's it would not take it. */
	if (!o->hub_key && geteuid() == 0 && conf->hub_user[0] && !getpwnam(conf->hub_user)) {
		err_set(&err, ERR_CONFIG, "there is no user %s, as whom the hub's reeved runs: "
			"make it (systemd-sysusers), or name another in \"hub-user\"", conf->hub_user);
		return complain(&err);
	}
	if (o->own_accounts && (!conf->accounts.enabled || !conf->admins.count)) {
		err_set(&err, ERR_CONFIG, "--own-accounts wants \"accounts\": { \"enabled\": true } and the first "
					  "administrator's login in \"admins\"");
		return complain(&err);
	}
	scoped_free char *db = conf_path(conf, conf->state_dir, "coordinator.db");
	if (access(db, F_OK) == 0) {
		err_set(&err, ERR_EXISTS, "%s: there is a mesh already", db);
		return complain(&err);
	}
	if (!make_dir(conf->state_dir, 0700, pw, &err) || !read_policy(o->policy, &policy, &err) ||
	    !hub_key(conf, o, &key, &err))
		return complain(&err);
	/* RFC 4193 3.2.1: fd, and forty random bits. */
	mesh.ula.ip.family = IP_V6;
	mesh.ula.bits = 48;
	mesh.ula.ip.b[0] = 0xfd;
	random_bytes(mesh.ula.ip.b + 1, 5);
	random_bytes(raw, sizeof(raw));
	buf_init(&hex, 32);
	hex_add(&hex, span_of(raw, sizeof(raw)));
	memcpy(mesh.epoch, hex.ptr, sizeof(mesh.epoch));
	memcpy(hub.key, key.b, sizeof(hub.key));
	if (!store_create(db, &mesh, &hub, policy.ptr, clock_wall(), &err) ||
	    !hub_enrolment(conf, o, hub.id, &err))
		return complain(&err);
	if (o->own_accounts && !first_invitation(conf, db, &err)) {
		own_all(db, pw);
		return complain(&err);
	}
	own_all(db, pw);
	struct overlay ov = { .v6 = mesh.ula, .v4 = mesh.v4 };
	struct ip      ip6 = overlay_v6(&ov, &key);
	printf("mesh %s: %s, %s\n", conf->mesh_name, prefix_text(&mesh.ula, v6),
	       prefix_text(&mesh.v4, v4));
	printf("hub %s: %s, %s, key %s\n", conf->hub_name, ip_text(&hub.v4, v4), ip_text(&ip6, v6),
	       device_key_text(&key, text));
	if (!conf->admins.count)
		printf("No \"admins\" are configured: administration is root's on this host until "
		       "there are.\n");
	printf("Next: start reeve-coordinator, then reeved on this host.\n");
	return 0;
}

int setup_key(const struct conf *conf, const struct key_options *o)
{
	struct enrol_key   key = { 0 };
	struct row_changes changes = { 0 };
	struct err         err = { 0 };
	struct wall        now = clock_wall();
	scoped_buf struct buf tags = { 0 };
	uint8_t            hash[32];
	unsigned           n = 0;

	buf_init(&tags, 8192);
	for (size_t i = 0; i < o->tag_count; i++) {
		struct span t = span_str(o->tags[i]);

		if (!span_starts(t, SPAN("tag:")) || !map_name_ok(span_from(t, 4))) {
			err_set(&err, ERR_SYNTAX, "%s: a tag is tag:NAME", o->tags[i]);
			return complain(&err);
		}
		if (i)
			buf_add_char(&tags, '\n');
		buf_add_span(&tags, t);
	}
	if (!tags.len) {
		err_set(&err, ERR_SYNTAX, "a server needs a tag: --tag tag:server");
		return complain(&err);
	}
	scoped_free char *db = conf_path(conf, conf->state_dir, "coordinator.db");
	struct load_op   *load = load_op_new();
	struct registry  *reg = registry_new(conf);
	if (!store_run_once(db, &load->job, &changes, &err)) {
		registry_free(reg);
		return complain(&err);
	}
	registry_apply(reg, &changes, clock_wall(), clock_boot());
	row_changes_done(&changes);
	registry_pins(reg);
	memcpy(key.pins, reg->pins, sizeof(key.pins));
	key.pin_count = reg->pin_count;
	registry_free(reg);
	for (size_t i = 0; i < o->pin_count && key.pin_count < ENROL_PINS_MAX; i++)
		if (!enrol_pin_parse(span_str(o->pins[i]), &key.pins[key.pin_count++])) {
			err_set(&err, ERR_SYNTAX, "%s: not a pin", o->pins[i]);
			return complain(&err);
		}
	if (!key.pin_count) {
		err_set(&err, ERR_CONFIG,
			"the pin of the public listener is not known: --pin, \"pins\" or "
			"\"certificates\"");
		return complain(&err);
	}
	memcpy(key.url, conf->url, strlen(conf->url) + 1);
	secret_random(&key.secret, ENROL_KEY_LEN);
	EVP_Digest(key.secret.ptr, key.secret.len, hash, &n, EVP_sha256(), NULL);
	struct key_op *op = key_op_create(hash, tags.ptr, o->note, o->uses, now,
					  (struct wall){now.sec + o->expires}, 0);
	if (!store_run_once(db, &op->job, NULL, &err)) {
		enrol_key_done(&key);
		return complain(&err);
	}
	struct buf out;
	buf_init(&out, 4096);
	enrol_key_encode(&key, &out);
	printf("%s\n", out.ptr);
	buf_wipe_done(&out);
	enrol_key_done(&key);
	return 0;
}
