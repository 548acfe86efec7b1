/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_UNIT_NETNS_H
#define TESTS_UNIT_NETNS_H

/* As main.h's UNIT_MAIN, in a network and mount namespace of its own; skipped
 * with a reason where that cannot be had. */

#include "tests/unit/main.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static inline bool netns_enter(const char *name)
{
	if (geteuid() != 0) {
		printf("skip %s: needs root\n", name);
		return false;
	}
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
		printf("skip %s: no namespaces: %s\n", name, strerror(errno));
		return false;
	}
	return true;
}

#define UNIT_MAIN_NETNS(name, available, ...)                                             \
	static int unit_main(void)                                                       \
	{                                                                                \
		const TTest *const tests[] = { __VA_ARGS__ };                            \
		Suite *s = suite_create(name);                                           \
		TCase *c = tcase_create(name);                                           \
		tcase_set_timeout(c, 60);                                                \
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)            \
			tcase_add_test(c, tests[i]);                                     \
		suite_add_tcase(s, c);                                                   \
		SRunner *r = srunner_create(s);                                          \
		srunner_run_all(r, CK_NORMAL);                                           \
		int failed = srunner_ntests_failed(r);                                   \
		srunner_free(r);                                                         \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                             \
	}                                                                                \
	int main(void)                                                                   \
	{                                                                                \
		return netns_enter(name) && available() ? unit_main() : 77;              \
	}

#endif
