#!/usr/bin/env bash
# Everything that reads the code and does not run it: vet, golangci-lint with the import table of
# .golangci.yml, shellcheck, the words and lines of documents, and rules that no linter has.
set -euo pipefail

# Also the name of the cached binary, so a new version is built once, and kept beside the old one.
golangci_version=v2.15.0
misspell_version=v0.8.0

cd "$(dirname "$0")/../.."
modules=(.)
for module in integration integration/ports integration/builder; do
	[ ! -e "$module/go.mod" ] || modules+=("$module")
done
status=0

fail() {
	printf 'lint: %s\n' "$*" >&2
	status=1
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/gonso-tools
golangci=$cache/golangci-lint-$golangci_version
if [ ! -x "$golangci" ]; then
	echo "lint: building golangci-lint $golangci_version, once (some minutes)"
	start=$SECONDS
	mkdir -p "$cache"
	build=$(mktemp -d "$cache/build.XXXXXX")
	trap 'rm -rf "$build"' EXIT
	trap 'exit 130' INT TERM
	# Static, and with a build cache of its own, which takes hundreds of megabytes: both go again.
	CGO_ENABLED=0 GOBIN=$build/bin GOCACHE=$build/cache GOFLAGS='' nice -n 10 \
		go install -ldflags='-s -w' "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci_version" \
		>"$build/log" 2>&1 || {
		tail -n 20 "$build/log" >&2
		exit 1
	}
	mv "$build/bin/golangci-lint" "$golangci"
	rm -rf "$build"
	trap - EXIT
	echo "lint: built in $((SECONDS - start)) s"
fi

for module in "${modules[@]}"; do
	(cd "$module" && go vet ./...) || fail "go vet in $module"
	(top=$PWD && cd "$module" && "$golangci" run --config "$top/.golangci.yml" ./...) ||
		fail "golangci-lint in $module"
done
# The files for other systems obey the import table too.
GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 "$golangci" run --enable-only depguard ./... || fail 'golangci-lint for other systems'

# What only tests use is dead too. Each is deleted, or kept for a reason that integration/deadcode has.
(cd integration && go run ./deadcode) || fail 'functions that no program can come to'

# Words that are hard to read, lines that are too long, tables whose rows do not fit their heads.
go -C integration test -count=1 -run '^Test(TextsHaveNoHardWords|LinesOf|TablesHave)' ./docs >/dev/null ||
	fail "words or lines of documents: go -C integration test -run 'Texts|LinesOf|TablesHave' ./docs"

# go mod tidy without the writing.
for module in "${modules[@]}"; do
	(cd "$module" && go mod tidy -diff >/dev/null) || fail "$module/go.mod is not tidy"
done

# refuse WHY REGEXP FILE...: no such line in any of these files.
refuse() {
	local why=$1 regexp=$2 found
	shift 2
	found=$(grep -nHE "$regexp" "$@" /dev/null || true)
	[ -z "$found" ] || fail "$why:"$'\n'"$found"
}
# Files of the project, also those not yet added, and none that git ignores; all, without git.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	mapfile -t files < <(git ls-files --cached --others --exclude-standard | while read -r file; do
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done)
else
	mapfile -t files < <(find . -type f -not -path './.git/*' -printf '%P\n')
fi
go_files=() shell_files=() without_c=()
for file in "${files[@]}"; do
	case $file in
	*.go) go_files+=("$file") ;;&
	integration/embedded/testdata/*) ;; # a library for a program in C, which a test builds
	*.go) without_c+=("$file") ;;
	*.sh | .ci/run) shell_files+=("$file") ;;
	esac
done
refuse 'cgo' '^import "C"|^[[:space:]]+"C"$|^//go:cgo_' "${without_c[@]}"
refuse 'go:linkname' '^//go:linkname' "${go_files[@]}"
# CONTRIBUTING.md, the house rules about tests.
tests=() skipping=()
for file in "${go_files[@]}"; do
	case $file in
	internal/testenv/need.go | internal/testenv/recorder_linux_test.go | gonso/gonsotest/*) ;;
	*_test.go | internal/testenv/*) skipping+=("$file") ;;
	esac
	case $file in
	*_test.go | */testdata/* | internal/testenv/*) tests+=("$file") ;;
	esac
done
refuse 'a test that sleeps; wait for an event, poll (testenv.Eventually), or let a bubble pass time (testenv.Pass)' 'time\.Sleep\(' "${tests[@]}"
refuse 'a test that skips by itself; testenv.Need and testenv.Found have reasons' '\<(t|b|f|tb)\.Skip(f|Now)?\(' "${skipping[@]}"
# SECURITY.md, the second rule. The list is what may be shown, mounted on, or executed; each line says why.
asks=()
for file in "${go_files[@]}"; do
	case $file in
	*_test.go | internal/procfs/* | internal/testenv/* | integration/*) ;;
	*) asks+=("$file") ;;
	esac
done
quoted=$'["\x60]/proc[/"\x60]'
found=$(grep -nHE "$quoted" "${asks[@]}" /dev/null | grep -v ' // path: ' || true)
[ -z "$found" ] || fail "a path below /proc; read it by package procfs, or say behind it '// path:' and why:"$'\n'"$found"
# In brackets, so that this line is not found itself.
refuse 'a path outside of the repository' '[.]\./shared|/work/(shared|[.]library|main)' "${files[@]}"

# golangci-lint's misspell reads Go files only.
mapfile -t documents < <(printf '%s\n' "${files[@]}" | grep '\.md$')
go run "github.com/golangci/misspell/cmd/misspell@$misspell_version" -error "${documents[@]}" || fail 'spelling of documents'

if command -v shellcheck >/dev/null; then
	shellcheck "${shell_files[@]}" || fail shellcheck
else
	echo 'lint: no shellcheck here; make setup-all installs it'
fi

[ "$status" = 0 ] && echo 'lint: fine'
exit "$status"
