/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_EXPLAIN_H
#define POLICY_EXPLAIN_H

/*
 * What people are told about a compile: which rules open something, and for
 * whom. It decides nothing; tables do.
 */

#include "policy/compile.h"

/* Every rule that opens this here for somebody, in the order of the files;
 * rule is an id of the compile's tables. */
typedef void explain_rule_fn(void *arg, uint32_t rule, bool owner, const char *sources);
void explain_openers(const struct compile *c, const struct ip *dst, uint8_t proto, uint16_t port,
                     explain_rule_fn *fn, void *arg);

/* The requests that a class may send to a fronted service, as sorted lines:
 * "GET,HEAD wiki /public/a (mfa, login younger than 4h)". */
typedef void explain_line_fn(void *arg, struct span line);
void explain_requests(const struct compile *c, uint32_t class, struct span service, explain_line_fn *fn, void *arg);

/* The rows that a class has towards an address: disjoint, ascending. */
void explain_rows(const struct compile *c, uint32_t class, const struct ip *dst, compile_row_fn *fn, void *arg);

#endif
