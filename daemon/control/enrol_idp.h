/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_ENROL_IDP_H
#define CONTROL_ENROL_IDP_H

/*
 * What the coordinator tells a node of an issuer where that node logs in by
 * itself (design: login at the device), and of issuers to choose from. A node
 * takes it as advice: where its owner has configured that issuer, the owner's
 * word counts. Part of enrol.h's replies.
 */

#include "daemon/control/enrol.h"

enum {
	ENROL_CA_MAX      = 32 << 10,   /* PEM */
	ENROL_SCOPES_MAX  = 1023,       /* blank-separated */
	ENROL_TITLE_MAX   = 127,
	ENROL_CHOICES_MAX = 32,
};

struct enrol_choice {
	char name[ENROL_ISSUER_MAX + 1];
	char title[ENROL_TITLE_MAX + 1];
};

struct enrol_idp {
	struct enrol_choice called;
	char    issuer[ENROL_URL_MAX];          /* https://... */
	char    client[256];                    /* the public client */
	char    scopes[ENROL_SCOPES_MAX + 1];   /* beside openid */
	char    acr[ENROL_ACR_MAX + 1];         /* acr_values to ask for; "": none */
	bool    need_acr;                       /* and the token must show one of them */
	char    prompt[65], login_claim[256];   /* "": none; the provider's usual one */
	int64_t max_age;                        /* seconds; the token must then say auth_time. -1: not asked */
	char   *ca;                             /* PEM; NULL: the system's; owned */
};

void enrol_idp_done(struct enrol_idp *d);         /* accepts a zeroed one */

/* The object alone; false in decoding for what is not of the form above. */
struct fields;
void enrol_idp_encode(const struct enrol_idp *d, struct buf *out);
bool enrol_idp_decode(const json_t *obj, struct enrol_idp *ret_d, struct err *err);
void enrol_choices_encode(const struct enrol_choice *list, size_t n, struct buf *out);
bool enrol_choices_decode(const json_t *arr, struct enrol_choice **ret_list, size_t *ret_n, struct err *err);

#endif
