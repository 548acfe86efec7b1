/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/sync.h"

#include <string.h>

struct berval *sync_request(struct span cookie)
{
	struct berval  from = { .bv_len = cookie.len, .bv_val = (char *)(uintptr_t)cookie.ptr };
	BerElement    *ber = ber_alloc_t(LBER_USE_DER);
	struct berval *value = NULL;

	if (ber && (ber_printf(ber, "{e", LDAP_SYNC_REFRESH_AND_PERSIST) == -1 ||
		    (cookie.len && ber_printf(ber, "O", &from) == -1) || ber_printf(ber, "}") == -1 ||
		    ber_flatten(ber, &value) == -1))
		value = NULL;
	ber_free(ber, 1);
	return value;
}

/* cookie OPTIONAL, of whichever tag it has here. */
static bool cookie_read(BerElement *ber, ber_tag_t tag, struct sync_cookie *ret)
{
	struct berval cookie;
	ber_len_t     len;

	ret->len = 0;
	if (ber_peek_tag(ber, &len) != tag)
		return true;
	if (ber_scanf(ber, "m", &cookie) == LBER_ERROR)
		return false;
	if (cookie.bv_len && cookie.bv_len <= SYNC_COOKIE_MAX) {
		memcpy(ret->bytes, cookie.bv_val, cookie.bv_len);
		ret->len = cookie.bv_len;
	}
	return true;
}

bool sync_state_read(LDAPControl *const *controls, struct sync_state *ret)
{
	struct berval uuid = { 0 };
	BerElement   *ber = NULL;
	ber_int_t     state = -1;
	bool          ok = false;

	for (size_t i = 0; controls && controls[i]; i++)
		/* ber_init() of nothing is a reader of nowhere */
		if (strcmp(controls[i]->ldctl_oid, LDAP_CONTROL_SYNC_STATE) == 0 && !ber &&
		    controls[i]->ldctl_value.bv_len)
			ber = ber_init((struct berval *)&controls[i]->ldctl_value);
	if (!ber)
		return false;
	if (ber_scanf(ber, "{em", &state, &uuid) != LBER_ERROR && uuid.bv_len == SYNC_UUID &&
	    state >= LDAP_SYNC_PRESENT && state <= LDAP_SYNC_DELETE &&
	    cookie_read(ber, LDAP_TAG_SYNC_COOKIE, &ret->cookie)) {
		ret->state = (int)state;
		memcpy(ret->uuid, uuid.bv_val, SYNC_UUID);
		ok = true;
	}
	ber_free(ber, 1);
	return ok;
}

/* cookie OPTIONAL, then a BOOLEAN that may be left out. */
static bool flag(BerElement *ber, struct sync_cookie *ret_cookie, bool def, bool *ret)
{
	ber_len_t len;
	ber_int_t b;

	*ret = def;
	if (!cookie_read(ber, LDAP_TAG_SYNC_COOKIE, ret_cookie))
		return false;
	if (ber_peek_tag(ber, &len) != LBER_BOOLEAN)
		return true;
	if (ber_scanf(ber, "b", &b) == LBER_ERROR)
		return false;
	*ret = b != 0;
	return true;
}

bool sync_info_read(const struct berval *value, struct sync_info *ret)
{
	struct sync_info info;
	BerElement      *ber;
	ber_len_t        len;
	bool             ok = false;

	info.refreshed = info.present = info.remove = false;
	info.uuids = NULL;
	info.cookie.len = 0;
	if (!value || !value->bv_len || !(ber = ber_init((struct berval *)(uintptr_t)value)))
		return false;
	switch (ber_peek_tag(ber, &len)) {
	case LDAP_TAG_SYNC_NEW_COOKIE:
		ok = cookie_read(ber, LDAP_TAG_SYNC_NEW_COOKIE, &info.cookie);
		break;
	case LDAP_TAG_SYNC_REFRESH_DELETE:
	case LDAP_TAG_SYNC_REFRESH_PRESENT:
		info.present = ber_peek_tag(ber, &len) == LDAP_TAG_SYNC_REFRESH_PRESENT;
		ok = ber_scanf(ber, "{") != LBER_ERROR &&
		     flag(ber, &info.cookie, true, &info.refreshed);
		break;
	case LDAP_TAG_SYNC_ID_SET:
		ok = ber_scanf(ber, "{") != LBER_ERROR && flag(ber, &info.cookie, false, &info.remove) &&
		     ber_scanf(ber, "[W]", &info.uuids) != LBER_ERROR;
		for (size_t i = 0; ok && info.uuids && info.uuids[i].bv_val; i++)
			ok = info.uuids[i].bv_len == SYNC_UUID;
		break;
	default:
		break;
	}
	ber_free(ber, 1);
	if (ok)
		*ret = info;
	else
		ber_bvarray_free(info.uuids);
	return ok;
}
