/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_UNIT_CORE_RIG_H
#define TESTS_UNIT_CORE_RIG_H

/*
 * The core process, with the test as its parent, its net, its front and its
 * coordinator. Everything is in a temporary folder.
 */

#include "daemon/endpoint/core.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wire.h"
#include "daemon/control/enrol.h"
#include "daemon/endpoint/channel.h"
#include "daemon/mesh/filter.h"
#include "daemon/proxy/snapshot.h"
#include "policy/tables.h"
#include "tests/unit/main.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 60000, QUIET_MS = 1500 };

struct rig {
	char  dir[64];
	pid_t pid;
	int   parent, net, front;       /* our ends */
	uint32_t generation;
	uint64_t snapshot;              /* the last that came */
};

static inline void put_file(const struct rig *r, const char *name, const char *text)
{
	char path[160];
	struct err err = { 0 };

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	ck_assert_msg(file_replace(path, span_str(text), 0600, &err), "%s", err.msg);
}

static inline void tell(int fd, const struct msg *m, int with)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec iov;
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	buf_init(&b, WIRE_MAX);
	ck_assert_msg(msg_write(m, &b, &err), "%s", err.msg);
	iov = (struct iovec){ b.ptr, b.len };
	if (with >= 0) {
		struct cmsghdr *c;

		mh.msg_control = control.room;
		mh.msg_controllen = sizeof(control.room);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &with, sizeof(int));
	}
	ck_assert_int_ge(sendmsg(fd, &mh, MSG_NOSIGNAL), 0);
}

static char heard[WIRE_MAX];

/* The next message of one neighbour; false after WAIT_MS. Descriptors not wanted are closed. */
static inline bool hear_within(int fd, struct msg *m, int fds[WIRE_FDS_MAX], int ms)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)]; } control;
	struct iovec iov = { heard, sizeof(heard) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
		             .msg_controllen = sizeof(control.room) };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct err err = { 0 };
	ssize_t n;

	for (int i = 0; i < WIRE_FDS_MAX; i++)
		fds[i] = -1;
	if (poll(&p, 1, ms) <= 0)
		return false;
	n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c))
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	ck_assert_msg(msg_read(span_of(heard, (size_t)n), m, &err), "%s", err.msg);
	return true;
}

static inline void close_all(int fds[WIRE_FDS_MAX])
{
	for (int i = 0; i < WIRE_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static inline void hear(int fd, enum msg_type want, struct msg *m, int fds[WIRE_FDS_MAX])
{
	ck_assert_msg(hear_within(fd, m, fds, WAIT_MS), "waited for %s in vain", msg_name(want));
	ck_assert_msg(m->type == want, "%s instead of %s", msg_name(m->type), msg_name(want));
}

static inline void neighbour(struct rig *r, enum process_kind kind, int *ret_ours)
{
	struct msg m = { .type = MSG_NEIGHBOUR, .neighbour = { (uint8_t)kind, 0 } };
	int pair[2];
	struct err err = { 0 };

	ck_assert_msg(channel_pair(pair, &err), "%s", err.msg);
	tell(r->parent, &m, pair[1]);
	close(pair[1]);
	*ret_ours = pair[0];
}

static inline void run(struct rig *r)
{
	int pair[2];

	r->net = r->front = -1;
	ck_assert(channel_pair(pair, NULL));
	r->pid = fork();
	ck_assert_int_ge(r->pid, 0);
	if (r->pid == 0) {
		close(pair[0]);
		log_open("core", getenv("CORE_LOG") ? LOG_DEBUG : LOG_ERROR);
		exit(core_main(pair[1], NULL));        /* not _exit(): leaks are looked for */
	}
	close(pair[1]);
	r->parent = pair[0];
}

static inline void start(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/reeve-core-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	run(r);
}

/* Kills it and starts another in the same folder. */
static inline void again(struct rig *r)
{
	int status;

	kill(r->pid, SIGKILL);
	waitpid(r->pid, &status, 0);
	close(r->parent);
	close(r->net);
	close(r->front);
	run(r);
}

static inline void end(struct rig *r)
{
	static const char *const names[] = {
		"policy.hujson", "identities.hujson", "map.ndjson", "audit.json", "state/device.key", "state/class-epoch",
		"state/addresses.json", "state/enrolment.json", "state/lease.json", "state/map.ndjson",
		"state/assertion.keys", "state",
	};
	struct msg m = { .type = MSG_END };
	char path[128];
	int status;

	tell(r->parent, &m, -1);
	waitpid(r->pid, &status, 0);
	ck_assert_int_eq(status, 0);
	close(r->parent);
	close(r->net);
	close(r->front);
	snprintf(path, sizeof(path), "%s/api.sock", r->dir);
	ck_assert_int_ne(access(path, F_OK), 0);
	for (size_t i = 0; i < array_size(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, names[i]);
		remove(path);
	}
	ck_assert_int_eq(rmdir(r->dir), 0);
}

/* One question to the local API; returns the status. */
static inline int ask(const struct rig *r, const char *what, char *ret_answer, size_t size)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), status = 0;
	size_t n = 0;
	ssize_t got;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/api.sock", r->dir);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_gt(dprintf(fd, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", what), 0);
	while (n + 1 < size && (got = read(fd, ret_answer + n, size - 1 - n)) > 0)
		n += (size_t)got;
	ret_answer[n] = '\0';
	close(fd);
	ck_assert_int_eq(sscanf(ret_answer, "HTTP/1.1 %d", &status), 1);
	return status;
}

