/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Sessions of people who come with only a browser: each is a node without
 * addresses, whose key is the hash of its cookie, and which goes with its session.
 */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USER_BROWSERS_MAX = 64 };        /* of one person, everywhere; the oldest makes room */

bool part_browser_gone(struct db *db, uint64_t session, struct row_changes *c, struct err *err)
{
	int64_t node;
	bool    there;

	if (!part_int(db, &node, &there, err,
		      "SELECT n.id FROM session s JOIN node n ON n.id = s.node"
		      " WHERE s.id = ? AND n.browser != ''",
		      "i", (int64_t)session))
		return false;
	return !there || (db_run(db, err, "DELETE FROM node WHERE id = ?", "i", node) &&
			  part_node(db, (uint64_t)node, c, err));
}

bool part_host_gone(struct db *db, uint64_t host, struct wall now, struct row_changes *c, struct err *err)
{
	size_t n;

	return part_end(db, "node IN (SELECT id FROM node WHERE browser != '' AND host = ?)", (int64_t)host,
			"revoked", now, &n, c, err);
}

static bool make_room(struct db *db, struct browser_op *op, uint64_t user, struct err *err)
{
	int64_t oldest;
	bool    there;
	size_t  n;

	if (!part_int(db, &oldest, &there, err,
		      "SELECT id FROM node WHERE user = ? AND browser != ''"
		      " ORDER BY id DESC LIMIT 1 OFFSET 63",
		      "i", (int64_t)user))
		return false;
	_Static_assert(USER_BROWSERS_MAX == 64, "the OFFSET above is one less");
	return !there || part_end(db, "node = ?", oldest, "replaced", op->now, &n, &op->job.changes, err);
}

/* The node stays, so that what is open goes on as the same; part_end() would take it with its session. */
static bool renew(struct db *db, struct browser_op *op, uint64_t user, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT n.id FROM session s JOIN node n ON n.id = s.node"
				    " WHERE s.id = ? AND s.ended = 0 AND s.expires > ? AND n.browser = ?"
				    " AND n.host = ? AND n.user = ? AND s.user = n.user",
				    "iitii", (int64_t)op->renews, op->now.sec, op->service, (int64_t)op->host,
				    (int64_t)user);
	bool           there = db_next(&q, err);
	int64_t        node = there ? db_int(&q, 0) : 0;

	if (!db_end(&q))
		return false;
	if (!there)
		return err_set(err, ERR_DENIED, "the session that was to be renewed is over, or somebody else's");
	op->node = (uint64_t)node;
	return db_run(db, err, "UPDATE session SET ended = ?, why = 'replaced', refresh = '', id_token = '' WHERE id = ?",
		      "ii", op->now.sec, (int64_t)op->renews) &&
	       part_session(db, op->renews, &op->job.changes, err) &&
	       db_run(db, err, "UPDATE node SET key = ? WHERE id = ?", "bi", op->hash, sizeof(op->hash), node) &&
	       part_node(db, op->node, &op->job.changes, err) &&
	       part_session_new(db, &op->person, user, op->node, op->now, &op->session, &op->job.changes, err) &&
	       part_seq(db, &op->job.changes, err);
}

static bool browser_work(struct db *db, struct store_job *job, struct err *err)
{
	struct browser_op *op = container_of(job, struct browser_op, job);
	int64_t            v4;
	bool               there;
	uint64_t           user;
	char               name[64];

	if (!part_int(db, &v4, &there, err, "SELECT 1 FROM node WHERE id = ? AND browser = ''", "i",
		      (int64_t)op->host))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "the host of this service is gone");
	if (!part_person(db, &op->person, op->now, &user, &job->changes, err))
		return false;
	if (op->renews)
		return renew(db, op, user, err);
	if (!make_room(db, op, user, err))
		return false;
	/* It has no address; the column wants one, and each another: negative ones are none. */
	if (!part_int(db, &v4, &there, err,
		      "SELECT min(0, coalesce((SELECT min(v4) FROM node), 0)) - 1", "", 0))
		return false;
	snprintf(name, sizeof(name), "browser-%02x%02x%02x%02x%02x%02x", op->hash[0], op->hash[1],
		 op->hash[2], op->hash[3], op->hash[4], op->hash[5]);
	if (!db_run(db, err,
		    "INSERT INTO node (key, name, v4, tags, user, enrol_key, hub, os, report, "
		    "routes, origin, created, browser, host)"
		    " VALUES (?, ?, ?, '', ?, 0, 0, 'browser', '', '', ?, ?, ?, ?)",
		    "btiititi", op->hash, sizeof(op->hash), name, v4, (int64_t)user,
		    text_or(op->person.from), op->now.sec, op->service, (int64_t)op->host))
		return false;
	op->node = (uint64_t)db_last_id(db);
	return part_node(db, op->node, &job->changes, err) &&
	       part_session_new(db, &op->person, user, op->node, op->now, &op->session,
				&job->changes, err) &&
	       part_seq(db, &job->changes, err);
}

static void browser_free(struct store_job *job)
{
	struct browser_op *op = container_of(job, struct browser_op, job);

	person_done(&op->person);
	free(op->service);
	free(op);
}

struct browser_op *browser_op_new(const struct store_person *p, const uint8_t hash[32], const char *service,
				  uint64_t host, struct wall now)
{
	struct browser_op *op = op_make(struct browser_op, browser_work, browser_free);

	person_copy(&op->person, p);
	memcpy(op->hash, hash, sizeof(op->hash));
	op->service = mem_strdup(service);
	op->host = host;
	op->now = now;
	return op;
}
