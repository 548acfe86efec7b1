/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_CTAP_H
#define ACCOUNTS_CTAP_H

/*
 * The form that CBOR of authenticators has (CTAP 2, message encoding): definite
 * lengths, no tags, four levels. It is looked at before libfido2 and its libcbor see it: those
 * reserve the memory that an array's head asks for, and anybody may write a head.
 */

#include "base/span.h"

enum ctap_major {
	CTAP_UINT,
	CTAP_NEGATIVE,
	CTAP_BYTES,
	CTAP_TEXT,
	CTAP_ARRAY,
	CTAP_MAP,
	CTAP_TAG,
	CTAP_SIMPLE
};

enum { CTAP_DEPTH_MAX = 4 };

struct ctap_item {
	enum ctap_major major;
	uint64_t n;        /* its number, or how many bytes, items or pairs */
	struct span bytes; /* of CTAP_BYTES and CTAP_TEXT */
};

/* The head of one item, and a string's bytes, taken off *rest; false where it is not whole or not
 * of that form. */
bool ctap_next(struct span *rest, struct ctap_item *ret);
/* One item with everything in it. */
bool ctap_skip(struct span *rest);

#endif