/* Prepares a configuration; what core says of it is in ret_words. */
static inline bool prepare(struct rig *r, const char *conf, char ret_words[1024])
{
	struct msg m = { .type = MSG_CONF }, done;
	int fds[WIRE_FDS_MAX], fd;
	struct err err = { 0 };

	fd = msg_memfd("conf", span_str(conf), &err);
	ck_assert_int_ge(fd, 0);
	m.conf.generation = ++r->generation;
	m.conf.dir = span_str(r->dir);
	m.conf.file = SPAN("reeved.hujson");
	tell(r->parent, &m, fd);
	close(fd);
	hear(r->parent, MSG_CONF_DONE, &done, fds);
	ck_assert_uint_eq(done.conf_done.generation, r->generation);
	snprintf(ret_words, 1024, "%.*s", (int)(done.conf_done.text.len > 1000 ? 1000 : done.conf_done.text.len),
	         done.conf_done.text.ptr);
	return done.conf_done.ok;
}

static inline void use(struct rig *r)
{
	struct msg m = { .type = MSG_CONF_USE };
	int fds[WIRE_FDS_MAX];

	m.conf.generation = r->generation;
	tell(r->parent, &m, -1);
	hear(r->parent, MSG_READY, &m, fds);
}

static inline struct snapshot *next_snapshot(struct rig *r)
{
	struct msg m, done = { .type = MSG_SNAPSHOT_DONE };
	int fds[WIRE_FDS_MAX];
	struct snapshot *s;
	struct err err = { 0 };

	do {
		ck_assert_msg(hear_within(r->front, &m, fds, WAIT_MS), "no snapshot came");
		if (m.type != MSG_SNAPSHOT)
			close_all(fds);
	} while (m.type != MSG_SNAPSHOT);
	s = snapshot_open(fds[0], fds[1], &err);
	ck_assert_msg(s != NULL, "%s", err.msg);
	close_all(fds);
	r->snapshot = done.snapshot_done.generation = m.snapshot.generation;
	done.snapshot_done.ok = true;
	tell(r->front, &done, -1);
	return s;
}

static inline uint32_t slot_of(const struct snapshot *s, const char *ip)
{
	struct ip a;

	ck_assert(ip_parse(span_str(ip), &a));
	return snapshot_find_addr(s, &a);
}

static inline bool allows(const struct snapshot *s, const char *ip, const char *path)
{
	uint32_t slot = slot_of(s, ip);
	const struct snap_ident *id = snapshot_ident(s, slot);
	const struct snap_service *svc = snapshot_service(s, snapshot_find_service(s, SPAN("wiki")));
	struct tables_request req = { SPAN("GET"), SPAN("wiki"), span_str(path), IP_V4, 8080 };
	struct tables_session ses;
	struct reason why;

	if (!id || !svc || !snapshot_valid(s, slot, clock_boot()))
		return false;
	ses.auth_time.sec = id->auth_time;
	ses.expires.sec = id->expires ? id->expires : INT64_MAX;
	return tables_http(snapshot_policy(s), id->class4, svc->policy, &req, &ses, clock_wall(), SILENT_NEVER, &why)
	       == VERDICT_ALLOW;
}

