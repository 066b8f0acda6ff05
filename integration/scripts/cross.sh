#!/usr/bin/env bash
# Type-checks the library and its tests for every Linux architecture that this Go knows, and for the
# systems where gonso only has to compile. Quiet unless something fails.
#
#   cross.sh                 all of them, two at a time
#   cross.sh linux/riscv64   just that one
set -euo pipefail

cd "$(dirname "$0")/../.."

if [ $# = 1 ]; then
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# No cgo: it would need a C compiler for each of them.
	if ! GOOS=${1%/*} GOARCH=${1#*/} CGO_ENABLED=0 go vet ./... >"$log" 2>&1; then
		printf '# %s\n%s\n' "$1" "$(cat "$log")" >&2
		exit 1
	fi
	exit
fi

mapfile -t targets < <(go tool dist list | grep '^linux/')
targets+=(darwin/amd64 darwin/arm64 windows/amd64 freebsd/amd64 js/wasm)
start=$SECONDS
status=0
# Two at a time: most of one is a single compiler at work.
printf '%s\n' "${targets[@]}" | xargs -P 2 -n 1 "./integration/scripts/cross.sh" || status=1
if [ "$status" = 0 ]; then
	printf 'cross: %d targets are fine (%d s)\n' ${#targets[@]} $((SECONDS - start))
fi
exit "$status"
