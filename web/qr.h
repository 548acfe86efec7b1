/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_QR_H
#define WEB_QR_H

/* A QR code as SVG in the page itself: nothing is loaded, and no script draws it. */

#include "base/buf.h"

/* Adds nothing where text is too long for one. */
void qr_add(struct buf *b, const char *text, const char *label);

#endif
