/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/hosts.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BEGIN "# reeve: begin (kept by reeved; changes between these lines are lost)"
#define BLOCK_END   "# reeve: end"

enum { NAME_MAX_LEN = 253 };    /* RFC 1035 2.3.4, without the trailing dot */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 1123 2.1; "localhost" and below stay the machine's own (RFC 6761 6.3). */
static bool name_ok(struct span name)
{
	struct span rest = name, label = { 0 };

	if (name.len == 0 || name.len > NAME_MAX_LEN)
		return false;
	while (span_next(&rest, '.', &label)) {
		if (label.len == 0 || label.len > 63 || !is_alnum(label.ptr[0]) ||
		    !is_alnum(label.ptr[label.len - 1]))
			return false;
		for (size_t i = 0; i < label.len; i++)
			if (!is_alnum(label.ptr[i]) && label.ptr[i] != '-')
				return false;
	}
	if (span_ieq(label, SPAN("localhost")))
		return false;

	struct ip ip;

	return !ip_parse(name, &ip);
}

static struct span fold(struct span name, char buf[NAME_MAX_LEN])
{
	for (size_t i = 0; i < name.len; i++)
		buf[i] = (char)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] | 0x20
									 : name.ptr[i]);
	return span_of(buf, name.len);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The names that a line of the owner's gives an address to. */
static void note_names(struct span line, struct dict *names)
{
	char low[NAME_MAX_LEN];
	size_t word = 0;

	line = span_head(line, span_find(line, '#'));
	for (size_t i = 0; i < line.len;) {
		size_t start;

		while (i < line.len && is_blank(line.ptr[i]))
			i++;
		start = i;
		while (i < line.len && !is_blank(line.ptr[i]))
			i++;
		if (i > start && word++ > 0 && i - start <= NAME_MAX_LEN)
			dict_put(names, fold(span_of(line.ptr + start, i - start), low), names);
	}
}

/* Copies everything but our block(s). Of a begin that no end follows just the
 * line itself goes, so that a file that somebody cut keeps its owner's lines. */
static void copy_rest(struct span text, struct buf *out, struct dict *names)
{
	while (text.len > 0) {
		size_t n = span_find(text, '\n');
		struct span line = span_head(text, n);
		struct span after = span_from(text, n + 1);

		if (span_eq(line, SPAN(BLOCK_BEGIN))) {
			struct span look = after;
			bool ended = false;

			while (look.len > 0 && !ended) {
				size_t m = span_find(look, '\n');

				ended = span_eq(span_head(look, m), SPAN(BLOCK_END));
				look = span_from(look, m + 1);
			}
			text = ended ? look : after;
			continue;
		}
		buf_add_span(out, span_head(text, n + 1));
		note_names(line, names);
		text = after;
	}
}

void hosts_block(struct span old, const struct host *hosts, size_t n, size_t *ret_left_out,
		 struct buf *out)
{
	struct dict *own = dict_new(), *done = dict_new();
	size_t left_out = 0, written = 0;

	copy_rest(old, out, own);
	for (size_t i = 0; i < n; i++) {
		char low[NAME_MAX_LEN], text[IP_TEXT_MAX], key[IP_TEXT_MAX + NAME_MAX_LEN + 1];
		struct span name = hosts[i].name;

		if (hosts[i].ip.family == IP_NONE || !name_ok(name) ||
		    dict_find(own, name = fold(name, low))) {
			left_out++;
			continue;
		}
		ip_text(&hosts[i].ip, text);

		size_t k = strlen(text);

		memcpy(key, text, k);
		key[k++] = ' ';
		memcpy(key + k, name.ptr, name.len);
		if (dict_put(done, span_of(key, k + name.len), done))
			continue;
		if (written++ == 0) {
			if (out->len > 0 && out->ptr[out->len - 1] != '\n')
				buf_add_char(out, '\n');
			buf_add_str(out, BLOCK_BEGIN "\n");
		}
		buf_addf(out, "%s\t%.*s\n", text, SPAN_ARG(name));
	}
	if (written > 0)
		buf_add_str(out, BLOCK_END "\n");
	dict_free(own);
	dict_free(done);
	if (ret_left_out)
		*ret_left_out = left_out;
}

bool hosts_write(const char *path, const struct host *hosts, size_t n, size_t *ret_left_out,
		 struct err *err)
{
	scoped_buf struct buf old = { 0 }, out = { 0 };
	struct stat st = { .st_mode = 0644 };
	struct err e;
	bool exists = true;

	if (n > HOSTS_NAMES_MAX)
		return err_set(err, ERR_LIMIT, "%s: %zu names, at most %d", path, n,
			       HOSTS_NAMES_MAX);
	buf_init(&out, 2 * HOSTS_FILE_MAX + n * (NAME_MAX_LEN + IP_TEXT_MAX));
	if (!file_read(path, HOSTS_FILE_MAX, &old, &e)) {
		if (e.code != ERR_MISSING)
			return err_set(err, e.code, "%s", e.msg);
		exists = false;
	} else if (stat(path, &st) != 0) {
		return err_sys(err, "%s", path);
	}
	hosts_block(buf_span(&old), hosts, n, ret_left_out, &out);
	if (out.over)
		return err_set(err, ERR_LIMIT, "%s: too long with the mesh's names", path);
	if (span_eq(buf_span(&out), buf_span(&old)) && (exists || out.len == 0))
		return true;
	if (!file_replace(path, buf_span(&out), st.st_mode & 07777, err))
		return false;
	/* The new file is ours; the old one may have been someone else's. */
	if (exists && (st.st_uid != geteuid() || st.st_gid != getegid()) &&
	    chown(path, st.st_uid, st.st_gid) != 0)
		return err_sys(err, "%s: giving it back to its owner", path);
	return true;
}
