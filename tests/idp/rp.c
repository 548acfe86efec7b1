/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The relying party as a program, for tests: one JSON object a line on stdin
 * says what to do, one a line on stdout what came of it. usage: rp CONFIG */
#include "base/encode.h"
#include "base/file.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "idp/idp.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Time goes by when a test says so: the linker sends our clock calls here
 * (--wrap=clock_gettime), libcurl's stay as they are. */
int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
static long ahead_boot, ahead_wall;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int bad = __real_clock_gettime(id, ts);

	if (!bad && id == CLOCK_BOOTTIME)
		ts->tv_sec += ahead_boot;
	if (!bad && id == CLOCK_REALTIME)
		ts->tv_sec += ahead_wall;
	return bad;
}

struct rp_conf {
	struct conf_map issuers;
};

static const struct conf_row rows[] = {
	{ .name = "issuers", .type = CONF_MAP, .offset = offsetof(struct rp_conf, issuers),
	  .max = PROVIDERS_MAX, .def = "", .help = "the providers", .sub = provider_rows,
	  .sub_size = sizeof(struct provider) },
	CONF_END,
};

enum { LOGINS_MAX = 64 };

struct rp {
	struct loop   *loop;
	struct idp    *idp;
	struct rp_conf conf;
	struct buf     in;
	struct login  *logins[LOGINS_MAX];
	struct idp_op *op;              /* the last one that "start" or "finish" began, until it ends */
	char          *id_token;        /* of the last login that went well */
	struct secret  refresh;
};

static void say(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	puts(text);
	fflush(stdout);
	free(text);
	json_decref(o);
}

static void say_refused(const struct login_refusal *why)
{
	say(json_pack("{s:s, s:s, s:s, s:s, s:s}", "refused", why->err.msg, "code",
	              err_code_name(why->err.code), "token", token_reason_name(why->token), "error",
	              why->error, "words", why->words));
}

static json_t *identity_json(const struct identity *who)
{
	json_t *o = json_object(), *groups = json_array(), *amr = json_array();

#define PUT(field) if (who->field) json_object_set_new(o, #field, json_string(who->field))
	PUT(issuer);
	PUT(sub);
	PUT(login);
	PUT(email);
	PUT(name);
	PUT(picture);
	PUT(acr);
	PUT(sid);
#undef PUT
	for (size_t i = 0; i < who->n_groups; i++)
		json_array_append_new(groups, json_string(who->groups[i]));
	for (size_t i = 0; i < who->n_amr; i++)
		json_array_append_new(amr, json_string(who->amr[i]));
	if (who->groups_known)
		json_object_set_new(o, "groups", groups);
	else
		json_decref(groups);
	json_object_set_new(o, "amr", amr);
	json_object_set_new(o, "mfa", json_boolean(who->mfa));
	json_object_set_new(o, "email_verified", json_boolean(who->email_verified));
	json_object_set_new(o, "auth_time", json_integer(who->auth_time.sec));
	json_object_set_new(o, "expires", json_integer(who->expires.sec));
	return o;
}

static void on_start(void *arg, struct login *login, const struct login_refusal *why)
{
	struct rp *rp = arg;

	rp->op = NULL;
	if (!login) {
		say_refused(why);
		return;
	}
	for (int i = 0; i < LOGINS_MAX; i++)
		if (!rp->logins[i]) {
			rp->logins[i] = login;
			say(json_pack("{s:i, s:s, s:s}", "id", i, "url", login_url(login), "state",
			              login_state(login)));
			return;
		}
	login_free(login);
	say(json_pack("{s:s}", "refused", "too many attempts"));
}

static void on_done(void *arg, struct login_result *r, const struct login_refusal *why)
{
	struct rp *rp = arg;

	rp->op = NULL;
	if (why) {
		say_refused(why);
		return;
	}
	if (r->id_token) {
		free(rp->id_token);
		rp->id_token = mem_strdup(r->id_token);
	}
	if (r->refresh_token.len) {
		secret_done(&rp->refresh);
		rp->refresh = r->refresh_token;
		r->refresh_token = (struct secret){ 0 };
	}
	say(json_pack("{s:o, s:b, s:b}", "identity", identity_json(&r->identity), "id_token",
	              r->id_token != NULL, "refresh", rp->refresh.len > 0));
}

