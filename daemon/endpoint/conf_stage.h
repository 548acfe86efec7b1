/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CONF_STAGE_H
#define ENDPOINT_CONF_STAGE_H

/* A process's side of a reload: the configuration in use, and the one that is
 * prepared until the parent says use or drop. */

#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/messages.h"

struct conf_stage {
	struct conf *now, *next;                /* NULL where there is none */
	uint32_t     now_number, next_number;   /* msg_conf.generation */
};

void conf_stage_done(struct conf_stage *s);

/* MSG_CONF: parses the text of fd (still the caller's) into next. */
bool conf_stage_prepare(struct conf_stage *s, const struct msg_conf *m, int fd, struct err *err);

/* MSG_CONF_USE: next becomes now. False if it is not the one that was prepared. */
bool conf_stage_use(struct conf_stage *s, uint32_t number);

/* MSG_CONF_DROP. */
void conf_stage_drop(struct conf_stage *s);

#endif
