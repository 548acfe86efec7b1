/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_TEXT_H
#define IDP_TEXT_H

#include "base/span.h"

#include <jansson.h>

/* A JSON string's bytes, borrowed; ptr NULL for anything else, absent included. */
static inline struct span text_of(const json_t *v)
{
	if (!json_is_string(v))
		return (struct span){ NULL, 0 };
	return span_of(json_string_value(v), json_string_length(v));
}

#endif
