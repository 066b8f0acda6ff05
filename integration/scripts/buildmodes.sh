#!/usr/bin/env bash
# Builds and runs the launcher's tests, and the smoke tests of package gonso, in every way in which
# users build their programs. The launcher's image is cut out of this very binary, so each way could
# break it: by moving code (pie), by instrumenting it (-race, -cover), or by stripping symbols.
set -euo pipefail

cd "$(dirname "$0")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
who=plain
if [ "$(id -u)" = 0 ]; then who=root; fi

passed=0 failed=0 skipped=0
# mode NAME BUILDFLAG...
mode() {
	local name=$1 run package p f s
	shift
	for package in ./internal/launcher ./gonso; do
		run=.
		[ "$package" != ./gonso ] || run='^TestSmoke'
		./test.sh -as "$who" -mode "$name" "${@/#/-build=}" -run "$run" "$package" >"$log" 2>&1 || true
		grep -vE ' skipped(:|$)' "$log" || true
		read -r p _ f _ s _ < <(grep -E '^[0-9]+ passed, ' "$log" || echo 0 passed, 1 failed, 0 skipped)
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	done
}

export CGO_ENABLED=0
mode 'static' # what most people ship
mode 'stripped' -trimpath -ldflags='-s -w'
mode 'no optimization' -gcflags=all='-N -l' # what a debugger builds
mode 'cover' -cover -covermode=atomic
mode 'pie' -buildmode=pie
export CGO_ENABLED=1
if [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; then
	mode 'cgo'
	mode 'cgo pie' -buildmode=pie
	mode 'race' -race
	mode 'race cover' -race -cover -covermode=atomic
else
	echo 'buildmodes: no C compiler: cgo and -race not tried'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
