#!/usr/bin/env bash
# Builds the image of this directory, builds it again from the cache, and runs it.
#
#   run.sh BUILDER CONTEXT DIR [NAME]   DIR is for the cache and the image, which are removed in the end
set -euo pipefail

builder=$1 context=$2 dir=$3 name=${4:-hello}
cache=$dir/cache
trap '"$builder" prune -cache "$cache"; rm -rf "$cache" "$dir/layout"' EXIT

say() { printf '\n$ %s\n' "$*"; }

say "builder build -v -t $name -o layout context"
digest=$("$builder" build -v -cache "$cache" -t "$name" -o "$dir/layout" "$context")
echo "$digest"

say "builder build -t $name context   # again"
again=$("$builder" build -cache "$cache" -t "$name" "$context")
[ "$again" = "$digest" ] || {
	echo "FAILED: the second image is $again" >&2
	exit 1
}

say "builder run $name"
"$builder" run -cache "$cache" "$name"

if command -v skopeo >/dev/null; then
	say "skopeo inspect --format '{{.Digest}}' oci:layout:$name"
	skopeo inspect --format '{{.Digest}}' "oci:$dir/layout:$name"
fi

say "builder du"
"$builder" du -cache "$cache"
