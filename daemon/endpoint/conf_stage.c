/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/conf_stage.h"

#include "base/mem.h"

void conf_stage_done(struct conf_stage *s)
{
	conf_free(s->now);
	conf_free(s->next);
	*s = (struct conf_stage){ 0 };
}

bool conf_stage_prepare(struct conf_stage *s, const struct msg_conf *m, int fd, struct err *err)
{
	struct diags diags;
	struct buf text;
	scoped_free char *dir = span_dup(m->dir);
	scoped_free char *file = span_dup(m->file);

	buf_init(&text, CONF_TEXT_MAX);
	if (!msg_memfd_read(fd, CONF_TEXT_MAX, &text, err)) {
		buf_done(&text);
		return false;
	}
	conf_stage_drop(s);
	diags_init(&diags, file);
	s->next = conf_new(buf_span(&text), dir, &diags);
	s->next_number = m->generation;
	diags_err(&diags, err);
	diags_done(&diags);
	buf_done(&text);
	return s->next != NULL;
}

bool conf_stage_use(struct conf_stage *s, uint32_t number)
{
	if (!s->next || s->next_number != number)
		return false;
	conf_free(s->now);
	s->now = take(s->next);
	s->now_number = number;
	return true;
}

void conf_stage_drop(struct conf_stage *s)
{
	conf_free(take(s->next));
	s->next_number = 0;
}
