// Before the Go runtime starts its threads, `agentjail run` moves into a mount
// namespace of its own; a caller without CAP_SYS_ADMIN into a user namespace of its
// own first, in which the caller's ids stay what they are.
//
// What for: the jail's scratch root lies on a tmpfs that only the supervisor sees,
// so that it is gone with the supervisor, however that ends. And libcontainer gives each container a copy of this binary that nothing
// inside can write to (CVE-2019-5736). A process that may mount gets that copy as a
// read-only overlay of the file, for nothing; any other pays for copying the whole
// binary into a memfd, 1.5 ms a megabyte. A user namespace can be entered by a
// process with one thread only (unshare(2)), so it has to happen here.
//
// The supervisor gains nothing over the host by it: its capabilities hold over that
// namespace alone, and its kernel uid and groups are the caller's as before.
//
// Where the host refuses, nothing is changed: the scratch root is a folder, the copy
// is made, and whether the jail itself can have its namespaces is found out, with the
// mend, when it is built.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int may_mount(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0, sizeof d);
	if (syscall(SYS_capget, &h, d) != 0)
		return 1;
	return (d[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

// agentjail_private is 1 once this process may mount without anybody seeing it.
int agentjail_private;

__attribute__((constructor)) static void private_namespaces(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "run") != 0)
		return;
	if (may_mount()) {
		if (unshare(CLONE_NEWNS) != 0)
			return;
	} else {
		char uid[64], gid[64];
		snprintf(uid, sizeof uid, "%u %u 1", geteuid(), geteuid());
		snprintf(gid, sizeof gid, "%u %u 1", getegid(), getegid());
		// /proc must be writable before there is no way back.
		if (access("/proc/self/uid_map", W_OK) != 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			return;
		// Gaining capabilities made us non-dumpable, and /proc/self root's.
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		if (put("/proc/self/setgroups", "deny") != 0 || put("/proc/self/gid_map", gid) != 0 ||
		    put("/proc/self/uid_map", uid) != 0) {
			// There is no going on as nobody.
			dprintf(2, "agentjail: user namespace: the caller's own id could not be mapped: %s\n"
				   "agentjail: hint: `agentjail doctor` shows what this host allows\n", strerror(errno));
			_exit(125);
		}
	}
	// What the host mounts still comes here; nothing of ours goes there.
	if (mount("", "/", "", MS_SLAVE | MS_REC, NULL) == 0)
		agentjail_private = 1;
}