static void on_identity(void *arg, const struct identity *who, const struct login_refusal *why)
{
	(void)arg;
	if (who)
		say(json_pack("{s:o}", "identity", identity_json(who)));
	else
		say_refused(why);
}

static void on_logout(void *arg, const struct logout *l, const struct login_refusal *why)
{
	(void)arg;
	if (l)
		say(json_pack("{s:s*, s:s*, s:s}", "sub", l->sub, "sid", l->sid, "jti", l->jti));
	else
		say_refused(why);
}

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

static void start(struct rp *rp, const json_t *o)
{
	const json_t *age = json_object_get(o, "max_age");
	const struct login_options options = {
		.redirect_uri = text(o, "redirect"), .device = json_is_true(json_object_get(o, "device")),
		.nonce = text(o, "nonce"), .login_hint = text(o, "login_hint"),
		.acr_values = text(o, "acr_values"), .prompt = text(o, "prompt"),
		.ui_locales = text(o, "ui_locales"), .max_age = age ? json_integer_value(age) : -1,
	};

	rp->op = idp_login_start(rp->idp, text(o, "provider"), &options, on_start, rp);
}

static void finish(struct rp *rp, const json_t *o)
{
	size_t id = (size_t)json_integer_value(json_object_get(o, "id"));

	if (id >= LOGINS_MAX || !rp->logins[id]) {
		say(json_pack("{s:s}", "refused", "no such attempt"));
		return;
	}
	rp->op = idp_login_finish(rp->idp, take(rp->logins[id]), span_str(text(o, "query")), on_done, rp);
}

static void evidence(struct rp *rp, const json_t *o)
{
	unsigned char key[DEVICE_KEY_SIZE] = { 0 };
	const char *token = text(o, "token");
	size_t n;

	hex_decode(span_str(text(o, "key")), key, sizeof(key), &n);
	idp_evidence(rp->idp, text(o, "provider"), span_str(token ? token : rp->id_token),
	             span_str(text(o, "opening")), key, json_integer_value(json_object_get(o, "max_age")),
	             json_is_true(json_object_get(o, "old")), on_identity, rp);
}

static void bind_nonce(const json_t *o)
{
	unsigned char key[DEVICE_KEY_SIZE] = { 0 }, opening[OPENING_SIZE];
	char nonce[BINDING_NONCE_SIZE];
	scoped_buf struct buf b = { 0 };
	size_t n;

	hex_decode(span_str(text(o, "key")), key, sizeof(key), &n);
	random_bytes(opening, sizeof(opening));
	binding_nonce(key, opening, nonce);
	buf_init(&b, 64);
	base64url_add(&b, span_of(opening, sizeof(opening)));
	say(json_pack("{s:s, s:s}", "nonce", nonce, "opening", b.ptr));
}

static void status(struct rp *rp, const json_t *o)
{
	struct idp_status s;

	if (!idp_status(rp->idp, text(o, "provider"), &s))
		say(json_pack("{s:s}", "refused", "no such provider"));
	else
		say(json_pack("{s:b, s:i, s:s}", "discovered", s.discovered, "keys", (int)s.n_keys, "last",
		              s.error));
}

static void logout_url(struct rp *rp, const json_t *o)
{
	scoped_buf struct buf url = { 0 };

	buf_init(&url, 64 << 10);
	if (idp_logout_url(rp->idp, text(o, "provider"), rp->id_token, text(o, "back"), NULL, &url))
		say(json_pack("{s:s}", "url", url.ptr));
	else
		say(json_pack("{s:s}", "refused", "no logout at this provider"));
}

