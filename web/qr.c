/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/qr.h"

#include "web/html.h"

#include <qrencode.h>

enum { QUIET = 4, MODULE = 4 }; /* ISO 18004: four modules of quiet around it */

void qr_add(struct buf *b, const char *text, const char *label)
{
	QRcode *q = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);
	int size;

	if (!q)
		return;
	size = q->width + 2 * QUIET;
	buf_addf(b,
		 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 "
		 "0 %d %d\"",
		 size * MODULE, size * MODULE, size, size);
	HTML_FILL(b, " role=\"img\" aria-label=\"{label}\">", {"label", label});
	/* White beneath, whatever the page's colours are. */
	buf_addf(b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/><path fill=\"#000\" d=\"",
		 size, size);
	for (int y = 0; y < q->width; y++)
		for (int x = 0, run; x < q->width; x += run) {
			run = 1;
			if (!(q->data[y * q->width + x] & 1))
				continue;
			while (x + run < q->width && (q->data[y * q->width + x + run] & 1))
				run++;
			buf_addf(b, "M%d %dh%dv1h-%dz", x + QUIET, y + QUIET, run, run);
		}
	buf_add_str(b, "\"/></svg>\n");
	QRcode_free(q);
}
