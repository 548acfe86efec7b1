/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/nl.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
	NL_TRIES = 5,           /* of a dump that changes while it is read */
	NL_DRAIN_MAX = 256,     /* reads at a time: the rest is there the next time */
};

struct nl {
	struct mnl_socket *sock;
	uint32_t           seq;
	unsigned           port;
	/* Requests and answers apart: a batch is sent again from out. */
	_Alignas(NLMSG_ALIGNTO) char out[NL_MESSAGE_MAX];
	_Alignas(NLMSG_ALIGNTO) char in[NL_MESSAGE_MAX];
};

struct nl *nl_open(int bus, struct err *err)
{
	struct timeval tv = { .tv_sec = NL_DEADLINE_MS / 1000,
			      .tv_usec = NL_DEADLINE_MS % 1000 * 1000 };
	struct nl *nl = mem_alloc(sizeof(*nl));
	int one = 1;

	nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->sock || mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(nl_fd(nl), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) != 0 ||
	    setsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) != 0) {
		err_sys(err, "netlink socket");
		nl_close(nl);
		return NULL;
	}
	/* Both only make errors clearer and shorter. */
	mnl_socket_setsockopt(nl->sock, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(nl->sock, NETLINK_CAP_ACK, &one, sizeof(one));
	nl->port = mnl_socket_get_portid(nl->sock);
	return nl;
}

void nl_close(struct nl *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		mnl_socket_close(nl->sock);
	free(nl);
}

void nl_strict(struct nl *nl)
{
	int one = 1;

	mnl_socket_setsockopt(nl->sock, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
}

bool nl_join(struct nl *nl, unsigned group, struct err *err)
{
	return mnl_socket_setsockopt(nl->sock, NETLINK_ADD_MEMBERSHIP, &group,
				     sizeof(group)) >= 0 ||
	       err_sys(err, "listening to group %u", group);
}

bool nl_drain(struct nl *nl, bool (*fn)(void *arg, const struct nlmsghdr *nlh), void *arg)
{
	bool said = false;

	for (int i = 0; i < NL_DRAIN_MAX; i++) {
		ssize_t got = recv(nl_fd(nl), nl->in, sizeof(nl->in), MSG_DONTWAIT);
		const struct nlmsghdr *nlh = (const void *)nl->in;
		int left = (int)got;

		if (got < 0 && errno == ENOBUFS)
			said = true;
		else if (got < 0 && errno != EINTR)
			return said;
		for (; got > 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			said = said || fn(arg, nlh);
	}
	return said;
}

void nl_wipe(struct nl *nl)
{
	mem_wipe(nl->out, sizeof(nl->out));
	mem_wipe(nl->in, sizeof(nl->in));
}

int nl_fd(const struct nl *nl)
{
	return mnl_socket_get_fd(nl->sock);
}

void *nl_buffer(struct nl *nl)
{
	return nl->out;
}

uint32_t nl_seq(struct nl *nl)
{
	if (++nl->seq == 0)     /* 0 is the kernel's own */
		nl->seq = 1;
	return nl->seq;
}

struct nlmsghdr *nl_request(struct nl *nl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->out);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = nl_seq(nl);
	return nlh;
}

/* The attributes from `at` up to `end`: libmnl's own loops warn under -Wconversion. */
static const struct nlattr *attr_at(const void *at, const void *end)
{
	ptrdiff_t left = (const char *)end - (const char *)at;

	return left >= (ptrdiff_t)sizeof(struct nlattr) && mnl_attr_ok(at, (int)left) ? at : NULL;
}

static void attrs_into(const void *at, const void *end, const struct nlattr **tb, uint16_t max)
{
	const struct nlattr *a;

	memset(tb, 0, sizeof(*tb) * (max + 1U));
	for (; (a = attr_at(at, end)); at = mnl_attr_next(a))
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
}

bool nl_attrs(const struct nlmsghdr *nlh, size_t header, const struct nlattr **tb, uint16_t max)
{
	if (mnl_nlmsg_get_payload_len(nlh) < header) {
		memset(tb, 0, sizeof(*tb) * (max + 1U));
		return false;
	}
	attrs_into(mnl_nlmsg_get_payload_offset(nlh, header), mnl_nlmsg_get_payload_tail(nlh), tb,
		   max);
	return true;
}

bool nl_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max)
{
	if (!nest) {
		memset(tb, 0, sizeof(*tb) * (max + 1U));
		return false;
	}
	attrs_into(mnl_attr_get_payload(nest),
		   (const char *)mnl_attr_get_payload(nest) + mnl_attr_get_payload_len(nest), tb,
		   max);
	return true;
}

static enum err_code code_of(int number)
{
	switch (number) {
	case ENOENT: case ENODEV: case ESRCH: case ENXIO:
		return ERR_MISSING;
	case EEXIST:
		return ERR_EXISTS;
	case EBUSY: case EAGAIN:
		return ERR_BUSY;
	default:
		return ERR_SYS;
	}
}

