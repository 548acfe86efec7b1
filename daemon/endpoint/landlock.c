/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/landlock.h of Debian 12 ends with the second version of the interface;
 * the numbers are the kernel's, and the same for every machine. */
enum {
	CREATE_VERSION = 1,     /* flag of landlock_create_ruleset: ask for the version */
	RULE_PATH = 1,          /* LANDLOCK_RULE_PATH_BENEATH */
};

struct ruleset {
	uint64_t fs;            /* version 1 */
	uint64_t net;           /* 4 */
	uint64_t scoped;        /* 6 */
};

struct __attribute__((packed)) path_rule {
	uint64_t access;
	int32_t  fd;
};

enum {
	FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4, FS_REMOVE_FILE = 1 << 5, FS_MAKE_CHAR = 1 << 6,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8, FS_MAKE_SOCK = 1 << 9, FS_MAKE_FIFO = 1 << 10,
	FS_MAKE_BLOCK = 1 << 11,
	FS_MAKE_SYM = 1 << 12, FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15,

	FS_FILE = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
	FS_READS = FS_READ_FILE | FS_READ_DIR,
	FS_WRITES = FS_READS | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR |
	            FS_MAKE_REG | FS_MAKE_SOCK | FS_REFER | FS_TRUNCATE,

	NET_BIND = 1 << 0, NET_CONNECT = 1 << 1,
	SCOPE_ABSTRACT = 1 << 0, SCOPE_SIGNAL = 1 << 1,
};

int landlock_version(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	return v < 0 ? 0 : (int)v;
}

/* The rights that a version knows: an unknown bit would be refused. */
static struct ruleset all_of(int version)
{
	struct ruleset r = { .fs = FS_MAKE_SYM * 2 - 1 };

	if (version >= 2)
		r.fs |= FS_REFER;
	if (version >= 3)
		r.fs |= FS_TRUNCATE;
	if (version >= 4)
		r.net = NET_BIND | NET_CONNECT;
	if (version >= 5)
		r.fs |= FS_IOCTL_DEV;
	if (version >= 6)
		r.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	return r;
}

static size_t size_of(int version)
{
	return version >= 6 ? sizeof(struct ruleset) :
	       version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
}

static bool add_path(int rules, const struct ruleset *all, const struct landlock_path *p,
                     struct err *err)
{
	struct stat st;
	int fd = p->path ? open(p->path, O_PATH | O_CLOEXEC) : -1;

	if (fd < 0)
		return true;

	struct path_rule rule = { p->access == LANDLOCK_WRITE ? FS_WRITES : FS_READS, fd };
	bool ok = fstat(fd, &st) == 0;

	rule.access &= all->fs;
	if (ok && !S_ISDIR(st.st_mode))
		rule.access &= FS_FILE;
	ok = ok && syscall(SYS_landlock_add_rule, rules, RULE_PATH, &rule, 0) == 0;
	if (!ok)
		err_sys(err, "landlock rule for %s", p->path);
	close(fd);
	return ok;
}

static bool restrict_to(const struct ruleset *all, int version, const struct landlock_path *paths,
                        size_t n, struct err *err)
{
	int rules = (int)syscall(SYS_landlock_create_ruleset, all, size_of(version), 0);
	bool ok = true;

	if (rules < 0)
		return err_sys(err, "landlock_create_ruleset");
	for (size_t i = 0; ok && i < n; i++)
		ok = add_path(rules, all, &paths[i], err);
	if (ok && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	           syscall(SYS_landlock_restrict_self, rules, 0) < 0))
		ok = err_sys(err, "landlock_restrict_self");
	close(rules);
	return ok;
}

bool landlock_nothing(struct err *err)
{
	int version = landlock_version();
	struct ruleset all = all_of(version);

	return version == 0 || restrict_to(&all, version, NULL, 0, err);
}

bool landlock_paths(const struct landlock_path *paths, size_t n, struct err *err)
{
	int version = landlock_version();
	struct ruleset all = all_of(version);

	all.net = 0;
	all.scoped = 0;
	/* before version 3, what is not handled cannot be allowed: truncating stays free */
	return version == 0 || restrict_to(&all, version, paths, n, err);
}
