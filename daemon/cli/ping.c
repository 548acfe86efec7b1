/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"
#include "base/ip.h"
#include "base/mem.h"
#include "base/secret.h"
#include "daemon/cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* RFC 792; RFC 4443 section 4. */
enum { V4_ECHO = 8, V4_REPLY = 0, V6_ECHO = 128, V6_REPLY = 129 };

enum { PING_COUNT = 4, PING_COUNT_MAX = 1000, PING_WAIT_MS = 2000, PING_GAP_MS = 500 };

struct echo {                   /* both families lay it out so: RFC 792, RFC 4443 section 4 */
	uint8_t  type, code;
	uint16_t sum, id, seq;
	uint8_t  token[16];
};

static uint16_t checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return htons((uint16_t)~sum);
}

static int ping_socket(const struct ip *ip, bool *ret_raw, struct err *err)
{
	int family = ip->family == IP_V4 ? AF_INET : AF_INET6;
	int proto = ip->family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, proto);

	*ret_raw = false;
	if (fd < 0) {
		fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, proto);
		*ret_raw = true;
	}
	if (fd < 0)
		err_sys(err, "this user may not ping");
	return fd;
}

/* The echo's token comes back, or an error on the way says why not. */
static bool wait_echo(int fd, const struct ip *ip, bool raw, const struct echo *sent, struct boot start,
                      int64_t *ret_ns, struct err *err)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = PING_WAIT_MS - (clock_boot().ns - start.ns) / 1000000;
		uint8_t bytes[1500];
		size_t off = 0;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return err_set(err, ERR_TIMEOUT, "no answer");
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return errno == EHOSTUNREACH || errno == EACCES || errno == EPERM
			       ? err_set(err, ERR_DENIED, "refused: no grant lets this node ping there, or there is no such node")
			       : err_sys(err, "ping");
		if (raw && ip->family == IP_V4 && n > 0)
			off = (size_t)(bytes[0] & 15) * 4;
		if ((size_t)n < off + sizeof(*sent) ||
		    bytes[off] != (ip->family == IP_V4 ? V4_REPLY : V6_REPLY) ||
		    memcmp(bytes + off + offsetof(struct echo, token), sent->token, sizeof(sent->token)) != 0)
			continue;
		*ret_ns = clock_boot().ns - start.ns;
		return true;
	}
}

static bool ping_once(int fd, const struct ip *ip, bool raw, uint16_t seq, int64_t *ret_ns, struct err *err)
{
	struct echo e = { .type = ip->family == IP_V4 ? V4_ECHO : V6_ECHO, .seq = htons(seq) };
	struct boot start = clock_boot();

	e.id = htons((uint16_t)getpid());
	random_bytes(e.token, sizeof(e.token));
	if (ip->family == IP_V4)
		e.sum = checksum(&e, sizeof(e));
	if (send(fd, &e, sizeof(e), MSG_NOSIGNAL) < 0)
		return errno == EPERM || errno == EHOSTUNREACH || errno == EACCES
		       ? err_set(err, ERR_DENIED, "refused by this host: there is no such node, or this user may not send into the mesh")
		       : err_sys(err, "ping");
	return wait_echo(fd, ip, raw, &e, start, ret_ns, err);
}

/* A name of the mesh, or an address. */
static bool find_target(const struct cli *cli, const char *what, struct ip *ret_ip, json_t **ret_peer, struct err *err)
{
	json_t *status = NULL, *p, *found = NULL;
	size_t i;
	struct ip ip = { 0 };
	bool is_ip = ip_parse(span_str(what), &ip);
	char text[IP_TEXT_MAX];

	if (!cli_local(cli, "GET", "/v1/status", NULL, &status, err))
		return false;
	json_array_foreach(json_object_get(status, "peers"), i, p) {
		const char *v4 = cli_str(p, "node.v4"), *v6 = cli_str(p, "node.v6");

		if (is_ip ? (strcmp(v4, ip_text(&ip, text)) == 0 || strcmp(v6, text) == 0)
		          : strcmp(cli_str(p, "node.name"), what) == 0)
			found = p;
	}
	if (found && !is_ip && !ip_parse(span_str(cli_str(found, "node.v4")), &ip) &&
	    !ip_parse(span_str(cli_str(found, "node.v6")), &ip))
		found = NULL;
	if (found)
		*ret_peer = json_incref(found);
	json_decref(status);
	if (!found)
		return err_set(err, ERR_MISSING, "this host was told of no node \"%.80s\": nothing may pass between the two, "
		               "or there is none", what);
	*ret_ip = ip;
	return true;
}

int cli_ping(const struct cli *cli, int argc, char **argv)
{
	const char *what = NULL, *count_text = NULL;
	bool help = false, raw;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "-c", &count_text, NULL, 1, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct sockaddr_storage ss;
	struct err err = { 0 };
	json_t *peer = NULL, *times = NULL;
	struct ip ip;
	uint64_t count = PING_COUNT;
	char text[IP_TEXT_MAX], age[32];
	int fd, status = CLI_OK;
	size_t got = 0;

	if (!cli_options(argc, argv, options, &what, 1, NULL))
		return CLI_USAGE;
	if (help || !what || (count_text && (!span_u64(span_str(count_text), PING_COUNT_MAX, &count) || !count))) {
		fputs("usage: reeve ping [-c COUNT] NODE|ADDRESS\n", help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	if (!find_target(cli, what, &ip, &peer, &err))
		return cli_fail(cli, &err);
	fd = ping_socket(&ip, &raw, &err);
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, ipport_to_sockaddr(&(struct ipport){ ip, 0 }, &ss)) < 0) {
		if (fd >= 0) {
			err_sys(&err, "%s", ip_text(&ip, text));
			close(fd);
		}
		json_decref(peer);
		return cli_fail(cli, &err);
	}
	times = json_array();
	if (!cli->json) {
		cli_put(stdout, cli_str(peer, "node.name"));
		printf(" (%s), over %s, last handshake %s\n", ip_text(&ip, text),
		       *cli_str(peer, "endpoint") ? cli_str(peer, "endpoint") : "no known address",
		       cli_age(json_integer_value(json_object_get(peer, "handshake")), age));
	}
	for (uint64_t i = 0; i < count; i++) {
		int64_t ns = 0;

		if (i)
			poll(NULL, 0, PING_GAP_MS);
		if (ping_once(fd, &ip, raw, (uint16_t)i, &ns, &err)) {
			got++;
			json_array_append_new(times, json_real((double)ns / 1e6));
			if (!cli->json)
				printf("%.3f ms\n", (double)ns / 1e6);
		} else if (!cli->json) {
			printf("%s\n", err.msg);
		}
		fflush(stdout);
	}
	close(fd);
	if (got == 0)
		status = err.code == ERR_DENIED ? CLI_REFUSED : CLI_UNREACHABLE;
	if (cli->json) {
		json_t *o = json_pack("{s:O, s:O, s:I, s:s}", "peer", peer, "ms", times, "sent", (json_int_t)count,
		                      "error", got ? "" : err.msg);

		cli_json(o);
		json_decref(o);
	}
	json_decref(times);
	json_decref(peer);
	return status;
}
