// The agent's stage, in C because it runs between fork and exec of a process with
// many threads: only raw, async-signal-safe system calls, no allocation, no libc
// state. A third start of the Go runtime would cost 3 to 5 ms more.
//
//	clone(CLONE_NEWUSER)
//	  wait for the maps → become the agent's user → session, stdio, limits, cwd
//	  → empty every capability set → no_new_privs → Landlock → seccomp
//	  → try what must be refused → report, with the seccomp listener → exec
//
// The order is forced: Landlock and seccomp need no_new_privs or CAP_SYS_ADMIN,
// the bounding set is full again in a new user namespace and needs CAP_SETPCAP to
// be emptied, and nothing but the report and exec may come after the filter.
#define _GNU_SOURCE
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) // Linux 5.19
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

// The kernel's sigaction, not libc's: libc's wrapper refuses its own two signals.
struct kernel_sigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static void reset_signals(void)
{
	struct kernel_sigaction sa;
	memset(&sa, 0, sizeof sa);
	for (int sig = 1; sig <= 64; sig++)
		syscall(SYS_rt_sigaction, sig, &sa, NULL, sizeof sa.mask);
}

static void report(const struct stage *s, int step, int error, int checks, int listener)
{
	struct stage_report r = {step, error, checks};
	struct iovec iov = {&r, sizeof r};
	struct msghdr msg;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	memset(&msg, 0, sizeof msg);
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (listener >= 0) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof control.buf;
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &listener, sizeof listener);
	}
	syscall(SYS_sendmsg, s->report_fd, &msg, MSG_NOSIGNAL);
}

static void fail(const struct stage *s, int step)
{
	report(s, step, errno, 0, -1);
	syscall(SYS_exit_group, 125);
	__builtin_unreachable();
}

// become takes the agent's ids. Supplementary groups can be given up only where
// setgroups is allowed (not under a single mapping, user_namespaces(7)); there the
// caller's groups stay, unmapped, and the file view is what keeps them harmless.
static void become(const struct stage *s)
{
	if (syscall(SYS_setgroups, 0, NULL) != 0 && errno != EPERM)
		fail(s, STEP_USER);
	if (syscall(SYS_setresgid, s->gid, s->gid, s->gid) != 0)
		fail(s, STEP_USER);
	// Keep capabilities over the change of uid; they are emptied below.
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		fail(s, STEP_USER);
	if (syscall(SYS_setresuid, s->uid, s->uid, s->uid) != 0)
		fail(s, STEP_USER);
}

static void session(const struct stage *s)
{
	if (!s->terminal) {
		if (syscall(SYS_setsid) < 0)
			fail(s, STEP_SESSION);
		return;
	}
	// PID 1 leads the terminal's session; the agent gets a process group of its
	// own in it, so that Ctrl-Z stops it: a stop is ignored by an orphaned group.
	if (syscall(SYS_setpgid, 0, 0) != 0)
		fail(s, STEP_SESSION);
	pid_t group = syscall(SYS_getpid);
	if (ioctl(s->stdio[0], TIOCSPGRP, &group) != 0)
		fail(s, STEP_SESSION);
}

static void stdio(const struct stage *s)
{
	// PID 1 holds these descriptors above 2, so no dup2 overwrites one of them.
	for (int i = 0; i < 3; i++)
		if (syscall(SYS_dup3, s->stdio[i], i, 0) < 0)
			fail(s, STEP_STDIO);
	if (!OFF(s, OFF_FDS) && syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
		fail(s, STEP_STDIO);
}

static void drop_capabilities(const struct stage *s)
{
	if (OFF(s, OFF_CAPS))
		return;
	for (int c = 0; !OFF(s, OFF_USER) && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0)
			fail(s, STEP_CAPS);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		fail(s, STEP_CAPS);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0, sizeof d);
	if (syscall(SYS_capset, &h, d) != 0)
		fail(s, STEP_CAPS);
}

