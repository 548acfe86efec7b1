/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_REFUSAL_H
#define IDP_REFUSAL_H

#include "idp/idp.h"

/* Fills words from what refused: sentences of ours alone, for the person. */
void refusal_words(struct login_refusal *r);

#endif
