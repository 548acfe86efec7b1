/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A stream of responses is judged the same however it is cut. The first byte
 * says what was asked and whether the stream ends. */
#include "tests/fuzz/fuzz.h"
#include "tests/http/corpus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = { 1, 3, 17 };
	struct stream_result whole, r;
	enum verb of;
	bool eof;

	if (size < 1 || size > 64 << 10)
		return 0;
	of = data[0] & 1 ? VERB_HEAD : VERB_GET;
	eof = data[0] & 2;
	struct span in = span_of(data + 1, size - 1);

	stream_responses(in, 0, of, eof, &whole);
	must(whole.fault.status == 0 || whole.fault.status == 502);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		if (pieces[i] == 1 && size > 4096)
			continue;
		stream_responses(in, pieces[i], of, eof, &r);
		must(span_eq(buf_span(&r.log), buf_span(&whole.log)));
		stream_done(&r);
	}
	stream_done(&whole);
	return 0;
}
