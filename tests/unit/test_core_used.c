/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/unit/core_rig.h"

/* What a host tells of who uses it, to a coordinator that does not always hear. */

/* The report after the first n. */
static bool reported(struct coordinator *co, unsigned n, char ret_used[512])
{
	bool yes = false;

	for (int i = 0; i < 2400 && !yes; i++) {
		pthread_mutex_lock(&co->lock);
		yes = co->used_count > n;
		snprintf(ret_used, 512, "%s", co->used);
		pthread_mutex_unlock(&co->lock);
		if (!yes)
			poll(NULL, 0, 25);
	}
	return yes;
}

static unsigned answers(struct coordinator *co, const char *how)
{
	pthread_mutex_lock(&co->lock);
	unsigned n = co->used_count;
	co->used_answer = how;
	pthread_mutex_unlock(&co->lock);
	return n;
}

static void uses(struct rig *r, const struct snapshot *s)
{
	struct msg m = { .type = MSG_USED };

	m.used.snapshot = r->snapshot;
	m.used.slot = slot_of(s, "100.64.0.2");
	tell(r->front, &m, -1);
}

START_TEST(said_again)
{
	static const char one[] = "{\"v\":1,\"used\":[\"n2\"]}";
	struct device self, laptop;
	struct coordinator co = { .used_answer = "503 Service Unavailable" };
	struct snapshot *s;
	struct rig r;
	char words[1024], used[512];
	char *text;

	make_device(&self);
	make_device(&laptop);
	start(&r);
	mesh_state(&r, &self);
	coordinator_start(&co, &r);
	ck_assert_msg(prepare(&r, conf_mesh, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	write_map(&r, &self, &laptop, 7, true, NULL);
	text = read_back(&r, "map.ndjson");
	say(&co, text);
	free(text);
	while (s = next_snapshot(&r), !allows(s, "100.64.0.2", "/"))
		snapshot_unref(s);

	/* However often it is used, it is said once. */
	uses(&r, s);
	uses(&r, s);
	ck_assert(reported(&co, 0, used));
	ck_assert_str_eq(used, one);
	/* It was refused for now; then the coordinator is away for a while, and nothing is used since. */
	coordinator_stop(&co);
	coordinator_start(&co, &r);
	unsigned n = answers(&co, "");
	say(&co, "{\"op\":\"beat\",\"now\":1790000000}\n");
	ck_assert_msg(reported(&co, n, used), "who used the host before is not said again");
	ck_assert_str_eq(used, one);
	/* Not answered at all this time. With what is used meanwhile it is one entry still. */
	n = answers(&co, NULL);
	uses(&r, s);
	ck_assert(reported(&co, n, used));
	ck_assert_str_eq(used, one);
	snapshot_unref(s);
	coordinator_stop(&co);
	end(&r);
	secret_done(&self.key);
	secret_done(&laptop.key);
}
END_TEST

UNIT_MAIN("core_used", said_again)
