/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A target that is taken has one normal form, which is its own; nothing in it,
 * nor in the second reading, climbs or ends early. */
#include "daemon/proxy/http_target.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_segments(struct span path)
{
	struct span rest = path, seg;

	must(path.len && path.ptr[0] == '/');
	while (span_next(&rest, '/', &seg))
		must(!span_eq(seg, SPAN(".")) && !span_eq(seg, SPAN("..")));
	for (size_t i = 0; i < path.len; i++)
		must(path.ptr[i] > 0x20 && path.ptr[i] < 0x7f && path.ptr[i] != '#' && path.ptr[i] != '\\' &&
		     path.ptr[i] != '?');
	must(path.len < 2 || path.ptr[1] != '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct target a, b;
	struct fault f = { 0 };
	unsigned flags;
	char again[2 * TARGET_OUT], buf[HTTP_HOST_MAX + 3];
	struct span host;
	uint16_t port;

	if (size < 1)
		return 0;
	flags = data[0] & 1 ? TARGET_ENCODED_SLASH : 0;
	if (data[0] & 2) {
		if (host_fold(span_of(data + 1, size - 1), buf, &host, &port)) {
			must(host.len && host.len <= HTTP_HOST_MAX);
			for (size_t i = 0; i < host.len; i++)
				must(!(host.ptr[i] >= 'A' && host.ptr[i] <= 'Z') && host.ptr[i] > 0x20);
		}
		return 0;
	}
	if (!target_path(&a, span_of(data + 1, size - 1), flags, &f)) {
		must(f.status == 400 || f.status == 414);
		return 0;
	}
	check_segments(a.path);
	if (a.alt.ptr)
		check_segments(a.alt);
	must(!a.query.len || a.query.ptr[0] == '?');
	for (size_t i = 0; i < a.query.len; i++)
		must(a.query.ptr[i] > 0x20 && a.query.ptr[i] < 0x7f && a.query.ptr[i] != '#');
	if (a.path.len + a.query.len > HTTP_TARGET_MAX)
		return 0;
	memcpy(again, a.path.ptr, a.path.len);
	if (a.query.len)
		memcpy(again + a.path.len, a.query.ptr, a.query.len);
	must(target_path(&b, span_of(again, a.path.len + a.query.len), flags, &f));
	must(span_eq(a.path, b.path) && span_eq(a.query, b.query));
	must((a.alt.ptr == NULL) == (b.alt.ptr == NULL) || span_eq(a.alt, a.path));
	return 0;
}
