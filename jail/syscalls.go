package jail

import (
	"fmt"
	"sort"
	"strings"

	"github.com/agentjail/agentjail/profiles"
)

// allowedCalls is the base allowlist: what ordinary programs, compilers, language
// runtimes and agents call. Everything that is not here answers EPERM.
//
// What is left out on purpose: namespaces (unshare, setns), the mount family and
// chroot, keyrings, bpf, perf_event_open, userfaultfd, io_uring (it opens sockets
// and files past this filter), ptrace and process_vm_* and pidfd_getfd and kcmp,
// modules, kexec, open_by_handle_at (CVE-2014-3519's way out of a container),
// clock setting, quotas, swap, accounting, fanotify, NUMA page moving, and the
// old calls that nothing uses any more (uselib, ustat, sysfs, vm86, modify_ldt).
//
// Names that the build's libseccomp does not know for this architecture are
// passed over (open, fork ... do not exist on arm64).
var allowedCalls = strings.Fields(`
accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir
chmod chown clock_getres clock_gettime clock_nanosleep close close_range connect
copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat
fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue
futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64
getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid
getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list
getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid
getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get
ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
lchown lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek
lsetxattr lstat madvise map_shadow_stack membarrier memfd_create mincore mkdir
mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv
msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2
pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
poll ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev
pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg
remap_file_pages removexattr rename renameat renameat2 restart_syscall
riscv_flush_icache rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto
setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid
setresgid setresuid setreuid setrlimit set_robust_list setsid setsockopt
set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt shmget
shutdown sigaltstack signalfd signalfd4 splice stat statfs statx
symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname
unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
`)

// notifiedCalls go to the supervisor, which records them and lets the kernel go
// on. The record is for the trail, never the boundary: another thread can rewrite
// the arguments in between (seccomp_unotify(2)).
var notifiedCalls = []string{"execve", "execveat"}

// absentCalls answer ENOSYS, so that a libc takes its older way: clone3's flags
// are behind a pointer that a filter can't read, and the new mount API is how
// CVE-2022-0185 was reached.
var absentCalls = strings.Fields(`clone3 fsopen fsconfig fsmount fspick open_tree
move_mount mount_setattr`)

// absentFrom is the first system call number that the newest libseccomp in use
// (2.5.4) may not know by name; numbers are the same on every architecture since
// Linux 5.0. Up to absentTo they answer ENOSYS unless allowed by number, since
// libcs probe new calls and fall back on ENOSYS only, never on EPERM.
const (
	absentFrom = 451
	absentTo   = 480
)

// numberedCalls are calls that libseccomp 2.5.4 does not know yet, from the
// kernel's scripts/syscall.tbl.
var numberedCalls = map[string]int{
	"cachestat":        451, // 6.5
	"fchmodat2":        452, // 6.6
	"map_shadow_stack": 453, // 6.6
	"futex_wake":       454, // 6.7
	"futex_wait":       455, // 6.7
	"futex_requeue":    456, // 6.7
	"mseal":            462, // 6.10
}

// syscallGroups are what a profile may open by name: syscalls { allow = ["@ptrace"] }.
var syscallGroups = map[string][]string{
	"@ptrace":    {"ptrace", "process_vm_readv", "process_vm_writev", "kcmp"},
	"@namespace": {"unshare", "setns", "clone", "chroot", "pivot_root", "mount", "umount2"},
	"@io_uring":  {"io_uring_setup", "io_uring_enter", "io_uring_register"},
	"@keyring":   {"add_key", "request_key", "keyctl"},
	"@bpf":       {"bpf"},
	"@perf":      {"perf_event_open"},
	"@numa":      {"get_mempolicy", "set_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy_home_node"},
	"@handles":   {"name_to_handle_at", "open_by_handle_at"},
	"@faults":    {"userfaultfd"},
	"@clock":     {"adjtimex", "clock_adjtime", "clock_settime", "settimeofday"},
}

// SyscallGroups are the names of the groups that a profile may open.
func SyscallGroups() []string {
	names := make([]string, 0, len(syscallGroups))
	for n := range syscallGroups {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// openedCalls resolves what a profile opens beyond the base allowlist. known says
// whether a name is a system call of this architecture or another.
func openedCalls(opened []profiles.Syscall, known func(string) bool) ([]string, error) {
	set := map[string]bool{}
	for _, s := range opened {
		if strings.HasPrefix(s.Name, "@") {
			group, ok := syscallGroups[s.Name]
			if !ok {
				return nil, fmt.Errorf("%s: there is no group of system calls named %q\nhint: the groups are %s", s.Origin, s.Name, strings.Join(SyscallGroups(), " "))
			}
			for _, n := range group {
				set[n] = true
			}
			continue
		}
		if _, ok := numberedCalls[s.Name]; !ok && !known(s.Name) {
			return nil, fmt.Errorf("%s: %q is not a system call that this build knows", s.Origin, s.Name)
		}
		set[s.Name] = true
	}
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, nil
}
