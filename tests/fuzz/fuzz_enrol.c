/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/enrol.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The same bytes to every reader of enrolment; what one takes it writes, and
 * takes again as the same. */

#define ROUND(type, done)                                                \
	do {                                                             \
		struct enrol_##type x = { 0 }, y = { 0 };                \
		if (enrol_##type##_decode(all, &x, &err)) {              \
			buf_clear(&one);                                 \
			buf_clear(&two);                                 \
			enrol_##type##_encode(&x, &one);                 \
			must(enrol_##type##_decode(buf_span(&one), &y, &err)); \
			enrol_##type##_encode(&y, &two);                 \
			must(span_eq(buf_span(&one), buf_span(&two)));   \
			done(&x);                                        \
			done(&y);                                        \
		}                                                        \
	} while (0)

static void nothing(void *x)
{
	(void)x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span      all = span_of(data, size);
	struct err       err = { 0 };
	struct buf       one, two;
	struct enrol_key k = { 0 }, k2 = { 0 };
	struct enrol_pin pin;
	char             url[ENROL_URL_MAX], text[ENROL_PIN_TEXT_LEN + 1];

	buf_init(&one, 1 << 20);
	buf_init(&two, 1 << 20);
	ROUND(start, enrol_start_done);
	ROUND(challenge, nothing);
	ROUND(prove, nothing);
	ROUND(finish, nothing);
	ROUND(login, nothing);
	ROUND(reply, enrol_reply_done);
	if (enrol_key_parse(all, &k, &err)) {
		must(k.secret.len == ENROL_KEY_LEN && k.pin_count >= 1 && k.pin_count <= ENROL_PINS_MAX);
		must(strncmp(k.url, "https://", 8) == 0);
		buf_clear(&one);
		enrol_key_encode(&k, &one);
		must(enrol_key_parse(buf_span(&one), &k2, &err));
		must(strcmp(k.url, k2.url) == 0 && k2.pin_count == k.pin_count &&
		     secret_equal(&k.secret, secret_span(&k2.secret)));
		enrol_key_done(&k);
		enrol_key_done(&k2);
	}
	if (enrol_pin_parse(all, &pin)) {
		struct enrol_pin again;

		enrol_pin_text(&pin, text);
		must(enrol_pin_parse(span_str(text), &again) && memcmp(&pin, &again, sizeof(pin)) == 0);
	}
	if (enrol_url_check(all, url, &err))
		must(strlen(url) > 8 && !strpbrk(url + 8, "/?#@\\ "));
	enrol_pin_of_pem(all, &pin, &err);
	must(!enrol_error_decode(500, all, &err) && err.code != ERR_NONE);
	buf_done(&one);
	buf_done(&two);
	return 0;
}
