/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/seccomp.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

bool seccomp_built(void)
{
	return !SANITIZED;
}

static bool rule(scmp_filter_ctx ctx, uint32_t action, int call, const char *name, struct err *err)
{
	int r = seccomp_rule_add(ctx, action, call, 0);

	/* EDOM, and negative numbers: this architecture has no such call */
	if (r < 0 && r != -EDOM) {
		errno = -r;
		return err_sys(err, "seccomp rule for %s", name);
	}
	return true;
}

static bool rules(scmp_filter_ctx ctx, uint32_t action, const char *const *names, struct err *err)
{
	for (; *names; names++) {
		int call = seccomp_syscall_resolve_name(*names);

		/* a library older than the call cannot name it: an allow-list loses nothing */
		if (call == __NR_SCMP_ERROR)
			continue;
		if (!rule(ctx, action, call, *names, err))
			return false;
	}
	return true;
}

static bool load(scmp_filter_ctx ctx, struct err *err)
{
	/* a binary tree; the library may be old */
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);

	(void)r;
	r = seccomp_load(ctx);
	if (r < 0) {
		errno = -r;
		return err_sys(err, "loading the seccomp filter");
	}
	return true;
}

/* Nobody calls these by accident. */
static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kexec_load",
	"kexec_file_load", "init_module", "finit_module", "delete_module", "pivot_root", "bpf",
	"userfaultfd", "open_by_handle_at", "perf_event_open", "pidfd_getfd", "kcmp", NULL,
};

static const char *const front_calls[] = {
	/* connections and channels */
	"accept4", "close", "getpeername", "getsockname", "getsockopt", "setsockopt", "shutdown",
	"read", "readv", "recvfrom", "recvmsg", "write", "writev",
	"epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
	/* memory files that neighbours send */
	"fstat", "lseek", "pread64",
	/* memory, time, randomness */
	"brk", "munmap", "mremap", "madvise", "mlock", "munlock", "futex", "getrandom",
	"clock_gettime", "gettimeofday", "time", "clock_nanosleep", "restart_syscall",
	"sched_yield",
	/* the end, and abort() */
	"exit", "exit_group", "getpid", "gettid", "tgkill", "rt_sigaction", "rt_sigprocmask",
	"rt_sigreturn", "sigaltstack", NULL,
};

/* Calls that are fine with some arguments only. */
static bool front_careful(scmp_filter_ctx ctx, struct err *err)
{
	const struct { const char *name; unsigned args; struct scmp_arg_cmp cmp[2]; } careful[] = {
		/* no code that was not there at the start */
		{ "mmap", 1, { SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) } },
		{ "mprotect", 1, { SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) } },
		/* MSG_FASTOPEN on a closed TCP socket is connect(2) by another name */
		{ "sendto", 1, { SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0) } },
		{ "sendmsg", 1, { SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0) } },
		{ "fcntl", 1, { SCMP_A1(SCMP_CMP_EQ, F_GET_SEALS, 0) } },
		{ "fcntl", 1, { SCMP_A1(SCMP_CMP_EQ, F_GETFL, 0) } },
		{ "fcntl", 1, { SCMP_A1(SCMP_CMP_EQ, F_GETFD, 0) } },
		{ "fcntl", 1, { SCMP_A1(SCMP_CMP_EQ, F_DUPFD_CLOEXEC, 0) } },
		{ "ioctl", 1, { SCMP_A1(SCMP_CMP_EQ, FIONREAD, 0) } },
		/* between sockets and the pipes made before: none of them has an offset */
		{ "splice", 2, { SCMP_A1(SCMP_CMP_EQ, 0, 0), SCMP_A3(SCMP_CMP_EQ, 0, 0) } },
		/* fstat() with newer C libraries: an empty path; another finds nothing */
		{ "newfstatat", 1, { SCMP_A3(SCMP_CMP_MASKED_EQ, 0x1000, 0x1000) } },
	};

	for (size_t i = 0; i < array_size(careful); i++) {
		int r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW,
		                               seccomp_syscall_resolve_name(careful[i].name),
		                               careful[i].args, careful[i].cmp);

		if (r < 0 && r != -EDOM) {
			errno = -r;
			return err_sys(err, "seccomp rule for %s", careful[i].name);
		}
	}
	return true;
}

bool seccomp_front(struct err *err)
{
	if (SANITIZED)
		return true;

	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	bool ok;

	if (!ctx)
		return err_set(err, ERR_SYS, "seccomp_init");
	ok = rules(ctx, SCMP_ACT_ALLOW, front_calls, err) && front_careful(ctx, err) &&
	     rules(ctx, SCMP_ACT_KILL_PROCESS, deadly, err) && load(ctx, err);
	seccomp_release(ctx);
	return ok;
}

/* What neither core nor net has a use for. */
static const char *const useless[] = {
	"mount", "umount2", "move_mount", "fsopen", "fsconfig", "fsmount", "open_tree", "fspick",
	"mount_setattr", "chroot", "swapon", "swapoff", "reboot", "acct", "quotactl",
	"settimeofday",
	"clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "syslog",
	"add_key", "request_key", "keyctl", "unshare", "setns", "iopl", "ioperm", "modify_ldt",
	"personality", "vhangup", "nfsservctl", "lookup_dcookie", "name_to_handle_at",
	"fanotify_init",
	"io_uring_setup", "io_uring_enter", "io_uring_register", "mknod", "mknodat",
	"process_madvise",
	"migrate_pages", "move_pages", "mbind", "set_mempolicy", "landlock_create_ruleset", NULL,
};

static const char *const users[] = {
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid",
	"setfsgid",
	"setgroups", "capset", NULL,
};

static const char *const ownership[] = { "chown", "fchown", "lchown", "fchownat", NULL };

bool seccomp_core(struct err *err)
{
	if (SANITIZED)
		return true;

	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	bool ok;

	if (!ctx)
		return err_set(err, ERR_SYS, "seccomp_init");
	ok = rules(ctx, SCMP_ACT_KILL_PROCESS, deadly, err) &&
	     rules(ctx, SCMP_ACT_ERRNO(EPERM), useless, err) &&
	     rules(ctx, SCMP_ACT_ERRNO(EPERM), users, err) &&
	     rules(ctx, SCMP_ACT_ERRNO(EPERM), ownership, err) && load(ctx, err);
	seccomp_release(ctx);
	return ok;
}

bool seccomp_net(bool mesh, struct err *err)
{
	if (SANITIZED)
		return true;

	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	bool ok;

	if (!ctx)
		return err_set(err, ERR_SYS, "seccomp_init");
	ok = rules(ctx, SCMP_ACT_KILL_PROCESS, deadly, err) &&
	     rules(ctx, SCMP_ACT_ERRNO(EPERM), useless, err) &&
	     rules(ctx, SCMP_ACT_ERRNO(EPERM), users, err);
	/* The hosts file stays whose it was. */
	if (ok && !mesh)
		ok = rules(ctx, SCMP_ACT_ERRNO(EPERM), ownership, err);
	ok = ok && load(ctx, err);
	seccomp_release(ctx);
	return ok;
}
