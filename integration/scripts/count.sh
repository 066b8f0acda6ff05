#!/usr/bin/env bash
# Reads what a test binary printed with -test.v=test2json. That mode puts a control character
# before the lines of the testing package itself, so nothing that a test prints counts.
#
#   count.sh PASS|FAIL|SKIP FILE   how many tests and subtests ended so
#   count.sh skips FILE            each skipped test with its reason, and each package's own line
#   count.sh failures FILE         what failed, with its output, and what belongs to no test
set -euo pipefail

mark=$'\x16'
case $1 in
PASS | FAIL | SKIP) { grep -aoE "$mark *--- $1: " "$2" || true; } | wc -l ;;
skips)
	# A skipped test's reason is the last line before its result.
	awk -v mark="$mark" '
		match($0, mark " *--- SKIP: ") {
			rest = substr($0, RSTART + RLENGTH)
			sub(/ \([0-9.]+s\)$/, "", rest)
			reason = last
			sub(/^ +/, "", reason)
			print "    skipped " rest (reason == "" ? "" : ": " reason)
		}
		/^ok  \t/ || /^# as / { print }
		{ last = index($0, mark) ? "" : $0 }' "$2"
	;;
failures)
	# A test's output is kept until it is known how it ended; what never ended is printed at the end.
	awk -v mark="$mark" '
		function keep(line) {
			if (!(name in kept)) order[++n] = name
			kept[name] = kept[name] line "\n"
		}
		{
			at = index($0, mark)
			if (!at) { keep($0); next }
			if (at > 1) keep(substr($0, 1, at - 1))
			line = substr($0, at + 1)
			if (line ~ /^=== (RUN|PAUSE|CONT|NAME)/) {
				name = line
				sub(/^=== [A-Z]+ +/, "", name)
				next
			}
			if (line !~ /^ *--- (PASS|FAIL|SKIP|BENCH): /) { keep(line); next }
			ended = line
			sub(/^ *--- [A-Z]+: /, "", ended)
			sub(/ \([0-9.]+s\)$/, "", ended)
			if (line ~ /^ *--- FAIL: /) printf "%s%s\n", kept[ended], line
			kept[ended] = ""
		}
		END { for (i = 1; i <= n; i++) { printf "%s", kept[order[i]]; kept[order[i]] = "" } }' "$2"
	;;
*)
	echo "count.sh: unknown: $1" >&2
	exit 2
	;;
esac
