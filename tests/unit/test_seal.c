/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/seal.h"

#include "base/file.h"
#include "base/mem.h"

#include "tests/unit/main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/reeve-seal-XXXXXX", path[64];

static void where(void)
{
	ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/key", dir);
}

static void clean(void)
{
	unlink(path);
	rmdir(dir);
}

static bool opens(const struct seal *s, uint64_t session, const char *text, const char *want)
{
	struct secret out = { 0 };
	struct err    err = { 0 };
	bool          ok = seal_open_text(s, SEAL_REFRESH, session, span_str(text), &out, &err);

	ck_assert(ok || (err.code == ERR_CRYPTO && !out.ptr));
	if (ok)
		ck_assert(span_eq(secret_span(&out), span_str(want)));
	secret_done(&out);
	return ok;
}

START_TEST(tokens_open_for_their_session_alone)
{
	struct err   err = { 0 };
	struct stat  st;
	char         big[SEAL_TOKEN_MAX + 2];
	struct seal *a, *b;

	where();
	a = seal_open_file(path, &err);
	ck_assert_msg(a != NULL, "%s", err.msg);
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size == SEAL_KEY_LEN);
	char *text = seal_token(a, 7, SPAN("a refresh token")), *again = seal_token(a, 7, SPAN("a refresh token"));
	ck_assert(text && again && strcmp(text, again) != 0 && !strstr(text, "refresh"));
	ck_assert(!opens(a, 8, text, ""));
	ck_assert(!opens(a, 7, "", "") && !opens(a, 7, "AAAA", "") && !opens(a, 7, "not base64!", ""));
	/* every character counts */
	for (size_t i = 0; text[i]; i++) {
		char was = text[i];

		text[i] = was == 'A' ? 'B' : 'A';
		ck_assert_msg(!opens(a, 7, text, ""), "character %zu", i);
		text[i] = was;
	}
	ck_assert(opens(a, 7, text, "a refresh token"));
	/* the same key after a restart */
	b = seal_open_file(path, &err);
	ck_assert(b && opens(b, 7, text, "a refresh token"));
	seal_free(b);
	/* another key */
	ck_assert(unlink(path) == 0);
	b = seal_open_file(path, &err);
	ck_assert(b && !opens(b, 7, text, ""));
	free(text);
	free(again);
	/* sizes */
	memset(big, 'x', sizeof(big));
	ck_assert(!seal_token(a, 7, span_of(big, 0)));
	ck_assert(!seal_token(a, 7, span_of(big, SEAL_TOKEN_MAX + 1)));
	big[SEAL_TOKEN_MAX] = '\0';
	text = seal_token(a, UINT64_MAX, span_of(big, SEAL_TOKEN_MAX));
	ck_assert(text && opens(a, UINT64_MAX, text, big));
	free(text);
	seal_free(a);
	seal_free(b);
	clean();
}
END_TEST

START_TEST(purposes_are_apart)
{
	struct err    err = { 0 };
	struct secret out = { 0 }, again = { 0 };

	where();
	struct seal *s = seal_open_file(path, &err);
	ck_assert(s != NULL);
	char *token = seal_token(s, 7, SPAN("12345678901234567890")), *totp = seal_totp(s, 7, SPAN("12345678901234567890"));
	ck_assert(token && totp);
	ck_assert(!seal_open_text(s, SEAL_TOTP, 7, span_str(token), &out, &err) && err.code == ERR_CRYPTO);
	ck_assert(!seal_open_text(s, SEAL_REFRESH, 7, span_str(totp), &out, &err));
	ck_assert(!seal_open_text(s, SEAL_TOTP, 8, span_str(totp), &out, &err));
	ck_assert(seal_open_text(s, SEAL_TOTP, 7, span_str(totp), &out, &err));
	ck_assert(span_eq(secret_span(&out), SPAN("12345678901234567890")));
	secret_done(&out);
	free(token);
	free(totp);
	/* derived keys: as many as purposes, the same each time */
	ck_assert(seal_derive(s, "a", &out, &err) && seal_derive(s, "b", &again, &err));
	ck_assert(out.len == SEAL_KEY_LEN && !span_eq(secret_span(&out), secret_span(&again)));
	secret_done(&again);
	ck_assert(seal_derive(s, "a", &again, &err) && span_eq(secret_span(&out), secret_span(&again)));
	secret_done(&again);
	secret_done(&out);
	seal_free(s);
	clean();
}
END_TEST

START_TEST(key_files_are_private_and_whole)
{
	struct err err = { 0 };

	where();
	ck_assert(file_replace(path, SPAN("short"), 0600, &err));
	ck_assert(!seal_open_file(path, &err) && err.code == ERR_CONFIG);
	ck_assert(file_replace(path, SPAN("0123456789abcdef0123456789abcdef"), 0644, &err));
	ck_assert(!seal_open_file(path, &err));
	ck_assert(chmod(path, 0600) == 0);
	struct seal *s = seal_open_file(path, &err);
	ck_assert(s != NULL);
	seal_free(s);
	seal_free(NULL);
	clean();
}
END_TEST

UNIT_MAIN("seal", tokens_open_for_their_session_alone, purposes_are_apart, key_files_are_private_and_whole)
