#!/bin/busybox sh
# shellcheck shell=dash
# The init of the machines that kernels.sh boots: prepares them, runs every test binary in /t as
# root and as a plain user, says how it went on the console, and switches the machine off.
bb=/bin/busybox

# Started from the initramfs. That file system can never be pivoted away from or unmounted, which
# is not what tests meet elsewhere, so everything moves to a tmpfs first.
if [ "$1" != moved ]; then
	$bb mount -t tmpfs -o mode=0755,size=80% root /newroot
	for d in bin etc home lib lib64 root run t tmp usr init; do $bb cp -a "/$d" /newroot/; done
	for d in dev mnt proc sys; do $bb mkdir "/newroot/$d"; done
	exec $bb switch_root /newroot /init moved
fi

$bb --install -s /bin 2>/dev/null # beside the programs that were packed
export PATH=/bin HOME=/root
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o mode=0755 dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in memory pids; do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
for module in /lib/modules/*.ko; do
	[ ! -e "$module" ] || insmod "$module"
done
chmod 0666 /dev/fuse 2>/dev/null
ip link set lo up
hostname guest
chown plain:plain /home/plain
chmod 0700 /root
# Older Debian kernels have this switch.
[ ! -e /proc/sys/kernel/unprivileged_userns_clone ] || echo 1 >/proc/sys/kernel/unprivileged_userns_clone

# The console was opened for reading too; tests get an empty standard input.
exec </dev/null >/dev/console 2>&1
echo "gonso-guest: kernel $(uname -rm)"

run_regexp=$(cat /etc/test-run)
bench_regexp=$(cat /etc/test-bench)
status=0
# run_as USER REQUIRE: every binary once. Everything is emulated and takes ten times as long, so
# the tests are asked to be short.
run_as() {
	echo "# as $1 ($2)"
	for dir in /t/*; do
		package=$(cat "$dir/package")
		temp=/tmp/$1-$(basename "$dir")
		mkdir -m 0711 "$temp"
		chown "$1" "$temp"
		set -- "$1" "$2" ./test -test.v=test2json -test.paniconexit0 -test.short "-test.timeout=$(cat /etc/test-timeout)s" -test.benchtime=200x \
			"-test.run=$run_regexp" "-test.bench=$bench_regexp"
		start=$(date +%s)
		if (
			cd "$dir" || exit 1
			export GONSO_TEST_REQUIRE="$2" GONSO_DEBUG=threads TMPDIR="$temp" GONSO_TEST_GUEST=yes
			user=$1
			if [ -e env ]; then export "$(cat env)"; fi
			if [ -e require ] && [ "$user" = root ]; then
				GONSO_TEST_REQUIRE=$GONSO_TEST_REQUIRE,$(tr '\n' ',' <require)
			fi
			shift 2
			if [ "$user" = root ]; then exec "$@"; fi
			# su gives the user's groups and home. It would take what looks like an option for its own,
			# so the shell inside is fed the command as text; nothing in it needs quoting but the regexps.
			exec su -s /bin/sh "$user" -c "exec $1 $2 $3 $4 $5 $6 '$7' '$8'"
		); then
			printf 'ok  \t%s\t%ds\n' "$package" "$(($(date +%s) - start))"
		else
			printf 'FAIL\t%s\t%ds\n' "$package" "$(($(date +%s) - start))"
			status=1
		fi
	done
}
run_as root root,host,userns
run_as plain plain,userns

echo "gonso-guest: done $status"
sync
poweroff -f