static int load_filter(const struct stage *s)
{
	struct sock_fprog prog = {s->filter_len, s->filter};
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	// With WAIT_KILLABLE_RECV a signal can't interrupt an exec that the supervisor
	// already looks at; without it (before 5.19) the call is only restarted.
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog);
	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (fd < 0)
		fail(s, STEP_SECCOMP);
	return fd;
}

static int check(const struct stage *s)
{
	int found = 0;
	if (OFF(s, OFF_ANY)) // trying what must be refused would do it
		return 0;
	// In a learning run whoever answers the watched calls is not there yet, so these
	// are marked as not to be watched (observe_filter.go); no call here has six arguments.
	long fd = syscall(SYS_openat, AT_FDCWD, s->canary, O_RDONLY | O_CLOEXEC, 0, 0, STAGE_UNWATCHED);
	if (fd < 0 && errno == EACCES)
		found |= CHECK_LANDLOCK;
	// Call 500 does not exist: a kernel answers ENOSYS, the filter's default EPERM,
	// and no profile can open it.
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 && syscall(500, 0, 0, 0, 0, 0, STAGE_UNWATCHED) < 0 && errno == EPERM)
		found |= CHECK_SECCOMP;
	if (!s->unshares && syscall(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0, STAGE_UNWATCHED) < 0 && errno == EPERM)
		found |= CHECK_USERNS;

	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0xff, sizeof d);
	int empty = syscall(SYS_capget, &h, d) == 0;
	for (int i = 0; i < 2; i++)
		empty = empty && !d[i].effective && !d[i].permitted && !d[i].inheritable;
	for (int c = 0, held; (held = prctl(PR_CAPBSET_READ, c, 0, 0, 0)) >= 0; c++)
		empty = empty && !held;
	if (empty)
		found |= CHECK_CAPS;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		found |= CHECK_NNP;
	uint32_t r, e, v, gr, ge, gv;
	if (syscall(SYS_getresuid, &r, &e, &v) == 0 && syscall(SYS_getresgid, &gr, &ge, &gv) == 0 &&
	    r == s->uid && e == s->uid && v == s->uid && gr == s->gid && ge == s->gid && gv == s->gid)
		found |= CHECK_USER;
	return found;
}

static void run(const struct stage *s)
{
	reset_signals();
	char go;
	if (syscall(SYS_read, s->sync_fd, &go, 1) != 1) {
		errno = errno ? errno : EPIPE;
		fail(s, STEP_SYNC);
	}
	become(s);
	session(s);
	stdio(s);
	for (int i = 0; i < s->rlimits_len; i++)
		if (syscall(SYS_prlimit64, 0, s->rlimits[i].resource, &s->rlimits[i].soft, NULL) != 0)
			fail(s, STEP_RLIMIT);
	syscall(SYS_umask, 022);
	if (syscall(SYS_chdir, s->cwd) != 0)
		fail(s, STEP_CWD);
	if (!OFF(s, OFF_NNP)) // without it the capabilities are needed for the filter
		drop_capabilities(s);
	if (!OFF(s, OFF_NNP) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fail(s, STEP_NNP);
	if (s->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, s->ruleset_fd, 0) != 0)
		fail(s, STEP_LANDLOCK);
	// The mask stays blocked until here, so that no handler of the Go runtime that
	// was inherited could run on this stack.
	uint64_t none = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
	int listener = load_filter(s);
	if (OFF(s, OFF_NNP))
		drop_capabilities(s);
	report(s, STEP_READY, 0, check(s), listener);
	syscall(SYS_close, listener);
	syscall(SYS_execve, s->path, s->argv, s->envp);
	report(s, STEP_EXEC, errno, 0, -1);
	syscall(SYS_exit_group, errno == ENOENT ? 127 : 126);
}

int stage_spawn(const struct stage *s)
{
	uint64_t all = ~0ULL, old;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof all);
#if defined(__s390x__)
#error "clone's arguments are in another order here"
#endif
	long pid = syscall(SYS_clone, (OFF(s, OFF_USER) ? 0 : CLONE_NEWUSER) | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		run(s);
		syscall(SYS_exit_group, 125);
	}
	int err = errno;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
	return pid < 0 ? -err : pid;
}
