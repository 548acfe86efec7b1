/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/privilege.h"

#include "base/mem.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/landlock.h"
#include "daemon/endpoint/seccomp.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

static bool user_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
	struct passwd pw, *found;
	char room[4096];
	int e = getpwnam_r(name, &pw, room, sizeof(room), &found);

	if (e || !found)
		return err_set(err, ERR_CONFIG,
			       "there is no user \"%s\"; make it with useradd --system "
			       "or systemd-sysusers",
			       name);
	if (pw.pw_uid == 0)
		return err_set(err, ERR_CONFIG, "user \"%s\" is root", name);
	*ret_uid = pw.pw_uid;
	*ret_gid = pw.pw_gid;
	return true;
}

bool privilege_users_find(const struct conf *conf, struct privilege_users *ret_u, struct err *err)
{
	struct privilege_users u = {
		geteuid(), geteuid(), geteuid(), getegid(), getegid(), getegid(),
	};

	if (geteuid() == 0) {
		if (!user_find(conf->user, &u.core, &u.core_group, err) ||
		    !user_find(conf->front_user, &u.front, &u.front_group, err))
			return false;
		if (u.core == u.front)
			return err_set(err, ERR_CONFIG, "\"user\" and \"front-user\" are one user");
		if (conf->mode != CONF_STANDALONE) {
			if (!user_find(conf->tunnel_user, &u.tunnel, &u.tunnel_group, err))
				return false;
			if (u.tunnel == u.core || u.tunnel == u.front)
				return err_set(err, ERR_CONFIG,
					       "\"tunnel-user\" is another process's user");
		}
	}
	*ret_u = u;
	return true;
}

/* capset(2) has no wrapper in libc; version 3 has two words a set. */
static bool caps_set(uint64_t caps, uint64_t inheritable, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2], have[2];

	/* a container may not have all of them */
	if (syscall(SYS_capget, &head, have) < 0)
		return err_sys(err, "capget");
	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(caps >> (32 * i)) & have[i].permitted;
		data[i].effective = data[i].permitted;
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i)) & data[i].permitted;
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(err, "capset");
	return true;
}

/* What no program that is started from here can have either. */
static bool bounding_set(uint64_t keep, struct err *err)
{
	for (int cap = 0; cap < 64; cap++) {
		if (keep & CAP_BIT(cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break;          /* beyond the kernel's last one */
			return err_sys(err, "dropping capability %d", cap);
		}
	}
	return true;
}

static bool become(uid_t uid, gid_t gid, struct err *err)
{
	uid_t r, e, s;

	/* Groups first: they take the privilege that the user change gives away. */
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(err, "becoming user %u, group %u", uid, gid);
	if (getresuid(&r, &e, &s) < 0 || r != uid || e != uid || s != uid || setuid(0) == 0)
		return err_set(err, ERR_SYS, "user %u can still become root", uid);
	return true;
}

static bool limit(int what, rlim_t n, const char *name, struct err *err)
{
	struct rlimit have, want = { n, n };

	if (getrlimit(what, &have) < 0)
		return err_sys(err, "%s", name);
	if (have.rlim_max < n)
		want.rlim_cur = want.rlim_max = have.rlim_max;
	if (setrlimit(what, &want) < 0)
		return err_sys(err, "%s", name);
	return true;
}

/* What a setuid program and this one's children would undo or must not have. */
static bool common(struct err *err)
{
	if (!limit(RLIMIT_CORE, 0, "RLIMIT_CORE", err))
		return false;
	/* After the user change, which resets both. A leak checker traces its own process. */
	if ((seccomp_built() && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, "prctl");
	return true;
}

/* Net's with a mesh; CHOWN keeps the hosts file whose it was. Until it knows its configuration it has
 * SETPCAP as well, to give the rest away. */
#define NET_CAPS       (CAP_BIT(CAP_NET_ADMIN) | CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_CHOWN))
#define NET_FIRST_CAPS (NET_CAPS | CAP_BIT(CAP_SETPCAP))

bool privilege_parent(struct err *err)
{
	/* SETUID, SETGID and KILL are for its children, the tunnel among them. */
	uint64_t caps = NET_FIRST_CAPS | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_KILL) |
			CAP_BIT(CAP_SYS_CHROOT) | CAP_BIT(CAP_DAC_READ_SEARCH);

	if (geteuid() == 0 && (!bounding_set(caps, err) || !caps_set(caps, 0, err)))
		return false;
	if (!limit(RLIMIT_CORE, 0, "RLIMIT_CORE", err))
		return false;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, "prctl");
	return true;
}

