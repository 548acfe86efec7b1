/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The endpoint's configuration: every text either has faults, or is a
 * configuration that prints to a text with the same meaning. */
#include "daemon/endpoint/conf.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static struct conf *make(struct span text, const char *dir)
{
	struct diags diags;
	struct conf *conf;

	diags_init(&diags, "input");
	conf = conf_new(text, dir, &diags);
	must(!conf == (diags.errors > 0));
	diags_done(&diags);
	return conf;
}

static void check_services(const struct conf_map *services)
{
	struct conf_listen l;
	struct conf_upstream u;

	for (size_t i = 0; i < services->count; i++) {
		const struct conf_service *s = conf_service(services, i);

		must(s->listen.count && s->upstream.count);
		for (size_t k = 0; k < s->listen.count; k++)
			must(conf_listen_parse(span_str(s->listen.list[k]), &l, NULL) && l.at.port);
		for (size_t k = 0; k < s->upstream.count; k++)
			must(conf_upstream_parse(span_str(s->upstream.list[k]), &u, NULL));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size);
	struct conf *first = make(text, "/etc/reeve"), *second;
	struct buf a, b;

	if (!first)
		return 0;
	check_services(&first->services);
	check_services(&first->public);
	buf_init(&a, CONF_TEXT_MAX * 8);
	buf_init(&b, CONF_TEXT_MAX * 8);
	conf_print(conf_rows(), first, &a);
	must(!a.over);
	if (a.len <= CONF_TEXT_MAX) {
		second = make(buf_span(&a), NULL);
		must(second);
		conf_print(conf_rows(), second, &b);
		must(span_eq(buf_span(&a), buf_span(&b)));
		conf_free(second);
	}
	conf_free(first);
	buf_done(&a);
	buf_done(&b);
	return 0;
}
