#!/usr/bin/env bash
# Builds integration/runtests, which runs the tests: test.sh -h says how.
set -euo pipefail

cd "$(dirname "$0")/../.."
# World-readable, unlike what mktemp makes: the plain user runs what is in it.
work=$(mktemp -d "${TMPDIR:-/tmp}/gonso-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
chmod 0755 "$work"
TMPDIR=$work go build -C integration -o "$work/runtests" ./runtests ||
	{ echo 'test.sh: go cannot build (without network it needs a cache of the modules)' >&2 && exit 1; }
# It removes $work.
exec "$work/runtests" -work "$work" "$@"