/* ---- a map ---- */

struct device { struct secret key; struct device_key public; char text[DEVICE_KEY_TEXT_MAX], v6[IP_TEXT_MAX]; };

static inline void make_device(struct device *d)
{
	struct overlay o;
	struct err err = { 0 };
	struct ip ip;

	ck_assert(prefix_parse(SPAN("fd12:3456:789a::/48"), &o.v6));
	ck_assert(prefix_parse(SPAN("100.64.0.0/10"), &o.v4));
	enrol_device_new(&d->key);
	ck_assert(device_private_public(&d->key, &d->public, &err));
	device_key_text(&d->public, d->text);
	ip = overlay_v6(&o, &d->public);
	ip_text(&ip, d->v6);
}

static inline void write_map(const struct rig *r, const struct device *self, const struct device *laptop, uint64_t seq,
                      bool session, const char *v6)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 65536);
	buf_addf(&b, "{\"op\":\"full\",\"v\":1,\"epoch\":\"00000000000000aa\",\"seq\":%llu,\"lease\":86400,\"now\":1790000000,"
	         "\"mesh\":{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"test\"},\"self\":\"n1\"}\n",
	         (unsigned long long)seq);
	buf_addf(&b, "{\"op\":\"node\",\"seq\":%llu,\"node\":{\"id\":\"n1\",\"name\":\"wiki\",\"key\":\"%s\",\"v4\":\"100.64.0.1\","
	         "\"v6\":\"%s\",\"tags\":[\"tag:server\"],\"services\":[{\"name\":\"wiki\",\"port\":8080}]}}\n",
	         (unsigned long long)seq, self->text, self->v6);
	buf_addf(&b, "{\"op\":\"node\",\"seq\":%llu,\"node\":{\"id\":\"n2\",\"name\":\"laptop\",\"key\":\"%s\",\"v4\":\"100.64.0.2\","
	         "\"v6\":\"%s\",\"endpoints\":[\"192.0.2.7:51820\"],\"user\":{\"id\":\"u1\",\"issuer\":\"https://idp\",\"sub\":\"a\","
	         "\"login\":\"staff@example.edu\",\"idp\":[\"lab\"]}",
	         (unsigned long long)seq, laptop->text, v6 ? v6 : laptop->v6);
	if (session)
		buf_addf(&b, ",\"session\":{\"id\":\"s1\",\"auth_time\":%lld,\"expires\":%lld,\"amr\":[\"pwd\",\"otp\"]}",
		         (long long)clock_wall().sec, (long long)clock_wall().sec + 3600);
	buf_addf(&b, "}}\n{\"op\":\"policy\",\"seq\":%llu,\"text\":\"{\\\"grants\\\":[{\\\"src\\\":[\\\"idp:lab\\\"],"
	         "\\\"dst\\\":[\\\"svc:wiki\\\"]}]}\"}\n{\"op\":\"end\",\"seq\":%llu}\n",
	         (unsigned long long)seq, (unsigned long long)seq);
	put_file(r, "map.ndjson", b.ptr);
}

/* What net was told up to NET_END, or up to the first silence. */
struct told {
	bool     device, peer, rows, klass4, klass6, gone, peer_gone;
	uint32_t class4, class6, row_class[64];
	size_t   row_count;
	int64_t  timeout;
};

static inline void hear_net(struct rig *r, struct told *t)
{
	struct msg m, done = { .type = MSG_DONE };
	int fds[WIRE_FDS_MAX], wait = WAIT_MS;

	memset(t, 0, sizeof(*t));
	while (hear_within(r->net, &m, fds, wait)) {
		enum msg_type type = m.type;

		wait = QUIET_MS;
		done.done.order = m.order;
		switch (type) {
		case MSG_DEVICE:
			t->device = true;
			break;
		case MSG_PEER:
			ck_assert_uint_eq(m.peer.keepalive, 0);
			t->peer = true;
			break;
		case MSG_PEER_GONE:
			t->peer_gone = true;
			break;
		case MSG_CLASS:
			ck_assert_msg(!t->peer_gone, "rights before the peer went");
			if (m.klass.ip.family == IP_V4)
				t->class4 = m.klass.klass;
			else
				t->class6 = m.klass.klass;
			t->timeout = m.klass.timeout;
			break;
		case MSG_CLASS_GONE:
			t->gone = true;
			break;
		case MSG_ROWS: {
			scoped_buf struct buf b = { 0 };
			struct msg_row rows[64];
			uint32_t n = m.table.count;

			buf_init(&b, 65536);
			ck_assert(msg_memfd_read(fds[0], 65536, &b, NULL));
			ck_assert_uint_le(n, 64);
			ck_assert(msg_rows_read(buf_span(&b), n, rows, NULL));
			t->rows = true;
			for (t->row_count = 0; t->row_count < n; t->row_count++)
				t->row_class[t->row_count] = rows[t->row_count].klass;
			break;
		}
		default:
			break;
		}
		close_all(fds);
		tell(r->net, &done, -1);
		if (type == MSG_NET_END)
			return;
	}
}

