/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

/* Bytes as text and back. Decoders are strict: no white space, no surplus
 * bits, no wrong padding; ret_n is written only on success. */

#include "base/buf.h"

/* RFC 4648 section 4 (with padding) and section 5 (base64url, without). */
void base64_add(struct buf *b, struct span bytes);
void base64url_add(struct buf *b, struct span bytes);
bool base64_decode(struct span text, void *out, size_t size, size_t *ret_n);
bool base64url_decode(struct span text, void *out, size_t size, size_t *ret_n);

void hex_add(struct buf *b, struct span bytes);                 /* lower case */
bool hex_decode(struct span text, void *out, size_t size, size_t *ret_n);

/* RFC 3986: everything but ALPHA DIGIT - . _ ~ as %XX. */
void percent_add(struct buf *b, struct span bytes);
bool percent_decode(struct span text, bool plus_is_space, struct buf *out);

#endif
