/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CERTIFICATE_H
#define ENDPOINT_CERTIFICATE_H

/*
 * The certificate that this host makes for itself where it was given none.
 * Nobody vouches for it: who connects compares its pin.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

enum { CERTIFICATE_PEM_MAX = 16 << 10, CERTIFICATE_NAMES_MAX = 64 };

/* P-256, for ten years. names become subjectAltName; the first is the common
 * name. Wipe the key's buffer. */
bool certificate_make(const struct span *names, size_t n, struct wall now, struct buf *ret_certificate,
                      struct buf *ret_key, struct err *err);

/* Whether key belongs to the first certificate of the chain, both PEM. */
bool certificate_fits(struct span chain, struct span key, struct err *err);

#endif
