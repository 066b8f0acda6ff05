#!/usr/bin/env bash
# Builds the image of this directory, builds it again from the cache, and runs it.
#
#   run.sh BUILDER CONTEXT DIR   DIR is for the cache and the image, which are removed in the end
set -euo pipefail

builder=$1 context=$2 dir=$3
cache=$dir/cache
trap '"$builder" prune -cache "$cache"; rm -rf "$cache" "$dir/layout"' EXIT

say() { printf '\n$ %s\n' "$*"; }

say "builder build -v -t hello -o layout context"
digest=$("$builder" build -v -cache "$cache" -t hello -o "$dir/layout" "$context")
echo "$digest"

say "builder build -t hello context   # again"
again=$("$builder" build -cache "$cache" -t hello "$context")
[ "$again" = "$digest" ] || {
	echo "FAILED: the second image is $again" >&2
	exit 1
}

say "builder run hello"
"$builder" run -cache "$cache" hello

if command -v skopeo >/dev/null; then
	say "skopeo inspect --format '{{.Digest}}' oci:layout:hello"
	skopeo inspect --format '{{.Digest}}' "oci:$dir/layout:hello"
fi

say "builder du"
"$builder" du -cache "$cache"
