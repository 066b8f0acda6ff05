#!/usr/bin/env bash
# Installs what the tests, the demo and the kernel tests need on a Debian machine, and makes the
# plain user that the suite runs as besides root. Only what is missing is installed.
set -euo pipefail

usage() {
	cat <<'USAGE'
usage: integration/scripts/setup.sh [GROUP...]

groups:
  tests        what make test, race, demo and bench use: a C compiler for -race, iproute2,
               uidmap, busybox, runc, umoci, skopeo, buildah, debootstrap, keyutils ...
  user         the plain user for tests, with ranges in /etc/subuid and /etc/subgid
  kernels      qemu and what packs an initramfs, for make test-kernels and make stress
  lint         shellcheck
  all          all of these

  remove-user  takes the plain user away again
  try          tests and user as far as that goes: it never fails, and one line says what is left out

Without a group: tests and user. Who is not root gets a list of what is missing, and exit status 0.
The user's name is gonsotest, or $GONSO_TEST_USER.
USAGE
}

user=${GONSO_TEST_USER:-gonsotest}
patience=120 # for apt, in seconds, where something does not answer

# Each line: the program that is looked for, and the Debian package that has it.
programs() {
	case $1 in
	tests)
		cat <<'LIST'
gcc gcc
make make
ip iproute2
newuidmap uidmap
setpriv util-linux
nsenter util-linux
busybox busybox-static
runc runc
umoci umoci
skopeo skopeo
buildah buildah
debootstrap debootstrap
keyctl keyutils
ps procps
useradd passwd
LIST
		;;
	kernels)
		cat <<'LIST'
qemu-system-x86_64 qemu-system-x86
qemu-system-aarch64 qemu-system-arm
qemu-system-arm qemu-system-arm
qemu-system-mips64el qemu-system-mips
qemu-system-ppc64 qemu-system-ppc
qemu-system-riscv64 qemu-system-misc
qemu-system-s390x qemu-system-misc
qemu-mips64el qemu-user
cpio cpio
dpkg-deb dpkg
LIST
		;;
	lint) echo shellcheck shellcheck ;;
	esac
}

say() { printf 'setup: %s\n' "$*"; }
die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# The packages of a group whose program is not there. PATH of a plain user may lack sbin.
missing() {
	local program package
	programs "$1" | while read -r program package; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || printf '%s\n' "$package"
	done
	if [ "$1" = tests ] && [ ! -e /usr/include/stdlib.h ]; then
		echo libc6-dev # gcc alone only recommends it
	fi
	if [ "$1" = tests ] && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
		echo ca-certificates
	fi
}

install_packages() {
	local -a packages=("$@")
	local log tries
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	# --force-unsafe-io would be faster still, but this may be somebody's real machine.
	local -a apt=(timeout 900 apt-get -qq -y -o Dpkg::Use-Pty=0 -o "DPkg::Lock::Timeout=$patience"
		-o Acquire::Retries=3 -o "Acquire::http::Timeout=$patience" -o "Acquire::https::Timeout=$patience")
	# The lists may be missing or outdated: then, and only then, they are fetched.
	for tries in 1 2; do
		if "${apt[@]}" install --no-install-recommends "${packages[@]}" </dev/null >"$log" 2>&1; then
			rm -f "$log"
			return
		fi
		if [ "$tries" = 1 ]; then
			say "fetching package lists"
			"${apt[@]}" update </dev/null >>"$log" 2>&1 || true
		fi
	done
	tail -n 30 "$log" >&2
	rm -f "$log"
	die "apt-get could not install: ${packages[*]}"
}

install_group() {
	local -a packages
	mapfile -t packages < <(missing "$1" | sort -u)
	if [ ${#packages[@]} = 0 ]; then
		say "$1: everything is there"
		return
	fi
	if [ "$(id -u)" != 0 ]; then
		say "$1: missing, and only root can install: ${packages[*]}"
		return
	fi
	command -v apt-get >/dev/null || die "$1: no apt-get here; install by hand: ${packages[*]}"
	local start=$SECONDS
	say "$1: installing ${packages[*]}"
	install_packages "${packages[@]}"
	say "$1: installed in $((SECONDS - start)) s"
}

# The first id behind every range that FILE ($1) hands out, so that ranges never overlap.
next_range() {
	awk -F: 'BEGIN { n = 100000 } NF == 3 && $2 + $3 > n { n = $2 + $3 } END { print n }' "$1"
}

make_user() {
	if [ "$(id -u)" != 0 ]; then
		say "user: not root, so the tests run as $(id -un) only"
		return
	fi
	export PATH=$PATH:/usr/sbin:/sbin
	touch /etc/subuid /etc/subgid
	if ! id -u "$user" >/dev/null 2>&1; then
		useradd --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --user-group \
			--comment 'tests of gonso' "$user"
		say "user: made $user with uid $(id -u "$user")"
	fi
	[ "$(id -u "$user")" != 0 ] || die "user: $user is root"
	local first
	if ! grep -q "^$user:" /etc/subuid; then
		first=$(next_range /etc/subuid)
		usermod --add-subuids "$first-$((first + 65535))" "$user"
	fi
	if ! grep -q "^$user:" /etc/subgid; then
		first=$(next_range /etc/subgid)
		usermod --add-subgids "$first-$((first + 65535))" "$user"
	fi
	say "user: $user is ready ($(grep "^$user:" /etc/subuid))"
}

remove_user() {
	[ "$(id -u)" = 0 ] || die "remove-user: only root can"
	if id -u "$user" >/dev/null 2>&1; then
		PATH=$PATH:/usr/sbin:/sbin userdel "$user" # takes the subordinate ranges along
		say "user: removed $user"
	fi
}

try() {
	local -a packages
	local why='only root can install them' out=
	mapfile -t packages < <(missing tests | sort -u)
	if [ "$(id -u)" = 0 ]; then
		why='there is no apt-get to install them'
		if [ ${#packages[@]} != 0 ] && command -v apt-get >/dev/null; then
			say "trying to install ${packages[*]}"
			why='apt-get could not install them (make setup says more)'
			(patience=10 && install_group tests) >/dev/null 2>&1 || true
			mapfile -t packages < <(missing tests | sort -u)
		fi
		(make_user) >/dev/null 2>&1 || out="; no user $user could be made, so uid 65534 is the plain one, without subordinate ids"
	fi
	[ ${#packages[@]} = 0 ] || out="; what needs ${packages[*]} is left out: $why$out"
	[ -z "$out" ] || say "${out#; }"
}

[ $# -gt 0 ] || set -- tests user
for group in "$@"; do
	case $group in
	tests | kernels | lint) install_group "$group" ;;
	user) make_user ;;
	all)
		install_group tests
		install_group kernels
		install_group lint
		make_user
		;;
	remove-user) remove_user ;;
	try) try ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
done
