/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/map.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The first byte says how many bytes come at a time, the rest is a stream. */

static void check_state(const struct map *m)
{
	for (size_t i = 0; i < m->node_count; i++) {
		must(m->nodes[i]->id != 0 && m->nodes[i]->refs == 1);
		must(i == 0 || m->nodes[i - 1]->id < m->nodes[i]->id);
		must(!(m->nodes[i]->tags.count && m->nodes[i]->user));
		must(m->nodes[i]->user || !m->nodes[i]->session);
	}
	must(!m->whole || map_self(m));
	must(m->whole || (m->node_count == 0 && !m->policy));
}

static bool on_msg(void *arg, struct map_msg *msg, struct err *err)
{
	struct map      *m = arg;
	struct map_msg   again;
	enum map_applied applied;
	struct buf       one, two;
	uint64_t         seq = m->seq;

	/* What was read is written, and read the same. */
	buf_init(&one, 4 << 20);
	buf_init(&two, 4 << 20);
	map_msg_encode(msg, &one);
	must(map_msg_decode(span_head(buf_span(&one), one.len - 1), &again, NULL));
	map_msg_encode(&again, &two);
	must(span_eq(buf_span(&one), buf_span(&two)));
	map_msg_done(&again);
	buf_done(&one);
	buf_done(&two);

	bool ok = map_apply(m, msg, NULL, NULL, &applied, err);
	check_state(m);
	if (!ok || applied == MAP_APPLIED_PART || applied == MAP_APPLIED_BEAT)
		must(m->seq == seq);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct map_reader r;
	struct map        m, copy;
	struct map_report report;
	struct map_ack    ack;
	struct buf        one, two;
	struct err        err = { 0 };
	bool              ok = true;

	if (size < 1)
		return 0;
	size_t      step = data[0] ? data[0] : 1;
	struct span all = span_of(data + 1, size - 1);
	map_init(&m);
	map_init(&copy);
	map_reader_init(&r);
	for (struct span rest = all; ok && rest.len; rest = span_from(rest, step))
		ok = map_reader_feed(&r, span_head(rest, step), on_msg, &m, &err);
	must(ok || err.code != ERR_NONE);
	must(ok || !map_reader_feed(&r, SPAN("\n"), on_msg, &m, NULL));
	map_reader_done(&r);

	buf_init(&one, 16 << 20);
	buf_init(&two, 16 << 20);
	map_store(&m, &one);
	if (m.whole) {
		must(map_load(&copy, buf_span(&one), &err));
		check_state(&copy);
		map_store(&copy, &two);
		must(span_eq(buf_span(&one), buf_span(&two)));
	}
	map_done(&m);
	map_done(&copy);

	buf_clear(&one);
	buf_clear(&two);
	if (map_report_decode(all, &report, &err)) {
		map_report_encode(&report, &one);
		map_report_done(&report);
		must(map_report_decode(buf_span(&one), &report, &err));
		map_report_encode(&report, &two);
		map_report_done(&report);
		must(span_eq(buf_span(&one), buf_span(&two)));
	}
	if (map_ack_decode(all, &ack, &err))
		must(strlen(ack.epoch) == MAP_EPOCH_LEN);
	buf_done(&one);
	buf_done(&two);
	return 0;
}
