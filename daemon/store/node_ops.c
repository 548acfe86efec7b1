/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/group_parts.h"
#include "daemon/store/schema.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USER_NODES_MAX = 256 };          /* devices of one person */

/* ---- everything ---- */

static bool load_work(struct db *db, struct store_job *job, struct err *err)
{
	struct load_op     *op = container_of(job, struct load_op, job);
	struct row_changes *c = &job->changes;
	char               *epoch = NULL, *ula = NULL, *v4 = NULL;

	if (!part_seq(db, c, err))
		return false;
	struct db_rows q = db_query(db, err, "SELECT epoch, seq, ula, v4, name FROM mesh", "");
	bool           there = db_next(&q, err);
	if (there) {
		epoch = db_text(&q, 0);
		op->mesh.seq = (uint64_t)db_int(&q, 1);
		ula = db_text(&q, 2);
		v4 = db_text(&q, 3);
		free(op->mesh.name);
		op->mesh.name = db_text(&q, 4);
	}
	bool ok = db_end(&q) && there;
	if (ok && (!span_cstr(span_str(epoch), op->mesh.epoch, sizeof(op->mesh.epoch)) ||
		   !prefix_parse(span_str(ula), &op->mesh.ula) ||
		   !prefix_parse(span_str(v4), &op->mesh.v4)))
		ok = err_set(err, ERR_CONFIG, "the database holds no mesh that makes sense");
	free(epoch);
	free(ula);
	free(v4);
	if (!ok || !part_each(db, part_user, "SELECT id FROM user", c, err) ||
	    !part_each(db, part_node, "SELECT id FROM node", c, err) ||
	    !part_each(db, part_session, "SELECT id FROM session WHERE ended = 0", c, err) ||
	    !part_each(db, part_key, "SELECT id FROM enrol_key", c, err) ||
	    !part_each(db, part_held, "SELECT id FROM held", c, err))
		return false;
	q = db_query(db, err,
		     "SELECT version, text, made_by, at FROM policy ORDER BY version DESC LIMIT 1",
		     "");
	if (db_next(&q, err)) {
		struct policy_row *p = mem_alloc(sizeof(*p));

		p->version = (uint64_t)db_int(&q, 0);
		p->text = db_text(&q, 1);
		p->by = (uint64_t)db_int(&q, 2);
		p->at.sec = db_int(&q, 3);
		row_changes_add(c, ROW_POLICY, p->version)->policy = p;
	}
	return db_end(&q);
}

static void load_free(struct store_job *job)
{
	struct load_op *op = container_of(job, struct load_op, job);

	mesh_row_done(&op->mesh);
	free(op);
}

struct load_op *load_op_new(void)
{
	struct load_op *op = op_make(struct load_op, load_work, load_free);

	return op;
}

/* ---- enrolment ---- */

static bool spend_key(struct db *db, struct enrol_op *op, int64_t old_key, struct node_row *n,
		      char **ret_tags, bool *ret_same, struct err *err)
{
	struct db_rows q = db_query(
		db, err,
		"SELECT id, tags, uses, used, expires, revoked, ephemeral, node_life"
		" FROM enrol_key WHERE hash = ? AND scim = 0", "b",
		op->key_hash, sizeof(op->key_hash));
	int64_t id = 0, uses = 0, used = 0, expires = 0, revoked = 0, life;

	if (db_next(&q, err)) {
		id = db_int(&q, 0);
		*ret_tags = db_text(&q, 1);
		uses = db_int(&q, 2);
		used = db_int(&q, 3);
		expires = db_int(&q, 4);
		revoked = db_int(&q, 5);
		n->ephemeral = db_int(&q, 6) != 0;
		life = db_int(&q, 7);
		n->expires.sec = life ? op->now.sec + life : 0;
	}
	if (!db_end(&q))
		return false;
	if (!id || revoked)
		return err_set(err, ERR_DENIED, "this enrolment key is not known, or was revoked");
	n->enrol_key = (uint64_t)id;
	/* The same device again: its answer was lost, or it lost its state. */
	*ret_same = old_key == id;
	if (*ret_same)
		return true;
	if (expires <= op->now.sec)
		return err_set(err, ERR_EXPIRED, "this enrolment key has expired");
	if (used >= uses)
		return err_set(err, ERR_DENIED, "this enrolment key has been used up");
	return db_run(db, err, "UPDATE enrol_key SET used = used + 1 WHERE id = ?", "i", id) &&
	       part_key(db, n->enrol_key, &op->job.changes, err);
}

