#!/usr/bin/env bash
# Runs the tests of every package of the library and of the integration module: for root as root
# and as a plain user, for anybody else as who they are.
set -euo pipefail

usage() {
	cat <<'USAGE'
usage: integration/scripts/test.sh [-race] [-short] [-v] [-run REGEXP] [-count N] [-as WHO] [PACKAGE...]

  -race    build with the race detector
  -short   testing.Short() is true
  -v       print everything that the tests print
  -run     only tests that match
  -count   every test N times
  -as      root, plain or both (the default for root)

PACKAGE as go list takes it, relative to the top of the library (./gonso) or of the integration
module (./integration/demo); all packages if none is given.

environment:
  GONSO_TEST_USER      the plain user that root runs the tests as (gonsotest; see setup.sh)
  GONSO_TEST_TIMEOUT   for one package, in seconds (600)
  CI                   if set, what a run is meant to have is promised to the tests even where it is
                       missing, so that they fail and do not skip

The tests get GONSO_TEST_REQUIRE, a comma separated list of what this run promises: a test that
lacks something promised fails, and one that lacks something else skips.
USAGE
}

scripts=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$scripts/../.." && pwd)
user=${GONSO_TEST_USER:-gonsotest}
limit=${GONSO_TEST_TIMEOUT:-600}
# What ok means by "tools", in the tests as here.
tools=(ip busybox newuidmap newgidmap runc umoci skopeo)

build_flags=()
test_flags=()
verbose=0
race=0
as=
packages=()
while [ $# -gt 0 ]; do
	case $1 in
	-race) race=1 build_flags+=(-race) ;;
	-short) test_flags+=(-test.short) ;;
	-v) verbose=1 ;;
	-run | -count)
		test_flags+=("-test.${1#-}=$2")
		shift
		;;
	-as)
		as=$2
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	-*)
		usage >&2
		exit 2
		;;
	*) packages+=("$1") ;;
	esac
	shift
done

say() { printf '%s\n' "$*"; }
die() {
	printf 'test.sh: %s\n' "$*" >&2
	exit 1
}

if [ "$(id -u)" = 0 ]; then
	as=${as:-both}
	case $as in root | plain | both) ;; *) die "-as $as: neither root, plain nor both" ;; esac
	if [ "$as" != root ]; then
		id -u "$user" >/dev/null 2>&1 || "$scripts/setup.sh" user
	fi
else
	[ "${as:-self}" = self ] || [ "$as" = plain ] || die "-as $as: only root can"
	as=self
fi
"$scripts/setup.sh" check

