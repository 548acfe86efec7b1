/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A hosts file and names from afar: the first line, its parts between spaces are names;
 * the rest is the file. */
#include "daemon/mesh/hosts.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { NAMES = 16 };

static struct buf made(struct span old, const struct host *hosts, size_t n, size_t *ret_left_out)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	hosts_block(old, hosts, n, ret_left_out, &out);
	must(!out.over);
	return out;
}

static size_t lines(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.ptr[i] == '\n';
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span all = span_of(data, size), first, part, file;
	struct host hosts[NAMES];
	size_t n = 0, left_out = 0, head;
	struct buf none, with, again, back;

	if (size > 60000)
		return 0;
	head = span_find(all, '\n');
	first = span_head(all, head);
	file = span_from(all, head + 1);
	while (n < NAMES && span_next(&first, ' ', &part)) {
		hosts[n] = (struct host){ { IP_V4, { 100, 64, 0, (uint8_t)n } }, part };
		n++;
	}
	none = made(file, NULL, 0, NULL);
	with = made(file, hosts, n, &left_out);
	must(left_out <= n);

	/* The owner's lines are there, byte for byte, and in front. */
	must(span_starts(buf_span(&with), buf_span(&none)));
	/* Begin, a line a name, end; and the newline that the file may have lacked. */
	if (left_out == n)
		must(span_eq(buf_span(&with), buf_span(&none)));
	else
		must(lines(span_from(buf_span(&with), none.len)) <= n - left_out + 3);

	again = made(buf_span(&with), hosts, n, NULL);
	must(span_eq(buf_span(&again), buf_span(&with)));
	back = made(buf_span(&with), NULL, 0, NULL);
	must(span_starts(buf_span(&back), buf_span(&none)) && back.len <= none.len + 1);
	buf_done(&none);
	buf_done(&with);
	buf_done(&again);
	buf_done(&back);
	return 0;
}
