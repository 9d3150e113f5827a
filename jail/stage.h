// The agent's stage: what happens between PID 1's fork and the agent's first
// instruction. See stage.c.
#ifndef AGENTJAIL_STAGE_H
#define AGENTJAIL_STAGE_H

#include <linux/filter.h>
#include <stdint.h>

struct stage_rlimit {
	int resource;
	uint64_t soft, hard; // struct rlimit64, prlimit(2)
};

struct stage {
	int sync_fd;    // a byte arrives here when uid_map and gid_map are written
	int report_fd;  // SOCK_SEQPACKET: one struct stage_report with the listener, then EOF or an errno
	int ruleset_fd; // Landlock ruleset; -1 only in a build that leaves the layer out
	int stdio[3];
	int terminal;   // stdio is a pty whose session PID 1 leads
	int unshares;   // the profile opens unshare(2): trying it would do it
	uint32_t uid, gid; // in the inner user namespace
	const char *path;  // of the command, resolved
	const char *cwd;
	const char *canary; // exists, and no Landlock rule covers it
	char **argv;
	char **envp;
	struct sock_filter *filter;
	unsigned short filter_len;
	struct stage_rlimit *rlimits;
	int rlimits_len;
#ifdef AGENTJAIL_MUTATE
	unsigned off; // enum stage_layer, see package mutate
#endif
};

#ifdef AGENTJAIL_MUTATE
enum stage_layer { OFF_ANY = 1, OFF_USER = 2, OFF_CAPS = 4, OFF_NNP = 8, OFF_FDS = 16 };
#define OFF(s, layer) ((s)->off & (layer))
#else
#define OFF(s, layer) 0
#endif

// What the stage found in force, by trying, after it was applied and before exec.
enum stage_check {
	CHECK_LANDLOCK = 1 << 0, // reading the canary: EACCES
	CHECK_SECCOMP = 1 << 1,  // prctl(PR_GET_SECCOMP) is 2 and a call that does not exist: EPERM
	CHECK_USERNS = 1 << 2,   // unshare(CLONE_NEWUSER): EPERM
	CHECK_CAPS = 1 << 3,     // every capability set is empty, the bounding set too
	CHECK_NNP = 1 << 4,      // no_new_privs is 1
	CHECK_USER = 1 << 5,     // uid and gid are the agent's, saved and fs ids too
};

struct stage_report {
	int32_t step;  // 0: ready, about to exec; else the enum stage_step that failed
	int32_t error; // errno of the failed step
	int32_t checks;
};

enum stage_step {
	STEP_READY = 0,
	STEP_SYNC,
	STEP_USER,
	STEP_SESSION,
	STEP_STDIO,
	STEP_RLIMIT,
	STEP_CWD,
	STEP_CAPS,
	STEP_NNP,
	STEP_LANDLOCK,
	STEP_SECCOMP,
	STEP_EXEC,
};

// STAGE_UNWATCHED is the sixth argument of a call that a learning run's filter passes
// by: it meets the ordinary filter, whoever makes it.
#define STAGE_UNWATCHED 0x6167656e746a6c75L

// stage_spawn clones the stage into a new user namespace and returns its pid, or
// -errno.
int stage_spawn(const struct stage *s);

#endif