# World-readable, unlike what mktemp makes: the plain user runs what is in it.
work=$(mktemp -d "${TMPDIR:-/tmp}/gonso-test.XXXXXX")
chmod 0755 "$work"
cleanup() {
	# Mounts that a test left are somebody's files: never below rm.
	unmount_left >/dev/null || true
	chmod -R u+rwX "$work" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
# Prints and unmounts what is still mounted below $work.
unmount_left() {
	awk -v below="$work/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r at; do
		say "$at"
		umount -l "$(printf '%b' "$at")" || true
	done
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# One line a package that has tests: import path, folder.
list() {
	(cd "$1" && shift && go list -f \
		'{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{end}}' "$@" | sed '/^$/d')
}
library=() integration=()
for package in ${packages[@]+"${packages[@]}"}; do
	case $package in
	./integration | ./integration/*) integration+=(".${package#./integration}") ;;
	*) library+=("$package") ;;
	esac
done
if [ ${#packages[@]} = 0 ]; then
	library=(./...) integration=(./...)
fi
: >"$work/packages"
if [ ${#library[@]} -gt 0 ]; then list "$root" "${library[@]}" >>"$work/packages"; fi
if [ ${#integration[@]} -gt 0 ] && [ -e "$root/integration/go.mod" ]; then
	list "$root/integration" "${integration[@]}" >>"$work/packages"
fi
[ -s "$work/packages" ] || die "no package has tests"

# Built once, run by each user: the same binary for both.
passed=0 failed=0 skipped=0
mkdir "$work/bin"
start=$SECONDS
while IFS=$'\t' read -r package dir; do
	binary=$work/bin/${package//\//_}.test
	if ! (cd "$dir" && go test -c -vet=off ${build_flags[@]+"${build_flags[@]}"} -o "$binary" .) >"$work/build" 2>&1; then
		cat "$work/build"
		printf 'FAIL\t%s [build failed]\n' "$package"
		failed=$((failed + 1))
	fi
done <"$work/packages"
say "# built $(wc -l <"$work/packages") test binaries in $((SECONDS - start)) s"

# promise WHO: what the tests may rely on, for GONSO_TEST_REQUIRE.
promise() {
	local list=$1 tool dir all=1
	# In CI a missing thing is a failure, not a reason to promise less.
	if [ -n "${CI:-}" ] || as_user "$1" unshare -U true 2>/dev/null; then list+=,userns; fi
	for tool in "${tools[@]}"; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || all=0
	done
	if [ "$1" = root ] && { [ -n "${CI:-}" ] || command -v runc >/dev/null; }; then list+=,runc; fi
	if [ -n "${CI:-}" ] || [ "$all" = 1 ]; then list+=,tools; fi
	if [ -c /dev/ptmx ] && [ -e /dev/pts/ptmx ]; then list+=,pty; fi
	for dir in /sys/fs/cgroup /sys/fs/cgroup/unified; do
		if [ "$1" = root ] && [ -e "$dir/cgroup.controllers" ] && mkdir "$dir/gonso-probe" 2>/dev/null; then
			rmdir "$dir/gonso-probe"
			list+=,cgroup2
		fi
	done
	# shellcheck disable=SC2016 # the dollar is that shell's
	if [ "$1" = plain ] && { [ -n "${CI:-}" ] || as_user plain sh -c 'getsubids "$(id -un)"' >/dev/null 2>&1; }; then list+=,subids; fi
	say "$list"
}

# as_user root|plain COMMAND...: runs it as that user, with nothing on standard input.
as_user() {
	local who=$1
	shift
	if [ "$who" = plain ] && [ "$as" != self ]; then
		# A new login's worth of environment: nothing of root's leaks into the run.
		setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all --reset-env \
			env "HOME=$work/home" "USER=$user" "PATH=$PATH" "$@" </dev/null
	else
		"$@" </dev/null
	fi
}

# run_one WHO REQUIRE PACKAGE DIR
run_one() {
	local who=$1 require=$2 package=$3 dir=$4 binary=$work/bin/${3//\//_}.test
	[ -e "$binary" ] || return 0 # did not build; counted above
	local log=$work/log temp=$work/tmp status=0 begin=$EPOCHREALTIME p f s took note=
	mkdir -m 0700 "$temp"
	[ "$who" != plain ] || [ "$as" = self ] || chown "$user:" "$temp"
	(
		cd "$dir"
		# Twice a limit: the test binary's own shows all goroutines, timeout's gets rid of a wedged one.
		as_user "$who" env "GONSO_TEST_REQUIRE=$require" GONSO_DEBUG=threads "TMPDIR=$temp" \
			timeout -k 10 $((limit + 30)) "$binary" -test.v=test2json -test.paniconexit0 \
			"-test.timeout=${limit}s" ${test_flags[@]+"${test_flags[@]}"}
	) >"$log" 2>&1 || status=$?
	took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3fs", b - a }')

	p=$("$scripts/count.sh" PASS "$log")
	f=$("$scripts/count.sh" FAIL "$log")
	s=$("$scripts/count.sh" SKIP "$log")
	# A binary that ends well without saying PASS did not get to its end.
	if [ "$status" = 0 ] && ! grep -aqE $'^\x16?PASS$' "$log"; then
		say "(exit status 0 without PASS)" >>"$log"
		status=1
	fi
	local left
	left=$(unmount_left)
	if [ -n "$left" ]; then
		say "left mounted: $left" >>"$log"
		status=1
	fi
	if [ "$verbose" = 1 ]; then
		tr -d '\026' <"$log"
	elif [ "$status" != 0 ] || [ "$f" != 0 ]; then
		"$scripts/count.sh" failures "$log"
	fi
	if [ "$status" != 0 ] || [ "$f" != 0 ]; then
		[ "$f" != 0 ] || f=1 # it crashed, or TestMain complained
		printf 'exit status %d\nFAIL\t%s\t%s\n' "$status" "$package" "$took"
	else
		[ $((p + s)) != 0 ] || note=$'\t[no tests to run]'
		printf 'ok  \t%s\t%s%s\n' "$package" "$took" "$note"
		[ "$verbose" = 1 ] || "$scripts/count.sh" skips "$log"
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	chmod -R u+rwX "$temp" 2>/dev/null || true
	rm -rf --one-file-system "$temp"
}

# run_all WHO: one package at a time, for the tests count descriptors, processes and threads.
run_all() {
	local who=$1 require package dir name detector=
	if [ "$who" = plain ] && [ "$as" != self ]; then
		name=$user
		# The checkout may lie below a folder that only root may enter, so the tests get a copy.
		if [ ! -e "$work/src" ]; then
			mkdir "$work/src" "$work/home"
			tar -C "$root" --exclude=./.git -cf - . | tar -C "$work/src" --no-same-owner -xf -
			chmod -R go+rX "$work/src"
			chown "$user:" "$work/home"
			chmod 0700 "$work/home"
		fi
	else
		name=$(id -un)
	fi
	require=$(promise "$who")
	[ "$race" = 0 ] || detector=', race detector'
	say "# as $name ($require$detector)"
	while IFS=$'\t' read -r package dir; do
		if [ "$who" = plain ] && [ "$as" != self ]; then dir=$work/src${dir#"$root"}; fi
		run_one "$who" "$require" "$package" "$dir"
	done <"$work/packages"
}

case $as in
root) run_all root ;;
plain | self) run_all plain ;;
both)
	run_all root
	run_all plain
	;;
esac

if [ "$failed" = 0 ] && [ "$passed" = 0 ]; then
	say "FAIL: no test was executed"
	failed=1
fi
if [ "$failed" = 0 ]; then say PASS; else say FAIL; fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
