/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/attempt.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct attempts {
	struct loop       *loop;
	struct dict       *by_id, *by_state;
	struct rates      *rates;
	struct loop_timer *tick;
};

static const char *const names[ATTEMPT_STATES] = {"started",   "proved",   "provider",
						  "approving", "approved", "finishing",
						  "done"};

static const bool may_move[ATTEMPT_STATES][ATTEMPT_STATES] = {
	[ATTEMPT_STARTED] = {[ATTEMPT_PROVED] = true, [ATTEMPT_FINISHING] = true},
	[ATTEMPT_PROVED] = {[ATTEMPT_PROVIDER] = true},
	[ATTEMPT_PROVIDER] =
		{[ATTEMPT_PROVED] = true, [ATTEMPT_APPROVING] = true, [ATTEMPT_PROVIDER] = true},
	[ATTEMPT_APPROVING] = {[ATTEMPT_APPROVED] = true, [ATTEMPT_PROVIDER] = true},
	[ATTEMPT_APPROVED] = {[ATTEMPT_FINISHING] = true},
	[ATTEMPT_FINISHING] = {[ATTEMPT_DONE] = true},
};

bool attempt_move(struct attempt *a, enum attempt_state to)
{
	if (!may_move[a->state][to])
		return false;
	log_debug("attempt %.4s..: %s -> %s", a->id, names[a->state], names[to]);
	a->state = to;
	return true;
}

static void attempt_free(struct attempt *a)
{
	idp_cancel(a->op);
	free(a->op_arg);
	login_free(a->login);
	identity_done(&a->who);
	secret_done(&a->enrol_key);
	secret_done(&a->ephemeral);
	if (a->start)
		mem_wipe(a->start, a->start_len);
	free(a->start);
	free(a->provider);
	free(a->service);
	secret_done(&a->refresh);
	if (a->id_token)
		mem_wipe(a->id_token, strlen(a->id_token));
	free(a->id_token);
	mem_wipe(a->ticket, sizeof(a->ticket));
	free(a);
}

static void on_tick(void *arg)
{
	struct attempts *t = arg;
	struct boot      now = loop_now(t->loop);
	struct span      key;
	size_t           pos = 0;
	void            *v;

	while (dict_next(t->by_id, &pos, &key, &v)) {
		struct attempt *a = v;

		if (boot_passed(a->until, now) && !a->op) {
			if (a->login_state[0])
				dict_remove(t->by_state, span_str(a->login_state));
			dict_remove(t->by_id, key);
			attempt_free(a);
		}
	}
	loop_timer_after(t->tick, 5 * SEC_NS);
}

struct attempts *attempts_new(struct loop *loop)
{
	struct attempts *t = mem_alloc(sizeof(*t));

	t->loop = loop;
	t->by_id = dict_new();
	t->by_state = dict_new();
	t->rates = rates_new(RATE_ADDRESSES_MAX);
	t->tick = loop_timer_new(loop, on_tick, t);
	loop_timer_after(t->tick, 5 * SEC_NS);
	return t;
}

void attempts_free(struct attempts *t)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!t)
		return;
	while (dict_next(t->by_id, &pos, &key, &v))
		attempt_free(v);
	dict_free(t->by_id);
	dict_free(t->by_state);
	rates_free(t->rates);
	loop_timer_free(t->tick);
	free(t);
}

bool attempts_may(struct attempts *t, const struct ip *from, int64_t per_minute, struct err *err)
{
	/* Who holds one IPv6 address holds its /64. */
	struct span key = span_of(from->b, from->family == IP_V4   ? 4
					   : from->family == IP_V6 ? 8
								   : 0);

	return rates_may(t->rates, key, per_minute, loop_now(t->loop), err);
}

