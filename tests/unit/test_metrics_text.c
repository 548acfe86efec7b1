/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/metrics_text.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

#define FRONT0 \
	"# HELP reeve_a Of both.\n# TYPE reeve_a counter\nreeve_a{front=\"front0\"} 1\n" \
	"# HELP reeve_b Of one.\n# TYPE reeve_b gauge\nreeve_b{front=\"front0\"} 2\n"
#define FRONT1 \
	"# HELP reeve_a Of both.\n# TYPE reeve_a counter\nreeve_a{front=\"front1\"} 3\n" \
	"# HELP reeve_c Of the other.\n# TYPE reeve_c histogram\nreeve_c_bucket{le=\"+Inf\"} 4\nreeve_c_sum 0.5\n"

START_TEST(merge)
{
	static const struct row {
		const char *a, *b, *want;
	} rows[] = {
		{ "", "", "" },
		{ "reeve_a 1\n", "", "" },                              /* of no family */
		{ "# HELP \n# TYPE x y\n 1\n", "", "" },
		{ "# HELP reeve_a It.\nother 1\nreeve_a 1", "", "# HELP reeve_a It.\nreeve_a 1\n" },
		{ "# HELP reeve_a It.\n# TYPE reeve_a \x1b[2J\nreeve_a 1\xff\nreeve_a 2\n", "", "# HELP reeve_a It.\nreeve_a 2\n" },
		{ FRONT0, "", FRONT0 },
		{ "", FRONT1, FRONT1 },
		{ FRONT0, FRONT1,
		  "# HELP reeve_a Of both.\n# TYPE reeve_a counter\nreeve_a{front=\"front0\"} 1\nreeve_a{front=\"front1\"} 3\n"
		  "# HELP reeve_b Of one.\n# TYPE reeve_b gauge\nreeve_b{front=\"front0\"} 2\n"
		  "# HELP reeve_c Of the other.\n# TYPE reeve_c histogram\nreeve_c_bucket{le=\"+Inf\"} 4\nreeve_c_sum 0.5\n" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span texts[2] = { span_str(rows[i].a), span_str(rows[i].b) };
		struct buf out;

		buf_init(&out, 4096);
		metrics_merge(texts, 2, &out);
		buf_add(&out, "", 1);
		ck_assert_msg(strcmp(out.ptr, rows[i].want) == 0, "row %zu: %s", i, out.ptr);
		buf_done(&out);
	}
}
END_TEST

UNIT_MAIN("metrics_text", merge)