static bool enrol_work(struct db *db, struct store_job *job, struct err *err)
{
	struct enrol_op    *op = container_of(job, struct enrol_op, job);
	struct row_changes *c = &job->changes;
	int64_t             old = 0, old_key = 0, old_user = 0, v4, count = 0;
	scoped_free char   *tags = NULL;
	bool                same = false, there;
	char                name[64];
	struct node_row     n = { .os = op->os, .from = op->from };

	struct db_rows q =
		db_query(db, err,
			 "SELECT id, enrol_key, coalesce(user, 0) FROM node"
			 " WHERE key = ?",
			 "b", op->device, sizeof(op->device));
	if (db_next(&q, err)) {
		old = db_int(&q, 0);
		old_key = db_int(&q, 1);
		old_user = db_int(&q, 2);
	}
	if (!db_end(&q))
		return false;
	if (op->by_key) {
		if (!spend_key(db, op, old ? old_key : 0, &n, &tags, &same, err))
			return false;
		n.tags = tags;
		n.approved = true;      /* by whoever made the key */
	} else {
		if (!part_person(db, &op->person, op->now, &n.user, c, err))
			return false;
		same = old && (uint64_t)old_user == n.user;
		n.approved = !op->unapproved;
	}
	if (old && !same)
		return err_set(err, ERR_EXISTS,
			       "this device is enrolled already, as somebody else's");
	if (old) {
		op->node = (uint64_t)old;
	} else {
		if (n.user &&
		    !part_int(db, &count, &there, err, "SELECT count(*) FROM node WHERE user = ? AND browser = ''",
			      "i", (int64_t)n.user))
			return false;
		if (count >= USER_NODES_MAX)
			return err_set(err, ERR_LIMIT, "nobody has more than %d devices",
				       USER_NODES_MAX);
		memcpy(n.key, op->device, sizeof(n.key));
		n.name = name;
		if (!part_name(db, op->name, name, err) ||
		    !part_v4(db, op->acked, op->now, &v4, err) ||
		    !part_node_insert(db, &n, v4, op->now, &op->node, err))
			return false;
	}
	if (!op->by_key) {
		uint64_t session;

		if (!part_session_new(db, &op->person, n.user, op->node, op->now, &session, c, err) ||
		    !part_node_life(db, op->node, op->life, op->now, err))
			return false;
	}
	if ((!old || !op->by_key) && !part_seq(db, c, err))
		return false;
	return part_node(db, op->node, c, err);
}

static void enrol_free(struct store_job *job)
{
	struct enrol_op *op = container_of(job, struct enrol_op, job);

	free(op->name);
	free(op->os);
	free(op->from);
	person_done(&op->person);
	mem_wipe(op->key_hash, sizeof(op->key_hash));
	free(op);
}

struct enrol_op *enrol_op_new(const uint8_t device[32], const char *name, const char *os,
			      const char *from, struct wall now, uint64_t acked)
{
	struct enrol_op *op = op_make(struct enrol_op, enrol_work, enrol_free);

	memcpy(op->device, device, sizeof(op->device));
	op->name = mem_strdup(name);
	op->os = mem_strdup(text_or(os));
	op->from = mem_strdup(text_or(from));
	op->now = now;
	op->acked = acked;
	return op;
}

void enrol_op_key(struct enrol_op *op, const uint8_t hash[32])
{
	op->by_key = true;
	memcpy(op->key_hash, hash, sizeof(op->key_hash));
}

void enrol_op_person(struct enrol_op *op, const struct store_person *p)
{
	person_copy(&op->person, p);
}

/* ---- nodes ---- */

static bool node_delete_work(struct db *db, struct store_job *job, struct err *err)
{
	struct node_delete_op *op = container_of(job, struct node_delete_op, job);

	return part_node_delete(db, op->node, op->now, op->until, &job->changes, err);
}