static void random_text(char *out, size_t bytes)
{
	unsigned char         raw[32];
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 64);
	random_bytes(raw, bytes);
	base64url_add(&b, span_of(raw, bytes));
	memcpy(out, b.ptr, b.len + 1);
	mem_wipe(raw, sizeof(raw));
	mem_wipe(b.ptr, b.len);
}

struct attempt *attempts_add(struct attempts *t, enum attempt_state state, int64_t seconds,
			     struct err *err)
{
	if (dict_count(t->by_id) >= ATTEMPTS_MAX) {
		err_set(err, ERR_BUSY, "%d attempts are under way: try again in a minute",
			ATTEMPTS_MAX);
		return NULL;
	}
	struct attempt *a = mem_alloc(sizeof(*a));
	a->state = state;
	a->max_age = -1;
	a->until = boot_add(loop_now(t->loop), seconds * SEC_NS);
	a->asked = loop_wall(t->loop);
	a->expires.sec = a->asked.sec + seconds;
	random_text(a->id, 16);
	enrol_code_new(a->code);
	dict_put(t->by_id, span_str(a->id), a);
	return a;
}

void attempt_give(struct attempts *t, struct attempt *a, int64_t seconds)
{
	int64_t since = loop_wall(t->loop).sec - a->asked.sec;

	if (!a->loopback && !a->service) {
		int64_t most = ATTEMPT_ELSEWHERE_SEC - (since > 0 ? since : 0);

		if (seconds > most)
			seconds = most;
	}
	a->until = boot_add(loop_now(t->loop), seconds * SEC_NS);
	a->expires.sec = loop_wall(t->loop).sec + seconds;
}

struct attempt *attempts_find(struct attempts *t, struct span id)
{
	struct attempt *a = id.len == ENROL_ATTEMPT_LEN ? dict_find(t->by_id, id) : NULL;

	return a && !boot_passed(a->until, loop_now(t->loop)) ? a : NULL;
}

struct attempt *attempts_find_state(struct attempts *t, const char *login_state_)
{
	struct attempt *a = dict_find(t->by_state, span_str(login_state_));

	return a && !boot_passed(a->until, loop_now(t->loop)) ? a : NULL;
}

void attempts_set_login(struct attempts *t, struct attempt *a, struct login *login)
{
	if (a->login_state[0])
		dict_remove(t->by_state, span_str(a->login_state));
	a->login_state[0] = '\0';
	if (a->login != login)
		login_free(a->login);
	a->login = login;
	if (login &&
	    span_cstr(span_str(login_state(login)), a->login_state, sizeof(a->login_state)))
		dict_put(t->by_state, span_str(a->login_state), a);
}

void attempts_drop(struct attempts *t, struct attempt *a)
{
	if (a->login_state[0])
		dict_remove(t->by_state, span_str(a->login_state));
	dict_remove(t->by_id, span_str(a->id));
	attempt_free(a);
}

static bool is_of(const struct identity *who, const char *issuer, const char *sub, const char *sid)
{
	return (sub || sid) && who->issuer && strcmp(who->issuer, issuer) == 0 &&
	       (!sub || strcmp(who->sub, sub) == 0) &&
	       (!sid || (who->sid && strcmp(who->sid, sid) == 0));
}

void attempts_end(struct attempts *t, const char *issuer, const char *sub, const char *sid)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(t->by_id, &pos, &key, &v)) {
		struct attempt *a = v;

		/* A job that is on its way to the disk ends with the next one. */
		if (a->state < ATTEMPT_FINISHING && is_of(&a->who, issuer, sub, sid))
			a->until = (struct boot){ 0 };
	}
}

void attempts_cancel(struct attempts *t)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(t->by_id, &pos, &key, &v)) {
		struct attempt *a = v;

		if (!a->op)
			continue;
		idp_cancel(take(a->op));
		free(take(a->op_arg));
		attempt_move(a, ATTEMPT_PROVED);
	}
}

size_t attempts_count(const struct attempts *t)
{
	return dict_count(t->by_id);
}
