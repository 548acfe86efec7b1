/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_SHOW_URL_H
#define CLI_SHOW_URL_H

/* A page that a person shall open: as text, as a QR code where there is a
 * terminal, and in their browser where there is one. */

#include <stdbool.h>
#include <stdio.h>

void show_url(FILE *to, const char *url, const char *code);

/* Starts the person's browser, as that person (not as root). False if there is none. */
bool open_browser(const char *url);

#endif
