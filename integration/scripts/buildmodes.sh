#!/usr/bin/env bash
# Builds and runs the launcher's tests, and the smoke tests of package gonso, in every way in which
# users build their programs. The launcher's image is cut out of this very binary, so each way could
# break it: by moving code (pie), by instrumenting it (-race, -cover), or by stripping symbols.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
cd "$scripts/../.."
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

require=userns
if [ "$(id -u)" = 0 ]; then require=root,$require; else require=plain,$require; fi
if [ -z "${CI:-}" ] && ! unshare -U true 2>/dev/null; then require=${require%,userns}; fi
export GONSO_TEST_REQUIRE=$require GONSO_DEBUG=threads

passed=0 failed=0 skipped=0
# try NAME PACKAGE RUN BUILDFLAG...: builds with these flags, and runs the tests that match.
try() {
	local name=$1 package=$2 run=$3 log=$work/log status=0 start=$SECONDS p f s
	shift 3
	if ! go test -c -vet=off -o "$work/test" "$@" "$package" >"$log" 2>&1; then
		printf '%s\nFAIL\t%s %s [build failed]\n' "$(cat "$log")" "$package" "$name"
		failed=$((failed + 1))
		return
	fi
	mkdir "$work/tmp"
	(cd "$package" && TMPDIR=$work/tmp timeout -k 10 330 "$work/test" -test.v=test2json -test.paniconexit0 \
		-test.timeout=300s "-test.run=$run") </dev/null >"$log" 2>&1 || status=$?
	p=$("$scripts/count.sh" PASS "$log")
	f=$("$scripts/count.sh" FAIL "$log")
	s=$("$scripts/count.sh" SKIP "$log")
	if [ "$status" = 0 ] && [ "$f" = 0 ] && [ "$p" -gt 0 ]; then
		printf 'ok  \t%s\t%s\t%d tests, %d s\n' "$package" "$name" "$p" $((SECONDS - start))
	else
		[ "$f" != 0 ] || f=1
		"$scripts/count.sh" failures "$log"
		printf 'exit status %d, %d passed\nFAIL\t%s\t%s\n' "$status" "$p" "$package" "$name"
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	rm -rf --one-file-system "$work/tmp"
}

mode() {
	local name=$1
	shift
	try "$name" ./internal/launcher . "$@"
	try "$name" ./gonso '^TestSmoke' "$@"
}

CGO_ENABLED=0 mode 'static' # what most people ship
CGO_ENABLED=0 mode 'stripped' -trimpath -ldflags='-s -w'
CGO_ENABLED=0 mode 'no optimization' -gcflags=all='-N -l' # what a debugger builds
CGO_ENABLED=0 mode 'cover' -cover -covermode=atomic
CGO_ENABLED=0 mode 'pie' -buildmode=pie
if [ "$(CGO_ENABLED=1 go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; then
	CGO_ENABLED=1 mode 'cgo'
	CGO_ENABLED=1 mode 'cgo pie' -buildmode=pie
	CGO_ENABLED=1 mode 'race' -race
	CGO_ENABLED=1 mode 'race cover' -race -cover -covermode=atomic
else
	echo 'buildmodes: no C compiler: cgo and -race not tried'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
