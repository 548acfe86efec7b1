/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A stream of requests is judged the same however it is cut. */
#include "tests/fuzz/fuzz.h"
#include "tests/http/corpus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = { 1, 3, 17 };
	struct span in = span_of(data, size);
	struct stream_result whole, r;

	if (size > 64 << 10)
		return 0;
	stream_requests(in, 0, &whole);
	must((whole.end == STREAM_BAD) == (whole.fault.status != 0));
	must(whole.messages <= whole.heads);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		if (pieces[i] == 1 && size > 4096)
			continue;
		stream_requests(in, pieces[i], &r);
		must(span_eq(buf_span(&r.log), buf_span(&whole.log)));
		must(r.end == whole.end && r.messages == whole.messages);
		stream_done(&r);
	}
	stream_done(&whole);
	return 0;
}
