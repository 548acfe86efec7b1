/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The first byte says what the rest is: a description 'D', a callback 'C', an answer of the token
 * endpoint 'T'. */
#include "idp/discovery.h"
#include "idp/login.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_url(const char *url)
{
	must(!url || (strncmp(url, "https://", 8) == 0 && strlen(url) <= ENDPOINT_URL_MAX &&
	              !strpbrk(url, " \r\n\"<>#")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct discovery d;
	struct callback c;
	struct token_answer t;
	char state[LOGIN_STATE_SIZE];

	if (size == 0)
		return 0;
	in = span_from(in, 1);
	switch (data[0]) {
	case 'D':
		if (!discovery_parse(in, "https://idp.example.edu", &d, NULL))
			break;
		must(d.authorization && d.token && d.jwks);
		check_url(d.authorization);
		check_url(d.token);
		check_url(d.jwks);
		check_url(d.userinfo);
		check_url(d.end_session);
		check_url(d.pushed);
		discovery_done(&d);
		break;
	case 'C':
		if (login_query_state(in, state))
			must(strlen(state) == LOGIN_STATE_SIZE - 1);
		if (!callback_parse(in, &c, NULL))
			break;
		must(!c.code || strlen(c.code) <= IDP_CODE_MAX);
		must(!c.error || span_is_utf8(span_str(c.error)));
		callback_done(&c);
		break;
	case 'T':
		if (!token_answer_parse(in, &t, NULL))
			break;
		must(!t.id_token || (*t.id_token && span_is_print(span_str(t.id_token))));
		must(!t.access_token || (*t.access_token && span_is_print(span_str(t.access_token))));
		token_answer_done(&t);
		break;
	}
	return 0;
}
