/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_ERROR_PAGE_H
#define ENDPOINT_ERROR_PAGE_H

/*
 * The owner's own pages for refusals, read from the files that "error-page"
 * names: of the whole endpoint, and of single services. Fronts have no files: the
 * texts travel in the snapshot.
 */

#include "base/buf.h"
#include "daemon/endpoint/conf.h"

struct error_pages {
	struct buf  whole;              /* empty: ours */
	struct buf *services, *public;  /* of each, in their order; empty: the whole's */
	size_t      service_count, public_count;
};

/* Faults go to diags, all of them, with file and line; false if there is any. */
bool error_pages_read(struct error_pages *ret_p, const struct conf *conf, struct diags *diags);
void error_pages_done(struct error_pages *p);

#endif