/* Packets end first, words once net has said that they did. */
static inline bool denies_soon(const struct snapshot *s, const char *ip, const char *path)
{
	for (int i = 0; i < 2400 && allows(s, ip, path); i++)
		poll(NULL, 0, 25);
	return !allows(s, ip, path);
}

/* ---- a coordinator ---- */

/*
 * On the hub's socket: answers /v1/map with what `lines` says and keeps it
 * open, takes acknowledgements and reports.
 */
struct coordinator {
	char            path[128];
	pthread_t       thread;
	pthread_mutex_t lock;
	int             fd, stop[2];
	char           *lines;          /* next to send on the open stream; taken */
	bool            cut;            /* break the open stream */
	char            asked[256];     /* path of the last GET */
	char            node[64];       /* who asked */
	uint64_t        acked;
	char            report[8192];
	char            used[512];      /* of the last that came: who used the host */
	unsigned        used_count;
	const char     *used_answer;    /* status and reason; NULL: 200. "": closes without a word */
};

static inline void reply(int fd, const char *head, const char *body)
{
	ck_assert_int_gt(dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body), 0);
}

/* One request of a connection; true if it is the stream now. */
static inline bool serve_request(struct coordinator *co, int fd, char *text)
{
	const char *body = strstr(text, "\r\n\r\n"), *node = strcasestr(text, "\nReeve-Node: ");
	const char *seq;

	pthread_mutex_lock(&co->lock);
	snprintf(co->node, sizeof(co->node), "%.*s", node ? (int)strcspn(node + 13, "\r") : 0, node ? node + 13 : "");
	if (strncmp(text, "GET /v1/map", 11) == 0) {
		snprintf(co->asked, sizeof(co->asked), "%.*s", (int)strcspn(text + 4, " "), text + 4);
		pthread_mutex_unlock(&co->lock);
		ck_assert_int_gt(dprintf(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 0);
		return true;
	}
	if (strncmp(text, "POST /v1/map/ack", 16) == 0 && body && (seq = strstr(body, "\"seq\":")))
		co->acked = strtoull(seq + 6, NULL, 10);
	if (strncmp(text, "POST /v1/node", 13) == 0 && body)
		snprintf(co->report, sizeof(co->report), "%s", body + 4);
	const char *answer = NULL;
	bool used = strncmp(text, "POST /v1/map/used", 17) == 0 && body;
	if (used) {
		snprintf(co->used, sizeof(co->used), "%s", body + 4);
		co->used_count++;
		answer = co->used_answer;
	}
	pthread_mutex_unlock(&co->lock);
	if (answer && !*answer)
		shutdown(fd, SHUT_RDWR);
	else
		reply(fd, answer ? answer : "200 OK", used ? "{\"every\":4}" : "{}");
	return false;
}

static inline bool whole_request(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\nContent-Length: ");

	return end && (!length || strlen(end + 4) >= strtoul(length + 17, NULL, 10));
}

static inline void *serve(void *arg)
{
	struct coordinator *co = arg;
	struct pollfd p[18] = { { .fd = co->stop[0], .events = POLLIN }, { .fd = co->fd, .events = POLLIN } };
	static char text[16][16384];
	int stream = -1, n = 2;

	for (;;) {
		poll(p, (nfds_t)n, 20);
		if (p[0].revents)
			break;
		if ((p[1].revents & POLLIN) && n < 18) {
			p[n] = (struct pollfd){ .fd = accept(co->fd, NULL, NULL), .events = POLLIN };
			text[n - 2][0] = '\0';
			n++;
		}
		for (int i = 2; i < n; i++) {
			size_t have = strlen(text[i - 2]);
			ssize_t got;

			if (p[i].fd < 0 || !(p[i].revents & (POLLIN | POLLHUP)))
				continue;
			got = read(p[i].fd, text[i - 2] + have, sizeof(text[0]) - 1 - have);
			if (got <= 0) {
				close(p[i].fd);
				if (p[i].fd == stream)
					stream = -1;
				p[i] = p[--n];
				memcpy(text[i - 2], text[n - 2], sizeof(text[0]));
				i--;
				continue;
			}
			text[i - 2][have + (size_t)got] = '\0';
			if (!whole_request(text[i - 2]))
				continue;
			if (serve_request(co, p[i].fd, text[i - 2]))
				stream = p[i].fd;
			text[i - 2][0] = '\0';
		}
		pthread_mutex_lock(&co->lock);
		if (stream >= 0 && co->lines) {
			dprintf(stream, "%zx\r\n%s\r\n", strlen(co->lines), co->lines);
			free(co->lines);
			co->lines = NULL;
		}
		if (stream >= 0 && co->cut) {
			shutdown(stream, SHUT_RDWR);
			co->cut = false;
		}
		pthread_mutex_unlock(&co->lock);
	}
	for (int i = 2; i < n; i++)
		close(p[i].fd);
	close(co->fd);
	return NULL;
}

static inline void coordinator_start(struct coordinator *co, const struct rig *r)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(co->path, sizeof(co->path), "%s/mesh.sock", r->dir);
	snprintf(at.sun_path, sizeof(at.sun_path), "%.100s", co->path);
	unlink(co->path);
	co->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(co->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(co->fd, 8), 0);
	ck_assert_int_eq(pipe2(co->stop, O_CLOEXEC), 0);
	pthread_mutex_init(&co->lock, NULL);
	ck_assert_int_eq(pthread_create(&co->thread, NULL, serve, co), 0);
}