static void run(struct rp *rp, struct span line)
{
	struct err err = { 0 };
	scoped_json json_t *o = json_read(line, 1 << 20, &err);
	const char *what = text(o, "do");

	if (!what)
		say(json_pack("{s:s}", "refused", err.msg));
	else if (!strcmp(what, "start"))
		start(rp, o);
	else if (!strcmp(what, "finish"))
		finish(rp, o);
	else if (!strcmp(what, "later")) {
		ahead_boot += (long)json_integer_value(json_object_get(o, "boot"));
		ahead_wall += (long)json_integer_value(json_object_get(o, "wall"));
		say(json_pack("{s:i}", "ahead", (int)ahead_boot));
	} else if (!strcmp(what, "cancel")) {
		say(json_pack("{s:b}", "cancelled", rp->op != NULL));
		idp_cancel(take(rp->op));
	} else if (!strcmp(what, "refresh"))
		idp_refresh(rp->idp, text(o, "provider"), text(o, "sub"),
		            json_is_true(json_object_get(o, "device")), secret_span(&rp->refresh), on_done, rp);
	else if (!strcmp(what, "evidence"))
		evidence(rp, o);
	else if (!strcmp(what, "bind"))
		bind_nonce(o);
	else if (!strcmp(what, "token"))
		say(json_pack("{s:s}", "token", rp->id_token ? rp->id_token : ""));
	else if (!strcmp(what, "logout-token"))
		idp_logout_token(rp->idp, text(o, "provider"), span_str(text(o, "token")),
		                 json_is_true(json_object_get(o, "device")), on_logout, rp);
	else if (!strcmp(what, "logout-url"))
		logout_url(rp, o);
	else if (!strcmp(what, "status"))
		status(rp, o);
	else
		say(json_pack("{s:s}", "refused", "no such command"));
}

static void on_stdin(void *arg, uint32_t events)
{
	struct rp *rp = arg;
	char part[4096];
	ssize_t n = read(0, part, sizeof(part));
	const char *end;

	(void)events;
	if (n <= 0) {
		loop_stop(rp->loop);
		return;
	}
	buf_add(&rp->in, part, (size_t)n);
	while (rp->in.len && (end = memchr(rp->in.ptr, '\n', rp->in.len))) {
		size_t len = (size_t)(end - rp->in.ptr);

		run(rp, span_of(rp->in.ptr, len));
		buf_drop(&rp->in, len + 1);
	}
}

int main(int argc, char **argv)
{
	struct rp rp = { 0 };
	struct diags diags;
	struct err err = { 0 };
	scoped_buf struct buf file = { 0 }, words = { 0 };
	bool ok;

	if (argc != 2) {
		fprintf(stderr, "usage: rp CONFIG\n");
		return 2;
	}
	diags_init(&diags, argv[1]);
	buf_init(&words, 64 << 10);
	ok = file_read(argv[1], 1 << 20, &file, &err);
	if (ok && !conf_parse(rows, &rp.conf, sizeof(rp.conf), buf_span(&file), ".", &diags)) {
		diags_text(&diags, &words);
		ok = err_set(&err, ERR_CONFIG, "%s", words.ptr);
	}
	if (ok)
		ok = (rp.loop = loop_new(&err)) && (rp.idp = idp_new(rp.loop, &rp.conf.issuers, &err));
	if (ok) {
		buf_init(&rp.in, 1 << 20);
		loop_fd_add(rp.loop, 0, EPOLLIN, on_stdin, &rp);
		ok = loop_run(rp.loop, &err);
	}
	for (int i = 0; i < LOGINS_MAX; i++)
		login_free(rp.logins[i]);
	idp_free(rp.idp);
	loop_free(rp.loop);
	buf_done(&rp.in);
	free(rp.id_token);
	secret_done(&rp.refresh);
	conf_done(rows, &rp.conf);
	diags_done(&diags);
	if (!ok)
		fprintf(stderr, "rp: %s\n", err.msg);
	return ok ? 0 : 1;
}
