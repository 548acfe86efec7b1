/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_API_ANSWER_H
#define ENDPOINT_API_ANSWER_H

/* What the local API answers, as JSON. Nothing here waits or changes anything. */

#include "daemon/endpoint/core_inside.h"

#include <jansson.h>

/* Whose address it is to those who ask; NULL: nobody's. With "verify": "idp" this host's own is nobody's, too:
 * who it acts for is the coordinator's word alone, and no evidence for it is asked for here. */
const struct party *api_party(const struct core *c, const struct ip *ip);

/* NULL: the address is nobody's that this host was told of. */
json_t *api_whois(const struct core *c, const struct ip *ip);

/* The same as Tailscale's local API says it (api_localapi.c). NULL also for those who do not count now. */
json_t *api_localapi_whois(const struct core *c, const struct ip *ip);
/* What the policy's "app" says of a party that calls from there, for applications of this host: {} if
 * nothing. ip may be NULL: by its IPv4 address. */
json_t *api_caps(const struct core *c, const struct party *p, const struct ip *ip);

/* The device's view of each peer is added by api_status_peers(), part by part. */
json_t *api_status(const struct core *c);
void api_status_peers(json_t *status, const struct core *c, const struct msg_status *part);

/* A reply of the coordinator: {"state":"login","url","code","attempt","expires"} or
 * {"state":"done","node":{..}}. */
json_t *api_joined(const struct enrol_reply *reply, const struct core *c);

/* RFC 9457, with "error": err_code_name(). */
json_t *api_problem(unsigned status, const struct err *err);
unsigned api_problem_status(enum err_code code);

#endif
