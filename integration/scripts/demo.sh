#!/usr/bin/env bash
# Runs a demo: for root as root and as the plain user for tests, for anybody else as who they are.
#
#   demo.sh build        builds a container image with integration/builder, and runs it; then one of Debian
#   demo.sh tour [DIR]   what runs where, in a table; DIR is read, and changed only inside
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
what=$1
shift
user=${GONSO_TEST_USER:-gonsotest}
# Before any cd: a relative DIR means the caller's folder.
[ $# = 0 ] || set -- "$(realpath -m "$1")"
cd "$scripts/.."

# Built where the plain user can read it, which the checkout may not be.
work=$(mktemp -d)
chmod 0755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

# lacks PROGRAM PACKAGE: the end, with what helps.
lacks() {
	echo "demo: $1 is missing, which the image needs. As root, run: apt-get install $2. make tour runs without it." >&2
	exit 1
}

# command FOLDER: what is run, with a folder that is the user's own.
case $what in
tour)
	go build -o "$work/demo" ./demo
	command() { set -- "$work/demo" "${@:2}" && printf '%s\0' "$@"; }
	;;
build)
	# Before the build, which takes a minute the first time.
	busybox=$(PATH=$PATH:/usr/sbin:/sbin type -P busybox) || lacks busybox busybox-static
	[ "$(id -u)" = 0 ] || type -P newuidmap >/dev/null || lacks newuidmap uidmap
	CGO_ENABLED=0 go build -C builder -o "$work/builder" .
	cp -R builder/example "$work/context"
	cp "$busybox" "$work/context/busybox"
	chmod -R a+rX "$work/context"
	command() { printf '%s\0' "$work/context/run.sh" "$work/builder" "$work/context" "$1"; }
	;;
*)
	echo "demo.sh: $what is neither build nor tour" >&2
	exit 2
	;;
esac

mkdir "$work/own" "$work/home"

# everybody runs the command: for root as root and as the plain user.
everybody() {
	local -a run ids=(--reuid "$user" --regid "$user" --init-groups)
	mapfile -d '' -t run < <(command "$work/own" "$@")
	if [ "$(id -u)" != 0 ]; then
		(cd "$work/own" && "${run[@]}")
		return
	fi
	if ! id -u "$user" >/dev/null 2>&1; then
		user=65534 # setup.sh has said why
	fi
	[ "$user" != 65534 ] || ids=(--reuid "$user" --regid "$user" --clear-groups)
	chown "$user:" "$work/home"

	echo '# as root'
	(cd "$work/own" && "${run[@]}")

	if ! type -P setpriv >/dev/null; then
		echo '# not as a plain user: no setpriv'
		return
	fi
	echo "# as $user"
	mapfile -d '' -t run < <(command "$work/home" "$@")
	if [ "$what" = build ] && [ "$user" = 65534 ]; then
		echo 'not run: images hold files of many users, and this one has no subordinate ids'
		return
	fi
	(cd "$work/home" && setpriv "${ids[@]}" --inh-caps=-all --reset-env \
		env "HOME=$work/home" "USER=$user" "PATH=$PATH" "${run[@]}")
}

# debian has debootstrap fetch and unpack the smallest set of packages, as in a container: without mounts
# and devices. The builder sets the packages up, without a network.
debian() {
	local -x PATH=$PATH:/usr/sbin:/sbin
	if ! type -P debootstrap >/dev/null; then
		echo '# no image of Debian: debootstrap is not there; make setup installs it'
		return
	fi
	if [ "$(id -u)" != 0 ]; then
		echo '# no image of Debian: debootstrap unpacks packages for root only'
		return
	fi
	echo '# Debian, on top: debootstrap --foreign --variant=minbase stable'
	if ! container=lxc timeout 300 debootstrap --foreign --variant=minbase stable "$work/root" >"$work/log" 2>&1; then
		echo "# no image of Debian: debootstrap: $(tail -n 1 "$work/log")"
		return
	fi
	cp -R builder/example/debian "$work/debian"
	tar -C "$work/root" --numeric-owner --exclude='./dev/*' -cf "$work/debian/debian.tar" .
	rm -rf --one-file-system "$work/root"
	chmod -R a+rX "$work/debian"
	command() { printf '%s\0' "$work/context/run.sh" "$work/builder" "$work/debian" "$1" debian; }
	everybody
}

everybody "$@"
[ "$what" != build ] || debian
