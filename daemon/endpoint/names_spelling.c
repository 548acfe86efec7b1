/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the configuration may name; apart from names.c, so that whoever reads one needs no resolver. */
#include "daemon/endpoint/names.h"

bool names_server_ok(struct span text)
{
	struct ipport at;
	struct ip ip;

	return ip_parse(text, &ip) || (ipport_parse(text, &at) && at.port);
}

bool names_name_ok(struct span name)
{
	struct span rest = name, label = { 0 };

	if (name.len == 0 || name.len > 253)
		return false;
	while (span_next(&rest, '.', &label)) {
		if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
			return false;
		for (size_t i = 0; i < label.len; i++) {
			char c = label.ptr[i];

			if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
				return false;
		}
	}
	/* "127.1", "0x7f.1", "2130706433": a last label that begins with a digit may be read as a number */
	return !(label.ptr[0] >= '0' && label.ptr[0] <= '9');
}
