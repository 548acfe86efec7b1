/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/totp.h"

#include "base/encode.h"
#include "base/mem.h"

#include <liboath/oath.h>
#include <stdlib.h>
#include <string.h>

bool totp_code(const unsigned char *secret, size_t len, int64_t step, unsigned digits,
	       char ret_code[9])
{
	if (digits < 6 || digits > 8 || oath_init() != OATH_OK)
		return false;
	return oath_totp_generate2((const char *)secret, len, (time_t)(step * TOTP_SECONDS),
				   TOTP_SECONDS, 0, digits, 0, ret_code) == OATH_OK;
}

int64_t totp_check(const unsigned char secret[TOTP_SECRET], struct span code, int64_t last_step,
		   struct wall now)
{
	int64_t here = now.sec / TOTP_SECONDS, found = 0;
	char want[9];

	if (code.len != TOTP_DIGITS || here <= TOTP_WINDOW)
		return 0;
	/* All of them are looked at, whichever fits: no step is told from another by time. */
	for (int64_t step = here - TOTP_WINDOW; step <= here + TOTP_WINDOW; step++)
		if (totp_code(secret, TOTP_SECRET, step, TOTP_DIGITS, want) &&
		    mem_equal_ct(want, code.ptr, TOTP_DIGITS) && step > last_step)
			found = step;
	mem_wipe(want, sizeof(want));
	return found;
}

void totp_text(const unsigned char secret[TOTP_SECRET], char ret_text[TOTP_TEXT_MAX])
{
	char *out = NULL;
	size_t len = 0;

	ret_text[0] = '\0';
	if (oath_base32_encode((const char *)secret, TOTP_SECRET, &out, &len) != OATH_OK)
		return;
	if (len < TOTP_TEXT_MAX)
		memcpy(ret_text, out, len + 1);
	mem_wipe(out, len);
	free(out);
}

void totp_uri(const unsigned char secret[TOTP_SECRET], const char *site, const char *login,
	      struct buf *out)
{
	char text[TOTP_TEXT_MAX];

	totp_text(secret, text);
	buf_add_str(out, "otpauth://totp/");
	percent_add(out, span_str(site));
	buf_add_char(out, ':');
	percent_add(out, span_str(login));
	buf_addf(out, "?secret=%s&issuer=", text);
	percent_add(out, span_str(site));
	mem_wipe(text, sizeof(text));
}
