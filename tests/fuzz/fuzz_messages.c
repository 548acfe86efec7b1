/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/messages.h"

#include "base/wire.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* What reads is what would be written: every message has one spelling. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct msg m;

	if (msg_read(in, &m, NULL)) {
		scoped_buf struct buf out = { 0 };

		buf_init(&out, WIRE_MAX);
		if (!msg_write(&m, &out, NULL) || !span_eq(buf_span(&out), in))
			abort();
	}
	return 0;
}
