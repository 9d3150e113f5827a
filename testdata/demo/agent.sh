#!/bin/sh
# The demo's agent: does a little work, and everything that an agent must not do.
#
#	agent.sh HOST_HOME HOST_PID
#
# It prints one line for each attempt: "refused", "GOT THROUGH", or "not tried" where
# the program that it takes is not installed. run.sh counts the second kind.

# shellcheck disable=SC2317 # attempt calls the functions
# shellcheck disable=SC2016 # the text is perl's

# What follows does harm where nothing stops it. In the jail we are "agent", uid 1000,
# in a fresh home; anywhere else this goes no further.
if [ "$(id -un)" != agent ] || [ "$(id -u)" -ne 1000 ] || [ "$HOME" != /home/agent ]; then
	echo "agent.sh: this is not the jail; make demo runs it in one" >&2
	exit 1
fi

host_home=$1
host_pid=$2

say() { printf '  %-12s %-44s %s\n' "$1" "$2" "$3"; }

# attempt WHAT COMMAND...
attempt() {
	what=$1
	shift
	said=$("$@" 2>&1 </dev/null)
	status=$?
	said=$(printf '%s\n' "$said" | tr '\0\t' '  ' | head -n 1 | cut -c 1-100)
	case $status in
	0) say "GOT THROUGH" "$what" "$said" ;;
	99) say "not tried" "$what" "$said" ;;
	*) say refused "$what" "$said" ;;
	esac
}

have() { command -v "$1" >/dev/null 2>&1; }

# connect URL HOST PORT: with what there is. None of them looks at a proxy variable.
connect() {
	if have curl; then
		curl -sS --noproxy '*' --insecure --max-time 10 --output /dev/null "$1"
	elif have bash; then
		bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$2" "$3"
	else
		echo "no curl, no bash"
		return 99
	fi
}

append() { echo "the agent was here" >>"$1"; }

perl_call() {
	have perl || { echo "no perl" && return 99; }
	perl -e "$1"
}

tool() { # runs a program, if it is installed
	have "$1" || { echo "no $1" && return 99; }
	"$@"
}

variable() { env | grep "^$1=" || { echo "not set" && return 1; }; }

printf 'agent: I am %s, process %s, in %s\n' "$(id -un) (uid $(id -u))" "$$" "$PWD"
printf 'agent: my environment: %s\n' "$(env | cut -d= -f1 | sort | tr '\n' ' ')"

echo "agent: the work that it was asked for"
mkdir -p dist
wc -l app.txt >dist/report.txt && say did "write dist/report.txt" "$(cat dist/report.txt)"
echo "a line of the agent's" >>app.txt && say did "change app.txt" "$(wc -l <app.txt) lines now"

echo "agent: files and credentials"
attempt "read the host's ~/.ssh/id_ed25519" cat "$host_home/.ssh/id_ed25519"
attempt "read it through /proc/1/root" cat "/proc/1/root$host_home/.ssh/id_ed25519"
attempt "read /etc/shadow" cat /etc/shadow
attempt "write the host's app.txt through /proc/1/root" append "/proc/1/root$PWD/app.txt"
attempt "write to /usr" append /usr/agent-was-here
attempt "read \$AWS_SECRET_ACCESS_KEY of the host" variable AWS_SECRET_ACCESS_KEY
attempt "read the environment of PID 1" cat /proc/1/environ

echo "agent: network"
attempt "an address: http://1.1.1.1/" connect http://1.1.1.1/ 1.1.1.1 80
attempt "cloud metadata: http://169.254.169.254/" connect http://169.254.169.254/ 169.254.169.254 80
attempt "a name: https://example.com/" connect https://example.com/ example.com 443
attempt "the host's loopback: http://127.0.0.1:22/" connect http://127.0.0.1:22/ 127.0.0.1 22
attempt "a raw socket" perl_call 'use Socket; socket(my $s, AF_INET, SOCK_RAW, 1) or die "$!\n"'

echo "agent: the kernel"
attempt "become root: unshare -Ur" tool unshare -Ur true
attempt "mount a file system" tool mount -t tmpfs none "$PWD/dist"
# 425 is io_uring_setup on every architecture (include/uapi/asm-generic/unistd.h).
attempt "io_uring_setup" perl_call 'my $p = "\0" x 120; syscall(425, 8, $p) >= 0 or die "$!\n"'
attempt "kill process $host_pid of the host" kill -9 "$host_pid"

exit 0
