#!/usr/bin/env bash
# Runs the fuzz targets of the library, FUZZTIME (30s) each.
#
#   fuzz.sh                          all of them, two at a time
#   fuzz.sh ./internal/wire FuzzFrame  just that one
set -euo pipefail

cd "$(dirname "$0")/../.."
export FUZZTIME=${FUZZTIME:-30s}

if [ $# = 2 ]; then
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	status=0
	# One worker: go test would take every core for one target.
	go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 "$1" </dev/null >"$log" 2>&1 || status=$?
	# go test may take the end of its own -fuzztime for a failure of the target. A real one leaves
	# an input behind, or says more.
	if [ "$status" = 0 ] || {
		grep -qx '    context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic:|_test\.go:' "$log"
	}; then
		printf 'ok  \t%s in %s\t%s\n' "$2" "$1" "$(sed -nE 's/^fuzz: elapsed: .*(execs: [0-9]+).*/\1/p' "$log" | tail -n 1)"
		exit 0
	fi
	printf '%s\nFAIL\t%s in %s\n' "$(cat "$log")" "$2" "$1"
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# One line a target: package, name. go list leaves out files for other systems.
# shellcheck disable=SC2016 # the dollars are the template's
go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}' ./... |
	sed '/^$/d' | sort -u | while read -r package file; do
	sed -nE "s|^func (Fuzz[A-Za-z0-9_]*)\(.*|$package \1|p" "$file"
done >"$work/targets"
if [ ! -s "$work/targets" ]; then
	echo 'fuzz: no targets'
	exit 0
fi
# Built before, so that no target's time goes into compiling.
cut -d' ' -f1 "$work/targets" | sort -u | while read -r package; do
	go test -vet=off -run '^$' -fuzz '^$' "$package" </dev/null >"$work/build" 2>&1 || {
		cat "$work/build"
		exit 1
	}
done
xargs -P 2 -L 1 ./integration/scripts/fuzz.sh <"$work/targets"
printf 'fuzz: %d targets, %s each\n' "$(wc -l <"$work/targets")" "$FUZZTIME"
