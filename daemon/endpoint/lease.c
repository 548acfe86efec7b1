/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/lease.h"

#include "base/hujson.h"

#include <string.h>

int64_t lease_silent(const struct lease_mark *m, const struct lease_now *now)
{
	int64_t sec;

	if (m->boot_id[0] == '\0' || m->lease <= 0)
		return INT64_MAX;
	if (strcmp(m->boot_id, now->boot_id) == 0) {
		/* A boot clock cannot go back: such a mark was not written by this boot. */
		if (now->boot.ns < m->at.ns)
			return INT64_MAX;
		return now->boot.ns - m->at.ns;
	}
	/* Another boot: only the wall clock tells, and one that went back tells nothing. */
	if (m->wall.sec <= 0 || now->wall.sec < m->wall.sec)
		return INT64_MAX;
	sec = now->wall.sec - m->wall.sec;
	return sec > INT64_MAX / SEC_NS ? INT64_MAX : sec * SEC_NS;
}

struct boot lease_end(const struct lease_mark *m, const struct lease_now *now)
{
	int64_t silent = lease_silent(m, now), whole;

	if (silent == INT64_MAX || m->lease > INT64_MAX / SEC_NS)
		return (struct boot){ 0 };
	whole = m->lease * SEC_NS;
	if (silent >= whole)
		return (struct boot){ 0 };
	return boot_add(now->boot, whole - silent);
}

void lease_encode(const struct lease_mark *m, struct buf *out)
{
	buf_addf(out, "{\"boot_id\":\"%s\",\"boot\":%lld,\"wall\":%lld,\"lease\":%lld}\n", m->boot_id,
	         (long long)m->at.ns, (long long)m->wall.sec, (long long)m->lease);
}

bool lease_decode(struct span json, struct lease_mark *ret_m, struct err *err)
{
	scoped_json json_t *o = json_read(json, LEASE_TEXT_MAX, err);
	struct lease_mark m = { 0 };
	const char *id;

	if (!o)
		return false;
	id = json_string_value(json_object_get(o, "boot_id"));
	if (!id || strlen(id) > BOOT_ID_LEN || !json_is_integer(json_object_get(o, "boot")) ||
	    !json_is_integer(json_object_get(o, "wall")) || !json_is_integer(json_object_get(o, "lease")))
		return err_set(err, ERR_SYNTAX, "a lease's mark needs boot_id, boot, wall and lease");
	memcpy(m.boot_id, id, strlen(id));
	m.at.ns = json_integer_value(json_object_get(o, "boot"));
	m.wall.sec = json_integer_value(json_object_get(o, "wall"));
	m.lease = json_integer_value(json_object_get(o, "lease"));
	*ret_m = m;
	return true;
}
