/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/glass.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAP_FILE_MAX = 512 << 20 };

static struct core_files *files_new(void)
{
	struct core_files *f = mem_alloc(sizeof(*f));

	f->metrics_fd = -1;
	return f;
}

void core_files_free(struct core_files *f)
{
	if (!f)
		return;
	policy_unref(f->policy);
	policy_unref(f->owner);
	if (f->has_ids)
		identities_done(&f->ids);
	if (f->has_map)
		map_done(&f->map);
	buf_wipe_done(&f->certificates);
	buf_done(&f->roots);
	forward_accesses_done(&f->forwards);
	basic_secrets_done(&f->basics);
	error_pages_done(&f->pages);
	vouch_free(f->vouch);
	if (f->metrics_fd >= 0)
		close(f->metrics_fd);
	conf_free(f->conf);
	free(f);
}

/* One file with its faults in words; false if there is any. */
static bool read_text(const char *path, size_t max, struct buf *ret_text, struct buf *words)
{
	struct err err = { 0 };

	buf_init(ret_text, max);
	if (file_read(path, max, ret_text, &err))
		return true;
	buf_addf(words, "%s\n", err.msg);
	return false;
}

static bool read_policy(const char *path, enum policy_mode mode, struct policy **ret, struct buf *words)
{
	scoped_buf struct buf text = { 0 };
	struct diags d;

	if (!read_text(path, POLICY_TEXT_MAX, &text, words))
		return false;
	diags_init(&d, path);
	*ret = policy_parse(buf_span(&text), mode, &d);
	diags_text(&d, words);
	diags_done(&d);
	return *ret != NULL;
}

static bool read_identities(const char *path, struct identities *ret, struct buf *words)
{
	scoped_buf struct buf text = { 0 };
	struct diags d;
	bool ok;

	if (!read_text(path, IDENTITIES_TEXT_MAX, &text, words))
		return false;
	diags_init(&d, path);
	ok = identities_parse(buf_span(&text), ret, &d);
	diags_sort(&d);
	diags_text(&d, words);
	diags_done(&d);
	return ok;
}

bool core_map_read(const char *path, struct map *ret_map, struct err *err)
{
	scoped_buf struct buf text = { 0 };
	struct diags d;
	bool ok = false;

	buf_init(&text, MAP_FILE_MAX);
	if (!file_read(path, MAP_FILE_MAX, &text, err))
		return false;
	map_init(ret_map);
	if (!map_load(ret_map, buf_span(&text), err))
		err_prefix(err, "%s: ", path);
	else if (!map_self(ret_map))
		err_set(err, ERR_SYNTAX, "%s: \"self\" names no node of the map", path);
	else
		ok = true;
	/* The policy inside must be one: a map that allows nothing by mistake is not taken. */
	if (ok && ret_map->policy) {
		struct policy *pol;

		diags_init(&d, path);
		pol = policy_parse(span_of(ret_map->policy, ret_map->policy_len), POLICY_MAP, &d);
		ok = diags_err(&d, err);
		policy_unref(pol);
		diags_done(&d);
	}
	if (!ok)
		map_done(ret_map);
	return ok;
}

struct policy *core_policy_with_glass(const struct conf *conf, struct span text, enum policy_mode mode)
{
	scoped_buf struct buf b = { 0 };
	struct policy *pol = NULL;
	struct err err = { 0 };
	struct diags d;

	buf_init(&b, POLICY_TEXT_MAX);
	diags_init(&d, "break-glass");
	if (glass_policy(conf, text, &b, &err)) {
		pol = policy_parse(buf_span(&b), mode, &d);
		if (!pol)
			diags_err(&d, &err);
	}
	diags_done(&d);
	if (!pol)
		log_error("break-glass: %s", err.msg);
	return pol;
}

/* The owner's file narrows, and must not narrow what the owner's own entries open. */
static bool read_owner(struct core_files *f, struct buf *words)
{
	scoped_buf struct buf text = { 0 };
	struct policy *with;

	if (!read_policy(f->conf->policy, POLICY_OWNER, &f->owner, words))
		return false;
	if (f->conf->glass.count == 0)
		return true;
	if (!read_text(f->conf->policy, POLICY_TEXT_MAX, &text, words))
		return false;
	with = core_policy_with_glass(f->conf, buf_span(&text), POLICY_OWNER);
	if (!with) {
		buf_add_str(words, "\"break-glass\" makes no policy: see its \"services\" and \"ip\"\n");
		return false;
	}
	policy_unref(f->owner);
	f->owner = with;
	return true;
}

/* Reads what f->conf names. */
static bool read_named(struct core_files *f, const char *file, struct buf *words)
{
	struct err err = { 0 };
	struct diags d;
	bool ok;

	diags_init(&d, file);
	ok = core_certificates_read(f, &d);
	ok = forward_accesses_read(&f->forwards, f->conf, &d) && ok;
	ok = basic_secrets_read(&f->basics, f->conf, &d) && ok;
	ok = error_pages_read(&f->pages, f->conf, &d) && ok;
	diags_text(&d, words);
	diags_done(&d);
	if (*f->conf->policy && f->conf->mode == CONF_STANDALONE)
		ok = read_policy(f->conf->policy, POLICY_FILE, &f->policy, words) && ok;
	else if (*f->conf->policy)
		ok = read_owner(f, words) && ok;
	if (f->conf->mode == CONF_STANDALONE) {
		f->has_ids = read_identities(f->conf->identities, &f->ids, words);
		ok = f->has_ids && ok;
	}
	if (f->conf->mode == CONF_MAP_FILE) {
		f->has_map = core_map_read(f->conf->map, &f->map, &err);
		if (!f->has_map)
			buf_addf(words, "%s\n", err.msg);
		ok = f->has_map && ok;
	}
	return ok;
}

struct core_files *core_files_read(uint32_t generation, struct span text, const char *dir, const char *file,
                                   struct buf *words)
{
	struct core_files *f = files_new();
	struct diags d;

	f->generation = generation;
	diags_init(&d, file);
	f->conf = conf_new(text, dir, &d);
	diags_text(&d, words);
	diags_done(&d);
	if (f->conf && read_named(f, file, words))
		return f;
	core_files_free(f);
	return NULL;
}

bool core_check(const struct conf *conf, struct buf *words)
{
	struct core_files *f = files_new();
	bool ok;

	f->conf = (struct conf *)(uintptr_t)conf;
	ok = read_named(f, "configuration", words);
	f->conf = NULL;
	core_files_free(f);
	return ok;
}
