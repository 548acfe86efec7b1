/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/cli.h"

#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/client.h"

#include <stdlib.h>
#include <string.h>

enum { CALL_MS = 90000, ANSWER_MAX = 64 << 20 };

struct call {
	struct loop *loop;
	json_t      *answer;
	struct err   err;
	bool         ok;
};

/* What a refusal says: the local API's problem object, or the coordinator's error. */
static void refusal(struct call *c, unsigned status, struct span body)
{
	json_t *o = json_read(body, ANSWER_MAX, NULL);
	const char *words = json_string_value(json_object_get(o, "detail"));

	if (words) {
		const char *name = json_string_value(json_object_get(o, "error"));
		enum err_code code = ERR_PEER;

		for (int i = ERR_NONE + 1; i <= ERR_SYS && name; i++)
			if (strcmp(err_code_name((enum err_code)i), name) == 0)
				code = (enum err_code)i;
		err_set(&c->err, code, "%s", words);
	} else {
		enrol_error_decode(status, body, &c->err);
	}
	json_decref(o);
}

static void on_done(void *arg, const struct client_reply *r)
{
	struct call *c = arg;

	loop_stop(c->loop);
	if (!r->ok) {
		c->err = *r->err;
	} else if (r->status >= 300 || r->status == 202) {
		refusal(c, r->status, r->body);
		if (r->status == 202)
			c->err.code = ERR_BUSY;
	} else if (r->body.len == 0) {
		c->answer = json_object();
		c->ok = true;
	} else {
		c->answer = json_read(r->body, ANSWER_MAX, &c->err);
		c->ok = c->answer != NULL;
	}
}

static bool call(struct client_spec *spec, json_t *body, json_t **ret_answer, struct err *err)
{
	struct call c = { 0 };
	struct client *client;
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	c.loop = loop_new(err);
	client = c.loop ? client_new(c.loop, err) : NULL;
	if (!client) {
		loop_free(c.loop);
		free(text);
		return false;
	}
	if (text)
		spec->body = span_str(text);
	spec->max = ANSWER_MAX;
	spec->timeout_ms = CALL_MS;
	spec->on_done = on_done;
	spec->arg = &c;
	if (!client_start(client, spec, &c.err) || !loop_run(c.loop, &c.err))
		c.ok = false;
	client_free(client);
	loop_free(c.loop);
	if (text) {
		mem_wipe(text, strlen(text));   /* may hold an enrolment key */
		free(text);
	}
	if (!c.ok) {
		json_decref(c.answer);
		*err = c.err;
		return false;
	}
	if (ret_answer)
		*ret_answer = c.answer;
	else
		json_decref(c.answer);
	return true;
}

bool cli_local(const struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_answer,
               struct err *err)
{
	struct client_spec spec = { .to = CLIENT_UNIX, .socket = cli->socket, .method = method, .path = path };

	if (call(&spec, body, ret_answer, err))
		return true;
	if (err->code == ERR_SYS)
		err_set(err, ERR_SYS, "reeved does not answer at %s: is it running?", cli->socket);
	return false;
}

/* The coordinator stands where reeved says, and knows who calls by the node
 * that the call comes from. */
bool cli_control(const struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_answer,
                 struct err *err)
{
	struct client_spec spec = { .method = method, .path = path };
	json_t *status = NULL;
	const char *control;
	bool ok = false;

	if (cli->control) {
		spec.to = CLIENT_UNIX;
		spec.socket = cli->control;
		return call(&spec, body, ret_answer, err);
	}
	if (!cli_local(cli, "GET", "/v1/status", NULL, &status, err)) {
		json_decref(body);
		return false;
	}
	control = cli_str(status, "enrolment.control");
	if (!*control) {
		err_set(err, ERR_NOTNOW, "this node is not enrolled: reeve up");
		json_decref(body);
	} else if (*control == '/') {
		spec.to = CLIENT_UNIX;
		spec.socket = control;
		ok = call(&spec, body, ret_answer, err);
	} else if (ipport_parse(span_str(control), &spec.address)) {
		spec.to = CLIENT_OVERLAY;
		ok = call(&spec, body, ret_answer, err);
	} else {
		err_set(err, ERR_PEER, "reeved says that the coordinator is at \"%s\"", control);
		json_decref(body);
	}
	json_decref(status);
	return ok;
}

int cli_fail(const struct cli *cli, const struct err *err)
{
	if (cli->json) {
		json_t *o = json_pack("{s:s, s:s}", "error", err_code_name(err->code), "detail", err->msg);

		cli_json(o);
		json_decref(o);
	} else {
		fputs("reeve: ", stderr);
		cli_put(stderr, err->msg);
		fputc('\n', stderr);
	}
	switch (err->code) {
	case ERR_SYS: case ERR_TIMEOUT:                 return CLI_UNREACHABLE;
	case ERR_DENIED: case ERR_EXPIRED: case ERR_CRYPTO: return CLI_REFUSED;
	case ERR_MISSING:                               return CLI_NOBODY;
	case ERR_BUSY: case ERR_NOTNOW:                 return CLI_LATER;
	default:                                        return CLI_FAILED;
	}
}
