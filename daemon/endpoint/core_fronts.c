/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wire.h"
#include "daemon/control/enrol.h"
#include "daemon/endpoint/certificate.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- certificates ---- */

static void add_pair(struct core_files *f, struct span chain, struct span key)
{
	wire_span(&f->certificates, chain);
	wire_span(&f->certificates, key);
	f->certificate_count++;
}

bool core_certificates_read(struct core_files *f, struct diags *diags)
{
	const struct conf_map *list = &f->conf->certificates;
	bool ok = true;

	buf_init(&f->certificates, (size_t)MSG_TLS_MAX * 2 * 64);
	for (size_t i = 0; i < list->count; i++) {
		const struct conf_certificate *c = (const struct conf_certificate *)list->items + i;
		scoped_buf struct buf chain = { 0 };
		struct buf key = { 0 };
		struct err err = { 0 };

		buf_init(&chain, MSG_TLS_MAX);
		buf_init(&key, MSG_TLS_MAX);
		if (!file_read(c->certificate, MSG_TLS_MAX, &chain, &err) ||
		    !file_read_private(c->key, MSG_TLS_MAX, &key, &err) ||
		    !certificate_fits(buf_span(&chain), buf_span(&key), &err))
			ok = diag_error(diags, list->at[i], "\"certificates\": %s", err.msg);
		else
			add_pair(f, buf_span(&chain), buf_span(&key));
		buf_wipe_done(&key);
	}
	if (*f->conf->upstream_roots) {
		struct err err = { 0 };

		buf_init(&f->roots, MSG_ROOTS_MAX);
		if (!file_read(f->conf->upstream_roots, MSG_ROOTS_MAX, &f->roots, &err))
			ok = diag_error(diags, (struct place){ 0, 0 }, "\"upstream-roots\": %s", err.msg);
	}
	return ok;
}

static bool speaks_tls(const struct conf_map *services)
{
	for (size_t i = 0; i < services->count; i++)
		if (conf_service(services, i)->tls)
			return true;
	return false;
}

static size_t own_names(const struct conf *conf, struct span names[CERTIFICATE_NAMES_MAX], char *host, size_t size)
{
	const struct conf_map *maps[] = { &conf->public, &conf->services };
	size_t n = 0;

	if (*conf->name)
		names[n++] = span_str(conf->name);
	for (size_t m = 0; m < array_size(maps); m++)
		for (size_t i = 0; i < maps[m]->count; i++)
			for (size_t k = 0; k < conf_service(maps[m], i)->hosts.count && n < CERTIFICATE_NAMES_MAX; k++)
				if (conf_service(maps[m], i)->tls)
					names[n++] = span_str(conf_service(maps[m], i)->hosts.list[k]);
	if (n == 0 && gethostname(host, size - 1) == 0)
		names[n++] = span_str(host);
	return n;
}

/* Ours, made once and kept: a pin that people wrote down must not change. */
static bool own_certificate(struct core *c, struct err *err)
{
	scoped_free char *cert_path = core_state_path(c, "tls.crt"), *key_path = core_state_path(c, "tls.key");
	scoped_buf struct buf chain = { 0 };
	struct buf key = { 0 };
	struct enrol_pin pin;
	char text[ENROL_PIN_TEXT_LEN + 1], host[256] = "";
	bool ok;

	buf_init(&chain, MSG_TLS_MAX);
	buf_init(&key, MSG_TLS_MAX);
	ok = file_read_private(key_path, MSG_TLS_MAX, &key, err);
	if (ok) {
		ok = file_read(cert_path, MSG_TLS_MAX, &chain, err) &&
		     certificate_fits(buf_span(&chain), buf_span(&key), err);
	} else if (err->code == ERR_MISSING) {
		struct span names[CERTIFICATE_NAMES_MAX];
		size_t n = own_names(c->files->conf, names, host, sizeof(host));

		buf_clear(&chain);
		buf_clear(&key);
		/* The certificate first: a key without one is never used. */
		ok = certificate_make(names, n, loop_wall(c->loop), &chain, &key, err) &&
		     file_replace(cert_path, buf_span(&chain), 0644, err) &&
		     file_replace(key_path, buf_span(&key), 0600, err);
	}
	if (ok && enrol_pin_of_pem(buf_span(&chain), &pin, err)) {
		enrol_pin_text(&pin, text);
		log_note("TLS with our own certificate %s, pin %s", cert_path, text);
		add_pair(c->files, buf_span(&chain), buf_span(&key));
	} else {
		ok = false;
	}
	buf_wipe_done(&key);
	return ok;
}

