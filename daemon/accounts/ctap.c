/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/ctap.h"

/* RFC 8949 3: the number in a head is in its low five bits, or in the 1, 2, 4 or 8 bytes that
 * follow. */
static bool number(struct span *rest, unsigned info, uint64_t *ret)
{
	size_t len = info < 24 ? 0 : (size_t)1 << (info - 24);
	uint64_t n = info;

	if (info > 27 || rest->len < len)
		return false;
	for (size_t i = 0; i < len; i++)
		n = (i ? n << 8 : 0) | (unsigned char)rest->ptr[i];
	*rest = span_from(*rest, len);
	*ret = n;
	return true;
}

bool ctap_next(struct span *rest, struct ctap_item *ret)
{
	struct ctap_item item = {0};
	unsigned head;

	if (rest->len == 0)
		return false;
	head = (unsigned char)rest->ptr[0];
	*rest = span_from(*rest, 1);
	item.major = (enum ctap_major)(head >> 5);
	if (item.major == CTAP_TAG || !number(rest, head & 31, &item.n))
		return false;
	switch (item.major) {
	case CTAP_BYTES:
	case CTAP_TEXT:
		if (item.n > rest->len)
			return false;
		item.bytes = span_head(*rest, (size_t)item.n);
		*rest = span_from(*rest, (size_t)item.n);
		break;
	case CTAP_ARRAY:
	case CTAP_MAP:
		/* Each thing in it has a byte at least. */
		if (item.n > rest->len)
			return false;
		break;
	default:
		break;
	}
	*ret = item;
	return true;
}

static bool skip(struct span *rest, unsigned depth)
{
	struct ctap_item item;
	uint64_t inside;

	if (!ctap_next(rest, &item))
		return false;
	inside = item.major == CTAP_ARRAY ? item.n : item.major == CTAP_MAP ? 2 * item.n : 0;
	if (inside && depth == CTAP_DEPTH_MAX)
		return false;
	while (inside--)
		if (!skip(rest, depth + 1))
			return false;
	return true;
}

bool ctap_skip(struct span *rest)
{
	return skip(rest, 1);
}