struct node_delete_op *node_delete_op_new(uint64_t node, struct wall now, struct wall until)
{
	struct node_delete_op *op = op_make(struct node_delete_op, node_delete_work, op_free);

	op->node = node;
	op->now = now;
	op->until = until;
	return op;
}

static bool node_set_work(struct db *db, struct store_job *job, struct err *err)
{
	struct node_set_op *op = container_of(job, struct node_set_op, job);
	int64_t             user;
	bool                there;

	if (!part_int(db, &user, &there, err, "SELECT coalesce(user, 0) FROM node WHERE id = ?",
		      "i", (int64_t)op->node))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "there is no node n%llu",
			       (unsigned long long)op->node);
	if (op->tags && op->tags[0] && user)
		return err_set(
			err, ERR_DENIED,
			"a person's node has no tags: enrol it with a key to make it a server");
	if (op->name && !db_run(db, err, "UPDATE node SET name = ? WHERE id = ?", "ti", op->name,
				(int64_t)op->node)) {
		if (err->code == ERR_EXISTS)
			err_set(err, ERR_EXISTS, "another node is called %s", op->name);
		return false;
	}
	return (!op->approve || db_run(db, err, "UPDATE node SET approved = 1 WHERE id = ?", "i",
				       (int64_t)op->node)) &&
	       (!op->set_expires || db_run(db, err, "UPDATE node SET expires = ? WHERE id = ?",
					   "ii", op->expires.sec, (int64_t)op->node)) &&
	       (!op->tags || db_run(db, err, "UPDATE node SET tags = ? WHERE id = ?", "ti",
				    op->tags, (int64_t)op->node)) &&
	       (!op->routes || db_run(db, err, "UPDATE node SET routes = ? WHERE id = ?", "ti",
				      op->routes, (int64_t)op->node)) &&
	       (!op->report || db_run(db, err, "UPDATE node SET report = ? WHERE id = ?", "ti",
				      op->report, (int64_t)op->node)) &&
	       (!op->os || db_run(db, err, "UPDATE node SET os = ? WHERE id = ?", "ti", op->os,
				  (int64_t)op->node)) &&
	       part_seq(db, &job->changes, err) && part_node(db, op->node, &job->changes, err);
}

static void node_set_free(struct store_job *job)
{
	struct node_set_op *op = container_of(job, struct node_set_op, job);

	free(op->name);
	free(op->tags);
	free(op->routes);
	free(op->report);
	free(op->os);
	free(op);
}

struct node_set_op *node_set_op_new(uint64_t node)
{
	struct node_set_op *op = op_make(struct node_set_op, node_set_work, node_set_free);

	op->node = node;
	return op;
}

/* ---- a new mesh ---- */

static bool create(struct db *db, const struct mesh_row *mesh, struct node_row *hub,
		   const char *policy, struct wall now, struct err *err)
{
	char    ula[IP_TEXT_MAX], v4[IP_TEXT_MAX];
	int64_t hub_v4;

	if (!db_run(db, err,
		    "INSERT INTO mesh (one, epoch, seq, ula, v4, name, last_v4) VALUES (1, ?, 1, "
		    "?, ?, ?, 0)",
		    "tttt", mesh->epoch, prefix_text(&mesh->ula, ula), prefix_text(&mesh->v4, v4),
		    mesh->name) ||
	    !part_v4(db, 0, now, &hub_v4, err) ||
	    !part_node_insert(db, hub, hub_v4, now, &hub->id, err))
		return false;
	hub->v4 = ip_from_int(hub_v4);
	return db_run(db, err, "INSERT INTO policy (text, made_by, at) VALUES (?, 0, ?)", "ti",
		      policy, now.sec);
}

bool store_create(const char *path, const struct mesh_row *mesh, struct node_row *hub,
		  const char *policy, struct wall now, struct err *err)
{
	struct db *db = db_open(path, DB_CREATE, err);

	if (!db)
		return false;
	bool ok = schema_migrate(db, err) && db_run(db, err, "BEGIN IMMEDIATE", "") &&
	          create(db, mesh, hub, policy, now, err) && db_run(db, err, "COMMIT", "");
	db_close(db);
	if (!ok)
		unlink(path);
	return ok;
}
