/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a userspace WireGuard process, perhaps taken over, answers to get=1. */
#include "daemon/mesh/device_backend.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct device_peer_list peers = { 0 };
	struct device_info info = { 0 };
	struct err err = { 0 };
	char text[IP_TEXT_MAX];

	if (device_user_parse(span_of(data, size), &info, &peers, &err)) {
		for (size_t i = 0; i < peers.n; i++) {
			struct device_peer_state *p = &peers.list[i];

			must(p->handshake.sec >= 0);
			must(p->endpoint.ip.family == IP_NONE ||
			     ipport_parse(span_str(ipport_text(&p->endpoint, text)), &p->endpoint));
		}
	} else {
		must(err.code != ERR_NONE);
	}
	must(peers.n <= DEVICE_PEERS_MAX && peers.n <= size);
	free(peers.list);
	return 0;
}
