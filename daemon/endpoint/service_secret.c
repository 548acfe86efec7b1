/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/service_secret.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>

bool service_secret_read(const char *path, size_t min, struct secret *ret_s, struct err *err)
{
	struct buf text;
	struct span line;
	bool ok;

	buf_init(&text, SERVICE_SECRET_MAX);
	ok = file_read_private(path, SERVICE_SECRET_MAX, &text, err);
	line = buf_span(&text);
	while (line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
		line.len--;
	if (ok && (line.len < min || !span_is_print(line) || span_find(line, ' ') < line.len))
		ok = err_set(err, ERR_CONFIG, "%s: want one line of at least %zu printable characters, no spaces",
		             path, min);
	if (ok)
		secret_init(ret_s, line.ptr, line.len);
	buf_wipe_done(&text);
	return ok;
}

bool basic_secrets_read(struct basic_secrets *ret_b, const struct conf *conf, struct diags *diags)
{
	struct basic_secrets all = { mem_calloc(conf->services.count + 1, sizeof(*all.list)),
		                     conf->services.count };
	bool ok = true;

	for (size_t i = 0; i < all.n; i++) {
		const struct conf_service *s = conf_service(&conf->services, i);
		struct err err = { 0 };

		if (*s->basic_secret && !service_secret_read(s->basic_secret, BASIC_SECRET_MIN, &all.list[i], &err))
			ok = diag_error(diags, conf->services.at[i], "\"basic-secret\": %s", err.msg);
	}
	if (!ok) {
		basic_secrets_done(&all);
		return false;
	}
	*ret_b = all;
	return true;
}

void basic_secrets_done(struct basic_secrets *b)
{
	for (size_t i = 0; i < b->n; i++)
		secret_done(&b->list[i]);
	free(b->list);
	*b = (struct basic_secrets){ 0 };
}
