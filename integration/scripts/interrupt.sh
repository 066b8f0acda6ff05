#!/usr/bin/env bash
# Ends make test in the middle, by ^C on a terminal and by TERM, as root and as a plain user, and
# looks for what is left: processes, files, mounts, cgroups.
#
#   interrupt.sh [SECONDS]   after so many (10) seconds of tests
set -euo pipefail

cd "$(dirname "$0")/../.."
after=${1:-10}
user=${GONSO_TEST_USER:-gonsotest}
work=$(mktemp -d)
chmod 0755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
command -v script >/dev/null || {
	echo 'interrupt: no script(1) here' >&2
	exit 1
}
passed=0 failed=0

# Whatever the tests start gets this TMPDIR in its environment, or a folder below it.
processes() { grep -lzs "^TMPDIR=$temp" /proc/[0-9]*/environ | sed 's|/environ||' || true; }
left() {
	local p
	for p in $(processes); do echo "process ${p#/proc/}: $(tr '\0' ' ' <"$p/cmdline")"; done
	find "$temp" -mindepth 1 -maxdepth 3
	grep -F "$temp" /proc/self/mountinfo || true
	cgroups | grep -vxFf "$work/cgroups" || true
}
cgroups() { find /sys/fs/cgroup -maxdepth 2 -name 'gonso-*' 2>/dev/null || true; }
cgroups >"$work/cgroups" # somebody else's

# try HOW NAME COMMAND...: runs it on a terminal, ends it, and looks.
try() {
	local how=$1 name=$2 begun='' pid found log=$work/log
	shift 2
	temp=$(mktemp -d "$work/tmp.XXXXXX")
	chmod 1777 "$temp"
	mkfifo "$work/keys"
	# script makes the terminal, and passes on what it reads: \003 is ^C.
	TMPDIR=$temp script -qefc "exec $*" "$log" <"$work/keys" >/dev/null 2>&1 &
	pid=$!
	exec 9>"$work/keys"
	for _ in {1..6000}; do # until tests run, which a user without a build cache has to build first
		if grep -qs 'running ' "$log"; then begun=1 && break; fi
		sleep 0.1
	done
	sleep "$after"
	if [ "$how" = ^C ]; then
		printf '\003' >&9
	else
		kill -TERM "$(pgrep -P "$pid" | head -n 1)" || true
	fi
	local start=$EPOCHREALTIME
	for _ in {1..100}; do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	exec 9>&-
	found=$(left)
	if [ -n "$begun" ] && [ -z "$found" ] && ! kill -0 "$pid" 2>/dev/null && grep -qs interrupted "$log"; then
		printf 'ok  \t%s, %s: nothing is left (%s s)\n' "$how" "$name" "$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }")"
		passed=$((passed + 1))
	else
		printf 'FAIL\t%s, %s: left:\n%s\n%s\n' "$how" "$name" "$found" "$(tail -c 500 "$log")"
		failed=$((failed + 1))
		kill -KILL "$pid" 2>/dev/null || true
	fi
	wait "$pid" 2>/dev/null || true
	rm -f "$work/keys" "$log"
}

for how in ^C TERM; do
	if [ "$(id -u)" != 0 ]; then
		try "$how" "$(id -un)" make --no-print-directory test
		continue
	fi
	try "$how" 'root, tests as root' make --no-print-directory test
	try "$how" 'root, tests as a plain user' make --no-print-directory test "ARGS='-as plain'"
	# By a plain user: from a copy, with a cache of modules that this user can read.
	if [ ! -e "$work/src" ]; then
		mkdir "$work/src" "$work/home"
		tar -C . --exclude=./.git -cf - . | tar -C "$work/src" -xf -
		cp -r "$(go env GOMODCACHE)" "$work/mod"
		chmod -R a+rX "$work/src" "$work/mod"
		chown "$user:" "$work/home"
	fi
	try "$how" 'a plain user' setpriv --reuid "$user" --regid "$user" --init-groups \
		env "HOME=$work/home" "GOMODCACHE=$work/mod" GOFLAGS=-modcacherw make -C "$work/src" --no-print-directory test
done

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
