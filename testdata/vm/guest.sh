#!/bin/sh
# Runs in the virtual machine of `make vmtest`, as root, from the second disk: every
# part of the tests as root, and again as an ordinary user with a systemd session. What they
# say goes to results/ on that disk, for the host to collect.
set -u
disk=/mnt/agentjail
user=agentjail-test
uid=$(id -u "$user")
cd "$disk" || exit 1

# tests HALF NAME USER PREFIX...: the part NAME through PREFIX, in its package's folder.
tests() {
	half=$1 name=$2 who=$3
	shift 3
	home=$(getent passwd "$who" | cut -d: -f6)
	folder=$disk/src/$(cat "$disk/bin/$name.folder")
	# On the root disk, as on any host: ext4.
	install -d -m 700 -o "$who" "/var/tmp/$half"
	cd "$folder" || return 1
	printf 'vmtest: %s: %s\n' "$half" "$name" >/dev/console
	begun=$(date +%s)
	# What a shell starts in the background ignores Ctrl-C, which tests type.
	# shellcheck disable=SC2086 # the bus is two words or none
	"$@" /usr/bin/env -i --default-signal=INT,QUIT PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME="$home" USER="$who" LOGNAME="$who" SHELL=/bin/sh LANG=C.UTF-8 TMPDIR="/var/tmp/$half" \
		${session:-} CI=true AGENTJAIL_VM=1 AGENTJAIL_BIN="$disk/bin/agentjail" AGENTJAIL_ATTACK="$disk/bin/agentjail-attack" \
		AGENTJAIL_MUTATE_BIN="$disk/bin/agentjail-mutate" \
		"$disk/bin/$(cat "$disk/bin/$name.binary").test" -test.v=test2json -test.timeout=40m \
		-test.run="$(cat "$disk/bin/$name.select")" -test.skip="$(cat "$disk/bin/$name.skip")" \
		</dev/null >"$disk/results/$half.$name.log" 2>&1
	status=$?
	echo "$status" >"$disk/results/$half.$name.status"
	printf 'vmtest: %s: %s: status %s, %s s\n' "$half" "$name" "$status" "$(($(date +%s) - begun))" >/dev/console
}

# Who lingers has a systemd of their own from boot on, but this unit does not wait
# for it.
tries=0
until [ -S "/run/user/$uid/bus" ]; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ]; then
		echo "vmtest: the ordinary user got no systemd session" >/dev/console
		exit 1
	fi
	sleep 0.2
done
bus="XDG_RUNTIME_DIR=/run/user/$uid DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$uid/bus"

root() {
	session=
	tests root "$1" root setsid --wait
}
# A service of the user's own systemd: where a desktop starts its programs.
user() {
	session=$bus
	# shellcheck disable=SC2086 # two words
	tests user "$1" "$user" setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all \
		env $bus systemd-run --user --quiet --pipe --wait --collect --working-directory="$disk/src/$(cat "$disk/bin/$1.folder")"
}
# A login: its processes are in a session's scope, from which only systemd can move
# them to the user's own.
login() {
	session=$bus
	# shellcheck disable=SC2016 # the login's shell has the arguments
	tests login "$1" "$user" su --login "$user" --command='cd "$1" && shift && exec "$@"' -- \
		sh "$disk/src/$(cat "$disk/bin/$1.folder")"
}

# Each in a shell of its own, which is where it changes the folder. Both halves at once,
# a processor for each; but the machine's own tests count what is on the machine, and
# the attack suite has canaries all over it.
# shellcheck disable=SC2013 # one word a line
for name in $(cat bin/names); do
	case $name in
	vm | suite)
		(root "$name")
		(user "$name")
		[ "$name" != vm ] || (login vm)
		;;
	*)
		(root "$name") &
		(user "$name")
		wait
		;;
	esac
	sync -f results # the machine may be cut off when its time is up
done
dmesg >results/dmesg
: >results/complete
