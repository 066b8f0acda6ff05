#!/usr/bin/env bash
# Runs tests of other projects, before and after the ports in integration/ports take the place of
# the projects' own files, and prints how many end how. Needs root, and a network or a cache of the
# modules.
#
#   ports.sh [PORT...]          cni, chrootarchive, mount, cniprovider, unshare; all without one
#   ports.sh -lines [PORT...]   only lines of code: of what is replaced, and of the ports
set -euo pipefail

cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ] && [ "${1:-}" != -lines ]; then
	echo 'ports: not run: the tests of other projects need root' >&2
	exit 3
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/gonso-ports.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
if ! go build -C integration/ports -o "$work/upstream" ./upstream >"$work/log" 2>&1; then
	if grep -qE 'dial tcp|proxyconnect|no such host|i/o timeout|GOPROXY' "$work/log"; then
		echo 'ports: not run: without network it needs a cache of the modules' >&2
		exit 3
	fi
	cat "$work/log" >&2
	exit 1
fi
TMPDIR=$work "$work/upstream" "$@"