/* The errno of an NLMSG_ERROR, 0 for an acknowledgement, with the kernel's words if it has any. */
static int refusal(const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const char *words = NULL;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
		return EBADMSG;
	if (e->error == 0)
		return 0;
	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS) {
		const struct nlattr *tb[NLMSGERR_ATTR_MSG + 1];
		size_t skip = sizeof(*e);

		if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
			skip += mnl_nlmsg_get_payload_len(&e->msg);
		if (nl_attrs(nlh, skip, tb, NLMSGERR_ATTR_MSG) && tb[NLMSGERR_ATTR_MSG] &&
		    mnl_attr_validate(tb[NLMSGERR_ATTR_MSG], MNL_TYPE_NUL_STRING) >= 0)
			words = mnl_attr_get_str(tb[NLMSGERR_ATTR_MSG]);
	}

	int number = -e->error;

	err_set(err, code_of(number), "the kernel refused: %s%s%s", strerror(number),
		words ? ": " : "", words ? words : "");
	return number;
}

/* One read; its length, or -1 with err. */
static ssize_t receive(struct nl *nl, struct err *err)
{
	ssize_t n;

	do
		n = mnl_socket_recvfrom(nl->sock, nl->in, sizeof(nl->in));
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		err_set(err, ERR_TIMEOUT, "the kernel did not answer in %d ms", NL_DEADLINE_MS);
	else if (n < 0)
		err_sys(err, "netlink");
	return n;
}

/* NLMSG_DONE carries what ended the dump. */
static int dump_errno(const struct nlmsghdr *nlh)
{
	int number = 0;

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(number))
		memcpy(&number, mnl_nlmsg_get_payload(nlh), sizeof(number));
	return number < 0 ? -number : 0;
}

enum answer { ANSWER_MORE, ANSWER_DONE, ANSWER_AGAIN, ANSWER_FAILED };

static enum answer read_answer(struct nl *nl, uint32_t seq, nl_message_fn *fn, void *arg,
			       int *ret_errno, struct err *err)
{
	enum answer answer = ANSWER_MORE;
	bool torn = false;

	while (answer == ANSWER_MORE) {
		ssize_t got = receive(nl, err);

		if (got < 0)
			return ANSWER_FAILED;

		int left = (int)got;
		const struct nlmsghdr *nlh = (const void *)nl->in;

		for (; mnl_nlmsg_ok(nlh, left) && answer == ANSWER_MORE;
		     nlh = mnl_nlmsg_next(nlh, &left)) {
			/* An answer that came after an earlier call's deadline. */
			if (nlh->nlmsg_seq != seq || nlh->nlmsg_pid != nl->port)
				continue;
			if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
				torn = true;
			if (nlh->nlmsg_type == NLMSG_ERROR) {
				*ret_errno = refusal(nlh, err);
				answer = *ret_errno == 0 ? ANSWER_DONE : ANSWER_FAILED;
			} else if (nlh->nlmsg_type == NLMSG_DONE) {
				*ret_errno = dump_errno(nlh);
				if (*ret_errno != 0)
					err_set(err, code_of(*ret_errno), "the kernel refused: %s",
						strerror(*ret_errno));
				answer = *ret_errno != 0 ? ANSWER_FAILED
					 : torn          ? ANSWER_AGAIN
							 : ANSWER_DONE;
			} else if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && fn && !fn(arg, nlh, err)) {
				answer = ANSWER_FAILED;
			}
		}
	}
	return answer;
}

bool nl_ask(struct nl *nl, struct nlmsghdr *req, nl_message_fn *fn, void (*reset)(void *arg),
	    void *arg, int *ret_errno, struct err *err)
{
	int number = 0;

	/* The bits of NLM_F_DUMP mean something else where things are made. */
	if ((req->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP || (req->nlmsg_flags & NLM_F_CREATE))
		req->nlmsg_flags |= NLM_F_ACK;
	if (ret_errno)
		*ret_errno = 0;
	for (int tries = 0; tries < NL_TRIES; tries++) {
		if (tries > 0) {
			req->nlmsg_seq = nl_seq(nl);
			if (reset)
				reset(arg);
		}
		if (mnl_socket_sendto(nl->sock, req, req->nlmsg_len) < 0)
			return err_sys(err, "netlink");
		switch (read_answer(nl, req->nlmsg_seq, fn, arg, &number, err)) {
		case ANSWER_DONE:
			return true;
		case ANSWER_AGAIN:
		case ANSWER_MORE:
			break;
		case ANSWER_FAILED:
			if (ret_errno)
				*ret_errno = number;
			return false;
		}
	}
	return err_set(err, ERR_BUSY, "what was listed changed %d times while it was read",
		       NL_TRIES);
}

bool nl_batch(struct nl *nl, size_t bytes, uint32_t begin, uint32_t first, size_t n,
	      int *ret_errno, struct err *err)
{
	int number = 0;

	if (ret_errno)
		*ret_errno = 0;
	if (mnl_socket_sendto(nl->sock, nl->out, bytes) < 0)
		return err_sys(err, "netlink");
	for (size_t heard = 0; heard < n;) {
		ssize_t got = receive(nl, err);

		if (got < 0)
			return false;

		int left = (int)got;
		const struct nlmsghdr *nlh = (const void *)nl->in;

		for (; mnl_nlmsg_ok(nlh, left) && heard < n; nlh = mnl_nlmsg_next(nlh, &left)) {
			bool whole = nlh->nlmsg_seq == begin;
			struct err e;

			if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_pid != nl->port ||
			    (!whole && nlh->nlmsg_seq - first >= n))
				continue;

			int this = refusal(nlh, &e);

			if (this != 0 && number == 0) {
				number = this;
				err_set(err, e.code, "%s", e.msg);
			}
			/* A refusal of the batch itself comes alone. */
			heard = whole ? n : heard + 1;
		}
	}
	if (ret_errno)
		*ret_errno = number;
	return number == 0;
}