size_t core_certificates_pins(struct core *c, struct enrol_pin ret_pins[ENROL_PINS_MAX])
{
	struct wire_reader r;
	struct err err = { 0 };
	size_t n = 0;

	if (!speaks_tls(&c->files->conf->public))
		return 0;
	if (c->files->certificate_count == 0 && !own_certificate(c, &err)) {
		log_error("TLS: %s", err.msg);
		return 0;
	}
	r = wire_read(buf_span(&c->files->certificates));

	for (size_t i = 0; i < c->files->certificate_count && n < ENROL_PINS_MAX; i++) {
		struct span chain = wire_get_span(&r, MSG_TLS_MAX);

		wire_get_span(&r, MSG_TLS_MAX);
		if (!r.bad && enrol_pin_of_pem(chain, &ret_pins[n], NULL))
			n++;
	}
	return n;
}

/* Also where there are none any more: the front wipes what it has. */
static void send_basics(struct core *c, struct core_front *f)
{
	const struct basic_secrets *b = &c->files->basics;
	struct msg m = { .type = MSG_BASIC, .basic = { .first = true } };
	struct err err = { 0 };

	if (f->kind == PROCESS_PUBLIC)
		return;
	for (size_t i = 0; i < b->n; i++) {
		if (!b->list[i].len)
			continue;
		m.basic.service = span_str(c->files->conf->services.names[i]);
		m.basic.secret = secret_span(&b->list[i]);
		if (!channel_send(f->channel, &m, NULL, 0, &err))
			log_error("front %u: a service's secret: %s", f->index, err.msg);
		m.basic.first = false;
	}
	if (m.basic.first && !f->basics)
		return;
	f->basics = !m.basic.first;
	m.basic = (struct msg_basic){ .first = m.basic.first, .last = true };
	if (!channel_send(f->channel, &m, NULL, 0, &err))
		log_error("front %u: services' secrets: %s", f->index, err.msg);
}

void core_front_certificates(struct core *c, struct core_front *f)
{
	const struct conf *conf = c->files->conf;
	const struct conf_map *services = f->kind == PROCESS_PUBLIC ? &conf->public : &conf->services;
	struct wire_reader r;
	struct err err = { 0 };

	send_basics(c, f);
	if (c->files->roots.len) {
		struct msg m = { .type = MSG_TLS_ROOTS };
		int fd = msg_memfd("reeve-roots", buf_span(&c->files->roots), &err);

		if (fd < 0 || !channel_send(f->channel, &m, &fd, 1, &err))
			log_error("%s %u: upstream roots: %s", process_kind_name(f->kind), f->index, err.msg);
		if (fd >= 0)
			close(fd);
	}
	if (!speaks_tls(services))
		return;
	if (c->files->certificate_count == 0 && !own_certificate(c, &err)) {
		log_error("TLS: %s", err.msg);
		return;
	}
	r = wire_read(buf_span(&c->files->certificates));
	for (size_t i = 0; i < c->files->certificate_count; i++) {
		struct msg m = { .type = MSG_TLS };

		m.tls.first = i == 0;
		m.tls.last = i + 1 == c->files->certificate_count;
		m.tls.certificate = wire_get_span(&r, MSG_TLS_MAX);
		m.tls.key = wire_get_span(&r, MSG_TLS_MAX);
		if (r.bad || !channel_send(f->channel, &m, NULL, 0, &err))
			log_error("%s %u: certificate: %s", process_kind_name(f->kind), f->index, err.msg);
	}
}

/* ---- snapshots ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void live_free(struct core_live *l)
{
	if (l->words)
		munmap(l->words, l->mapped);
	free(l->slots);
	free(l);
}

static bool has_people(const struct core *c, const struct core_front *f)
{
	return f->channel && (f->kind == PROCESS_FRONT || world_for_browsers(c->files->conf));
}

/* Drops what no front can be using any more: everything older than the newest
 * snapshot that all of them have. */
static void drop_old(struct core *c)
{
	uint64_t all = UINT64_MAX;
	bool any = false;

	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		const struct core_front *f = &c->fronts[i];

		if (!has_people(c, f))
			continue;
		any = true;
		if (f->acked < all)
			all = f->acked;
	}
	for (struct core_live *l = c->live; l; l = l->next) {
		if (any && l->generation > all)
			continue;
		while (l->next) {
			struct core_live *old = l->next;

			l->next = old->next;
			live_free(old);
		}
	}
}

const struct world_slot *core_fronts_slot(const struct core *c, uint64_t generation, uint32_t slot)
{
	for (const struct core_live *l = c->live; l; l = l->next)
		if (l->generation == generation)
			return slot < l->n ? &l->slots[slot] : NULL;
	return NULL;
}

bool core_fronts_current(const struct core *c, uint64_t generation)
{
	for (const struct core_live *l = c->live; l; l = l->next)
		if (l->generation == generation)
			return c->files && l->conf == c->files->generation;
	return false;
}

static void sweep(struct core *c)
{
	struct msg m = { .type = MSG_SWEEP };

	for (size_t i = 0; i < CORE_FRONTS_MAX; i++)
		if (has_people(c, &c->fronts[i]))
			channel_send(c->fronts[i].channel, &m, NULL, 0, NULL);
}