bool privilege_enter(enum process_kind kind, uid_t uid, gid_t gid, const char *root,
		     struct err *err)
{

	if (geteuid() != 0)
		return common(err);
	/* A leak checker needs /proc and a thread of its own. */
	if (root && seccomp_built() && (chroot(root) < 0 || chdir("/") < 0))
		return err_sys(err, "chroot to %s", root);
	if (kind == PROCESS_NET) {
		/* privilege_net() takes the rest when it is known what it is for */
		if (!bounding_set(NET_FIRST_CAPS, err) || !caps_set(NET_FIRST_CAPS, 0, err))
			return false;
	} else {
		if (!bounding_set(0, err) || !become(uid, gid, err) || !caps_set(0, 0, err))
			return false;
		/* Neither has children; a front writes no file (memory files count as such). */
		if (seccomp_built() &&
		    !limit(RLIMIT_NPROC, kind == PROCESS_CORE ? 64 : 0, "RLIMIT_NPROC", err))
			return false;
	}
	return common(err);
}

bool privilege_front(struct err *err)
{
	if (seccomp_built() && !landlock_nothing(err))
		return false;
	return seccomp_front(err);
}

/* The folder of a file that may not be there yet. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash != path ? mem_dup(path, (size_t)(slash - path)) : mem_strdup("/");
}

bool privilege_core(const struct conf *conf, struct err *err)
{
	scoped_free char *audit = *conf->audit ? folder_of(conf->audit) : NULL;
	const struct landlock_path paths[] = {
		{"/", LANDLOCK_READ}, /* policy, identities, certificates: anywhere its user may */
		{conf->state_dir, LANDLOCK_WRITE},
		{conf->run_dir, LANDLOCK_WRITE},
		{"/dev/null", LANDLOCK_WRITE},
		{audit, LANDLOCK_WRITE},
	};

	if (!landlock_paths(paths, array_size(paths), err))
		return false;
	return seccomp_core(err);
}

bool privilege_net(const struct conf *conf, struct err *err)
{
	bool mesh = conf->mode != CONF_STANDALONE;

	if (geteuid() == 0) {
		uint64_t caps = CAP_BIT(CAP_NET_BIND_SERVICE);

		if (mesh)
			caps = NET_CAPS;
		/* the bounding set needs SETPCAP, which the second line may drop */
		if (!bounding_set(caps, err) || !caps_set(caps, 0, err))
			return false;
	}
	/* In standalone mode root's files are of no concern to it. With a mesh it writes the hosts
	 * file, and so its folder, and kernel settings: a list would name all that matters. */
	if (!mesh) {
		static const struct landlock_path readable[] = { { "/", LANDLOCK_READ } };

		if (!landlock_paths(readable, array_size(readable), err))
			return false;
	}
	return seccomp_net(mesh, err);
}

bool privilege_tunnel(uid_t uid, gid_t gid, struct err *err)
{
	const uint64_t cap = CAP_BIT(CAP_NET_ADMIN);

	if (!bounding_set(cap, err))
		return false;
	/* The user change clears the permitted set unless asked not to; what is
	 * inheritable and ambient then survives the exec of a program without any
	 * capability of its own. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(err, "PR_SET_KEEPCAPS");
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(err, "becoming user %u, group %u", uid, gid);
	if (!caps_set(cap, cap, err))
		return false;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) < 0)
		return err_sys(err, "PR_CAP_AMBIENT");
	return common(err);
}
