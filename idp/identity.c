/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/identity.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void identity_done(struct identity *who)
{
	if (!who)
		return;
	free(who->issuer);
	free(who->sub);
	free(who->login);
	free(who->email);
	free(who->name);
	free(who->picture);
	for (size_t i = 0; i < who->n_groups; i++)
		free(who->groups[i]);
	free(who->groups);
	free(who->acr);
	for (size_t i = 0; i < who->n_amr; i++)
		free(who->amr[i]);
	free(who->sid);
	memset(who, 0, sizeof(*who));
}

static char *copy(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

void identity_copy(struct identity *to, const struct identity *from)
{
	*to = *from;
	to->issuer = copy(from->issuer);
	to->sub = copy(from->sub);
	to->login = copy(from->login);
	to->email = copy(from->email);
	to->name = copy(from->name);
	to->picture = copy(from->picture);
	to->groups = mem_calloc(from->n_groups, sizeof(*to->groups));
	for (size_t i = 0; i < from->n_groups; i++)
		to->groups[i] = copy(from->groups[i]);
	to->acr = copy(from->acr);
	for (size_t i = 0; i < from->n_amr; i++)
		to->amr[i] = copy(from->amr[i]);
	to->sid = copy(from->sid);
}