void core_fronts_revoke(struct core *c, const struct world_now *now)
{
	bool any = false;

	for (struct core_live *l = c->live; l; l = l->next)
		for (size_t i = 0; i < l->n; i++) {
			if (l->slots[i].generation == 0 ||
			    world_generation(c->world, l->slots[i].party, now) == l->slots[i].generation)
				continue;
			atomic_store((_Atomic uint32_t *)&l->words[i], 0);
			l->slots[i].generation = 0;
			any = true;
		}
	if (any)
		sweep(c);
}

static bool send_snapshot(struct core *c, struct core_front *f, struct err *err)
{
	struct msg m = { .type = MSG_SNAPSHOT };
	int fds[2];

	m.snapshot.generation = c->generation;
	m.snapshot.conf = c->snapshot_conf;
	fds[0] = f->kind == PROCESS_PUBLIC ? c->public_fd : c->snapshot_fd;
	fds[1] = c->words_fd;
	if (fds[0] < 0 || fds[1] < 0)
		return err_set(err, ERR_NOTNOW, "there is no snapshot yet");
	return channel_send(f->channel, &m, fds, 2, err);
}

static int seal(struct core *c, const struct world_now *now, bool public, struct world_slot **ret_slots,
                size_t *ret_n, struct err *err)
{
	scoped_buf struct buf block = { 0 };

	buf_init(&block, SNAPSHOT_MAX);
	if (!world_snapshot(c->world, now, public, &block, ret_slots, ret_n, err))
		return -1;
	return snapshot_seal(buf_span(&block), err);
}

void core_fronts_publish(struct core *c, const struct world_now *now)
{
	struct core_live *l = mem_alloc(sizeof(*l));
	struct world_slot *same = NULL;
	uint32_t *words;
	size_t count = 0;
	struct err err = { 0 };
	int fd, words_fd, public_fd = -1;

	world_set_hub(c->world, c->enrolment.enrolled && c->enrolment.url[0] ? c->enrolment.url : c->files->conf->login_url);
	fd = seal(c, now, false, &l->slots, &l->n, &err);
	if (fd < 0) {
		log_error("no new snapshot: %s", err.msg);
		live_free(l);
		return;
	}
	words = mem_calloc(l->n ? l->n : 1, sizeof(*words));
	for (size_t i = 0; i < l->n; i++)
		words[i] = l->slots[i].generation;
	words_fd = snapshot_words_new(words, l->n, &l->words, &err);
	free(words);
	if (words_fd >= 0 && c->files->conf->public.count)
		public_fd = seal(c, now, true, &same, &count, &err);
	free(same);             /* the slots are those of the other one */
	if (words_fd < 0 || (c->files->conf->public.count && public_fd < 0)) {
		log_error("no new snapshot: %s", err.msg);
		close_fd(&fd);
		close_fd(&words_fd);
		live_free(l);
		return;
	}
	l->mapped = (l->n ? l->n : 1) * sizeof(uint32_t);
	l->generation = ++c->generation;
	l->conf = c->snapshot_conf = c->files->generation;
	l->next = c->live;
	c->live = l;
	close_fd(&c->snapshot_fd);
	close_fd(&c->words_fd);
	close_fd(&c->public_fd);
	c->snapshot_fd = fd;
	c->words_fd = words_fd;
	c->public_fd = public_fd;
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		struct core_front *f = &c->fronts[i];

		if (!f->channel || (f->kind == PROCESS_PUBLIC && public_fd < 0))
			continue;
		if (!send_snapshot(c, f, &err))
			log_error("%s %u: snapshot: %s", process_kind_name(f->kind), f->index, err.msg);
	}
	drop_old(c);
	core_browsers_published(c, now);
}

void core_front_up(struct core *c, struct core_front *f)
{
	struct err err = { 0 };

	f->acked = 0;
	f->refused = f->basics = false;
	if (!c->files)
		return;
	core_front_certificates(c, f);
	if (!send_snapshot(c, f, &err) && err.code != ERR_NOTNOW)
		log_error("%s %u: snapshot: %s", process_kind_name(f->kind), f->index, err.msg);
}

void core_front_done(struct core *c, struct core_front *f, const struct msg_snapshot_done *d)
{
	char text[LOG_TEXT_MAX];

	f->refused = !d->ok;
	if (!d->ok) {
		log_error("%s %u refused snapshot %llu: %s", process_kind_name(f->kind), f->index,
		          (unsigned long long)d->generation, log_text(d->text, text));
		return;
	}
	if (d->generation > f->acked && d->generation <= c->generation)
		f->acked = d->generation;
	drop_old(c);
	core_browsers_settle(c);
}

void core_fronts_free(struct core *c)
{
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++)
		channel_free(c->fronts[i].channel);
	while (c->live) {
		struct core_live *next = c->live->next;

		live_free(c->live);
		c->live = next;
	}
	close_fd(&c->snapshot_fd);
	close_fd(&c->words_fd);
	close_fd(&c->public_fd);
}
