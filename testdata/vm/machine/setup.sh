#!/bin/sh
# Makes the machine of `make vmtest` out of a fresh Debian: runs in it (chroot) as root,
# once, with agentjail-vmtest.service in place.
set -eu

# The ordinary user of the tests. Who lingers has a systemd of their own from boot on,
# as one who has logged in.
useradd --create-home --user-group --shell /bin/bash --comment 'agentjail tests' agentjail-test
install -D -m 644 /dev/null /var/lib/systemd/linger/agentjail-test

install -d /mnt/agentjail # the tests' second disk
echo vmtest >/etc/hostname
printf '127.0.0.1 localhost vmtest\n::1 localhost\n' >/etc/hosts # an installer's work
: >/etc/resolv.conf # the machine has no network
systemctl --quiet enable agentjail-vmtest.service
systemctl --quiet set-default multi-user.target

# Nobody logs in on the console that the results go to, and what a server does in its
# spare time only takes time from an emulated processor.
systemctl --quiet mask serial-getty@ttyS0.service getty@tty1.service ssh.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_reap.service fstrim.timer
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
