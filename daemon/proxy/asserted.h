/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_ASSERTED_H
#define DAEMON_PROXY_ASSERTED_H

/*
 * For a policy file's own tests (policy/assert.h): the headers that an
 * application would see, written by the front's own code.
 */

#include "policy/assert.h"
#include "policy/prune.h"

struct header_source { const struct policy *pol; const struct topology *topo; };

assert_headers_fn asserted_headers;     /* arg: struct header_source */

#endif
