/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/password.h"

#include "base/mem.h"
#include "base/secret.h"

#include <argon2.h>
#include <crack.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORD_MIN = 4 };

/* Of nobody's password: what is checked where there is none, so that it takes as long. */
static const char nobodys[] = "$argon2id$v=19$m=65536,t=3,p=1$bm9ib2R5J3Mgc2FsdC4uLg$"
			      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static bool dictionary_is_there(const char *path)
{
	static const char *const ends[] = {".pwd", ".pwi", ".hwm"};
	char name[512];

	for (size_t i = 0; i < array_size(ends); i++) {
		int n = snprintf(name, sizeof(name), "%s%s", path, ends[i]);

		if (n < 0 || (size_t)n >= sizeof(name) || access(name, R_OK) < 0)
			return false;
	}
	return true;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* cracklib knows "password12", but not "password1234!": a word with a frill on either side
 * is a word. Text is written over. */
static const char *judge_core(char *text, const char *dict, const char *login, const char *name)
{
	size_t len = strlen(text), at = 0;
	const char *said;

	while (len && !is_letter(text[len - 1]))
		len--;
	while (at < len && !is_letter(text[at]))
		at++;
	text[len] = '\0';
	if (len - at < WORD_MIN)
		return NULL;
	said = FascistCheckUser(text + at, dict, login, name);
	return said && strstr(said, "dictionary") ? said : NULL;
}

bool password_judge(struct span password, const char *login, const char *name, struct err *err)
{
	/* cracklib works in buffers of its own. */
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	const char *dict = GetDefaultCracklibDict(), *said;
	char text[PASSWORD_MAX + 1];

	if (password.len < PASSWORD_MIN)
		return err_set(err, ERR_LIMIT, "It is shorter than %d characters.", PASSWORD_MIN);
	if (password.len > PASSWORD_MAX)
		return err_set(err, ERR_LIMIT, "It is longer than %d bytes.", PASSWORD_MAX);
	if (!span_is_utf8(password) || !span_cstr(password, text, sizeof(text))) {
		mem_wipe(text, sizeof(text));
		return err_set(err, ERR_SYNTAX, "It holds what is no text.");
	}
	/* Where the files are missing, cracklib ends the process. */
	if (!dictionary_is_there(dict)) {
		mem_wipe(text, sizeof(text));
		return err_set(err, ERR_CONFIG,
			       "The list of common passwords is missing here (cracklib-runtime).");
	}
	pthread_mutex_lock(&one);
	said = FascistCheckUser(text, dict, login, name ? name : "");
	if (!said)
		said = judge_core(text, dict, login, name ? name : "");
	pthread_mutex_unlock(&one);
	mem_wipe(text, sizeof(text));
	return !said || err_set(err, ERR_DENIED, "It is too easy to guess: %s.", said);
}

bool password_make(struct span password, char ret_text[PASSWORD_TEXT_MAX], struct err *err)
{
	unsigned char salt[PASSWORD_SALT];
	int rc;

	if (password.len == 0 || password.len > PASSWORD_MAX)
		return err_set(err, ERR_LIMIT, "a password of %zu bytes", password.len);
	random_bytes(salt, sizeof(salt));
	rc = argon2id_hash_encoded(PASSWORD_PASSES, PASSWORD_MEMORY_KIB, 1, password.ptr,
				   password.len, salt, sizeof(salt), PASSWORD_HASH, ret_text,
				   PASSWORD_TEXT_MAX);
	return rc == ARGON2_OK ||
	       err_set(err, ERR_CRYPTO, "Argon2id: %s", argon2_error_message(rc));
}

bool password_check(struct span password, const char *text)
{
	bool there = text && *text;
	int rc;

	if (password.len > PASSWORD_MAX)
		return false;
	rc = argon2id_verify(there ? text : nobodys, password.ptr ? password.ptr : "",
			     password.len);
	return there && rc == ARGON2_OK;
}
