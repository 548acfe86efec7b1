/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/error_page.h"

#include "base/file.h"
#include "base/mem.h"
#include "daemon/proxy/page_template.h"

#include <stdlib.h>

/* "" is no page. */
static bool read_page(const char *path, struct place at, struct buf *ret, struct diags *diags)
{
	struct err err = { 0 };
	unsigned line = 0;

	if (!*path)
		return true;
	if (!file_read(path, PAGE_TEMPLATE_MAX, ret, &err))
		return diag_error(diags, at, "\"error-page\": %s", err.msg);
	if (page_template_check(buf_span(ret), &line, &err))
		return true;
	return line ? diag_error(diags, at, "\"error-page\": %s:%u: %s", path, line, err.msg)
	            : diag_error(diags, at, "\"error-page\": %s: %s", path, err.msg);
}

static bool read_map(const struct conf_map *m, struct buf **ret, size_t *ret_n, struct diags *diags)
{
	bool ok = true;

	*ret = mem_calloc(m->count + 1, sizeof(**ret));
	*ret_n = m->count;
	for (size_t i = 0; i < m->count; i++)
		ok &= read_page(conf_service(m, i)->error_page, m->at[i], &(*ret)[i], diags);
	return ok;
}

bool error_pages_read(struct error_pages *ret_p, const struct conf *conf, struct diags *diags)
{
	struct error_pages p = { 0 };
	bool ok = read_page(conf->error_page, (struct place){ 0, 0 }, &p.whole, diags);

	ok &= read_map(&conf->services, &p.services, &p.service_count, diags);
	ok &= read_map(&conf->public, &p.public, &p.public_count, diags);
	if (ok)
		*ret_p = p;
	else
		error_pages_done(&p);
	return ok;
}

static void list_done(struct buf *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_done(&list[i]);
	free(list);
}

void error_pages_done(struct error_pages *p)
{
	buf_done(&p->whole);
	list_done(p->services, p->service_count);
	list_done(p->public, p->public_count);
	*p = (struct error_pages){ 0 };
}