static inline void coordinator_stop(struct coordinator *co)
{
	ck_assert_int_eq(write(co->stop[1], "x", 1), 1);
	pthread_join(co->thread, NULL);
	close(co->stop[0]);
	close(co->stop[1]);
	free(co->lines);
	co->lines = NULL;
	unlink(co->path);
}

static inline void say(struct coordinator *co, const char *lines)
{
	pthread_mutex_lock(&co->lock);
	ck_assert_ptr_null(co->lines);
	co->lines = mem_strdup(lines);
	pthread_mutex_unlock(&co->lock);
}

static inline bool acked(struct coordinator *co, uint64_t seq)
{
	for (int i = 0; i < 2400; i++) {
		bool yes;

		pthread_mutex_lock(&co->lock);
		yes = co->acked == seq;
		pthread_mutex_unlock(&co->lock);
		if (yes)
			return true;
		poll(NULL, 0, 25);
	}
	return false;
}

static inline char *read_back(const struct rig *r, const char *name)
{
	struct buf b = { 0 };
	char path[160];
	struct err err = { 0 };

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	buf_init(&b, 65536);
	ck_assert_msg(file_read(path, 65536, &b, &err), "%s", err.msg);
	return buf_take(&b);
}

static inline void mesh_state(const struct rig *r, const struct device *self)
{
	char path[160], line[512];
	struct err err = { 0 };

	snprintf(path, sizeof(path), "%s/state", r->dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/state/device.key", r->dir);
	ck_assert_msg(enrol_device_store(path, &self->key, &err), "%s", err.msg);
	snprintf(line, sizeof(line), "{\"v\":1,\"url\":\"\",\"pins\":[],\"node\":\"n1\",\"control\":\"unix:%s/mesh.sock\"}", r->dir);
	put_file(r, "state/enrolment.json", line);
}

static const char conf_mesh[] =
	"{ \"state-dir\": \"state\", \"run-dir\": \".\", \"mesh\": { \"hosts-file\": \"\" },\n"
	"  \"services\": { \"wiki\": { \"listen\": [\"8080\"], \"hosts\": [\"wiki\"],\n"
	"    \"upstream\": [\"http://127.0.0.1:5232\"] } } }";

#endif
