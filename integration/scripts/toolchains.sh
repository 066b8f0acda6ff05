#!/usr/bin/env bash
# Builds the library, and runs the smoke tests of package gonso, with the oldest Go that go.mod allows and
# with the newest release that the module proxy has.
#
#   toolchains.sh [VERSION...]   1.26.0, for example
set -euo pipefail

cd "$(dirname "$0")/../.."

versions=("$@")
if [ ${#versions[@]} = 0 ]; then
	oldest=$(sed -n 's/^go //p' go.mod)
	newest=$(go list -m -versions golang.org/toolchain 2>/dev/null | tr ' ' '\n' |
		sed -n "s/^v0.0.1-go\([0-9.]*\)\.$(go env GOHOSTOS)-$(go env GOHOSTARCH)$/\1/p" | sort -V | tail -n 1) || true
	if [ -z "$newest" ]; then
		echo 'toolchains: not run: the module proxy lists no toolchains' >&2
		exit 3
	fi
	versions=("$oldest" "$newest")
fi
passed=0 failed=0
for v in "${versions[@]}"; do
	export GOTOOLCHAIN=go$v
	start=$SECONDS
	if got=$(go env GOVERSION) && [ "$got" = "go$v" ] && go build ./... && go test -count=1 -run '^TestSmoke' ./gonso; then
		printf 'ok  \tgo%s (%d s)\n' "$v" $((SECONDS - start))
		passed=$((passed + 1))
	else
		printf 'FAIL\tgo%s\n' "$v"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
