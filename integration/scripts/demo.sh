#!/usr/bin/env bash
# Runs the demo: for root as root and as the plain user for tests, for anybody else as who they are.
#
#   demo.sh [DIR]   DIR is the folder that the demo reads, and changes only inside
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
user=${GONSO_TEST_USER:-gonsotest}
# Before any cd: a relative DIR means the caller's folder.
[ $# = 0 ] || set -- "$(realpath -m "$1")"
cd "$scripts/.."

if [ "$(id -u)" != 0 ]; then
	exec go run ./demo "$@"
fi

# Built where the plain user can read it, which the checkout may not be.
work=$(mktemp -d)
chmod 0755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
go build -o "$work/demo" ./demo
ids=(--reuid "$user" --regid "$user" --init-groups)
if ! id -u "$user" >/dev/null 2>&1; then
	user=65534 # setup.sh has said why
	ids=(--reuid "$user" --regid "$user" --clear-groups)
fi
mkdir "$work/home"
chown "$user:" "$work/home"

echo '# as root'
(cd "$work" && ./demo "$@")

if ! command -v setpriv >/dev/null; then
	echo '# not as a plain user: no setpriv'
	exit
fi
echo "# as $user"
cd "$work/home"
setpriv "${ids[@]}" --inh-caps=-all --reset-env \
	env "HOME=$work/home" "USER=$user" "PATH=$PATH" "$work/demo" "$@"
