#!/usr/bin/env bash
# Boots other kernels, and other processors, in qemu, and runs the library's tests there as root
# and as a plain user. Nothing is installed: the kernels are Debian's own, fetched with apt into a
# private directory (signatures checked with the machine's keyring) and only unpacked.
#
# The machine has no disk: the initramfs is busybox, the test binaries and guest-init.sh beside this
# file. Where the processor is this machine's, its programs that tests look for are in it, too (runc,
# ip ...), with their libraries.
set -euo pipefail

usage() {
	cat <<'USAGE'
usage: integration/scripts/kernels.sh [-k] [-run REGEXP] [-bench REGEXP] [KERNEL...] [-- PACKAGE...]

KERNEL is one of
  arm64     Debian 12's kernel on an emulated 64-bit ARM processor
  arm       the same on a 32-bit one
  mips64le  the same on MIPS with 64 bits, one processor
  ppc64le   the same on POWER
  riscv64   Debian 13's kernel on RISC-V
  s390x     Debian 12's kernel on IBM Z, where bytes are the other way round
  5.10      Debian 11's kernel on amd64
  6.1       Debian 12's kernel on amd64
  6.12      Debian 13's kernel on amd64
  all       all of these (default: arm64 5.10)

  -k       keep the work directory (initramfs, console log) and say where it is
  -run     only tests that match
  -bench   no tests, but the benchmarks that match: only ratios of one guest mean anything
PACKAGE defaults to every package of the library that has tests. It may be ./integration/isolation:
its programs are built here, and this machine's runc makes its containers (amd64 only).

environment:
  GONSO_KERNEL_TIMEOUT   seconds for one boot with all its tests (600)
  GONSO_KERNEL_ACCEL     qemu's accelerator for the amd64 kernels (tcg; kvm where that works)
exit status: 0 passed, 1 failed, 3 a kernel could not be had (reason printed), none failed
USAGE
}

say() { printf '%s\n' "$*"; }
die() {
	printf 'kernels: %s\n' "$*" >&2
	exit 1
}
# What is not this project's failure: no qemu, no mirror.
unavailable() {
	printf 'kernels: not run: %s: %s\n' "$kernel" "$*" >&2
	exit 3
}

scripts=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$scripts/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gonso-kernels
limit=${GONSO_KERNEL_TIMEOUT:-600}
keep=0
run=
bench=
kernels=()
packages=()

while [ $# -gt 0 ]; do
	case $1 in
	-k) keep=1 ;;
	-run)
		run=$2
		shift
		;;
	-bench)
		bench=$2
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	--)
		shift
		packages=("$@")
		break
		;;
	arm64 | arm | mips64le | ppc64le | riscv64 | s390x | 5.10 | 6.1 | 6.12) kernels+=("$1") ;;
	all) kernels+=(arm64 arm mips64le ppc64le riscv64 s390x 5.10 6.1 6.12) ;;
	*)
		usage >&2
		exit 2
		;;
	esac
	shift
done
[ ${#kernels[@]} -gt 0 ] || kernels=(arm64 5.10)
[ -z "$bench" ] || run=${run:-^$}

# What each name stands for: Debian's architecture and release, the package of its kernel, Go's
# architecture, qemu.
describe() {
	cpus=2
	case $1 in
	arm64)
		arch=arm64 suite=bookworm goarch=arm64 package=linux-image-cloud-arm64
		# Not -cpu max: its pointer authentication is slow to emulate, and buys nothing here.
		qemu=(qemu-system-aarch64 -M virt -cpu cortex-a72 -accel 'tcg,thread=multi')
		console=ttyAMA0
		;;
	arm)
		arch=armhf suite=bookworm goarch=arm package=linux-image-armmp-lpae
		qemu=(qemu-system-arm -M virt -cpu cortex-a15 -accel 'tcg,thread=multi')
		console=ttyAMA0
		;;
	mips64le)
		arch=mips64el suite=bookworm goarch=mips64le package=linux-image-5kc-malta
		qemu=(qemu-system-mips64el -M malta -cpu MIPS64R2-generic -accel tcg)
		console=ttyS0 cpus=1
		;;
	ppc64le)
		arch=ppc64el suite=bookworm goarch=ppc64le package=linux-image-powerpc64le
		qemu=(qemu-system-ppc64 -M pseries -accel 'tcg,thread=multi')
		console=hvc0
		;;
	riscv64)
		arch=riscv64 suite=trixie goarch=riscv64 package=linux-image-riscv64
		qemu=(qemu-system-riscv64 -M virt -bios default -accel 'tcg,thread=multi')
		console=ttyS0
		;;
	s390x)
		arch=s390x suite=bookworm goarch=s390x package=linux-image-s390x
		qemu=(qemu-system-s390x -M s390-ccw-virtio -accel 'tcg,thread=multi')
		console=ttysclp0
		;;
	5.10 | 6.1 | 6.12)
		arch=amd64 goarch=amd64 package=linux-image-cloud-amd64
		case $1 in
		5.10) suite=bullseye ;;
		6.1) suite=bookworm ;;
		6.12) suite=trixie ;;
		esac
		# Not kvm unless asked for: nested in another virtual machine it may start well and then stop
		# with an emulation failure (seen at the first cmpxchg16b), and emulation is fast enough.
		# Linux 6.12 changes its own code while it runs, and panics (int3) if another thread of qemu 7.2
		# executes that code at the same time.
		accel='tcg,thread=multi'
		[ "$1" != 6.12 ] || accel='tcg,thread=single'
		qemu=(qemu-system-x86_64 -M q35 -accel "${GONSO_KERNEL_ACCEL:-$accel}")
		console=ttyS0
		;;
	esac
}

# What tests use of the kernel, where it is not built in.
modules=(fuse overlay binfmt_misc veth dummy tun)
# What tests use of this machine. Others by these names, as busybox has, can do less.
tools=(runc nsenter setpriv unshare mount umount lsns ip newuidmap newgidmap getsubids getent keyctl
	env true)

work=$(mktemp -d)
qemu_pid=
cleanup() {
	status=$?
	[ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
	if [ "$keep" = 1 ]; then say "kept: $work"; else rm -rf "$work"; fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Prints the URI of the Debian archive that this machine is configured for: of the suite itself
# for "main", of its security updates for "security".
mirror() {
	apt-get indextargets --format "\$(REPO_URI) \$(RELEASE)" 'Created-By: Packages' 2>/dev/null |
		awk -v kind="$1" '
			BEGIN { release = "(buster|bullseye|bookworm|trixie|forky|sid|stable|oldstable|testing)" }
			kind == "main" && $2 ~ "^" release "$" { print $1; exit }
			kind == "security" && $2 ~ "^" release "-security/?$" { print $1; exit }'
}

# Fetches and unpacks kernel and busybox of $suite for $arch into $cache/$suite-$arch, once.
fetch() {
	local dir=$cache/$suite-$arch
	[ ! -e "$dir/complete" ] || [ ! -d "$dir/modules" ] || return 0
	command -v apt-get >/dev/null || unavailable "needs Debian's apt-get"
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg main security
	[ -e "$keyring" ] || unavailable "no $keyring (package debian-archive-keyring)"
	main=$(mirror main)
	security=$(mirror security)
	[ -n "$main" ] || unavailable "no Debian archive is configured on this machine"

	# Security updates may lack the architecture or be amid an update of their mirror; the release
	# has a kernel, too.
	local start=$SECONDS apt=$work/apt-$suite-$arch image='' why=''
	if [ -z "$security" ]; then
		download "$main $suite" || unavailable "$why"
	elif ! download "$main $suite" "$security $suite-security"; then
		local without=$why
		download "$main $suite" || unavailable "$why"
		say "without the security updates of $suite for $arch: $without"
	fi
	local deb
	for deb in "$apt"/deb/*.deb; do
		dpkg-deb -x "$deb" "$apt/root"
	done
	# Other modules and documentation are most of it, and not used. Another run may do the same.
	local new=$cache/new.$$ name module
	rm -rf "$new"
	mkdir -p "$new/modules"
	for name in "${modules[@]}"; do
		module=$(find "$apt/root" -name "$name.ko*" -print -quit)
		case $module in
		'') ;; # it is in the kernel, or in none
		*.xz) xz -dc "$module" >"$new/modules/$name.ko" ;;
		*) cp "$module" "$new/modules/$name.ko" ;;
		esac
	done
	cp "$apt"/root/boot/vmlinu[xz]-* "$new/vmlinuz" # ppc64el's is not compressed
	cp "$apt"/root/bin/busybox "$new/busybox" 2>/dev/null || cp "$apt"/root/usr/bin/busybox "$new/busybox"
	say "$image" >"$new/complete"
	rm -rf "$dir"
	mv -T "$new" "$dir"
	say "fetched $image in $((SECONDS - start)) s"
}

# Downloads kernel and busybox for $arch into $apt/deb, and puts the kernel's name into image; where
# that fails, the reason into why. Each argument is the URI of an archive and a suite there. set -e
# is off in here.
download() {
	rm -rf "$apt"
	mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/deb"
	: >"$apt/status"
	printf "deb [arch=$arch signed-by=$keyring] %s main\n" "$@" >"$apt/sources.list"
	local -a options=(
		-o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
		-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
		-o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=-
		-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::Retries=3 -o Acquire::http::Timeout=60
	)
	# A failure that may pass is only a warning to apt.
	timeout 300 apt-get -qq "${options[@]}" -o APT::Update::Error-Mode=any update </dev/null >"$apt/log" 2>&1 || {
		why="the lists of $suite for $arch could not be fetched: $(reason "$apt/log")"
		return 1
	}
	# The metapackage depends on the kernel of the day.
	image=$(apt-cache "${options[@]}" depends "$package" 2>>"$apt/log" |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
	[ -n "$image" ] || {
		why="$suite for $arch has no $package"
		return 1
	}
	(cd "$apt/deb" && timeout 300 apt-get -qq "${options[@]}" download "$image" busybox-static </dev/null >>"$apt/log" 2>&1) || {
		why="$image for $arch could not be fetched: $(reason "$apt/log")"
		return 1
	}
}

# Prints the first error in a log of apt-get.
reason() {
	awk '/^[EW]: / { sub(/^[EW]: /, ""); print; found = 1; exit } END { if (!found) print "apt-get did not answer in time" }' "$1"
}

# Builds the test binaries for $goarch into $work/tests-$goarch/t, once; one folder a package.
build() {
	local out=$work/tests-$goarch start=$SECONDS
	[ ! -e "$out" ] || return 0
	mkdir -p "$out/t"
	local pattern
	local -a library=()
	for pattern in "${packages[@]:-./...}"; do
		case $pattern in
		./integration/isolation)
			if natively; then
				build_package github.com/gonso/gonso/integration/isolation "$root/integration/isolation"
				build_programs "$out/t/integration__isolation"
			else
				say "left out for $goarch: $pattern, as the programs of this machine are others"
			fi
			;;
		*) library+=("$pattern") ;;
		esac
	done
	local path dir
	if [ ${#library[@]} -gt 0 ]; then
		while IFS=$'\t' read -r path dir; do
			build_package "$path" "$dir"
		done < <(cd "$root" && GOOS=linux GOARCH=$goarch CGO_ENABLED=0 go list -f \
			'{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{end}}' "${library[@]}" | sed '/^$/d')
	fi
	local -a built=("$out"/t/*)
	[ -e "${built[0]}" ] || die "no package has tests"
	say "built ${#built[@]} test binaries for $goarch in $((SECONDS - start)) s"
}

# Reports whether $goarch is this machine's, so that its programs run there.
natively() { [ "$goarch" = "$(go env GOHOSTARCH)" ]; }

build_package() {
	local name=${1#github.com/gonso/gonso/}
	local to=$work/tests-$goarch/t/${name//\//__}
	mkdir "$to"
	(cd "$2" && CGO_ENABLED=0 GOOS=linux GOARCH=$goarch go test -c -ldflags='-s -w' -o "$to/test" .)
	say "$1" >"$to/package"
	[ ! -d "$2/testdata" ] || cp -r "$2/testdata" "$to/"
}

# The guest has no Go, so what isolation's tests build is built here, by its test binary.
build_programs() {
	mkdir "$1/programs"
	(cd "$root/integration/isolation" && GONSO_TEST_PROGRAM=builder "$1/test" "$1/programs")
	find "$1/testdata" -name '*.go' -delete
	say "GONSO_TEST_PROGRAMS=/t/${1##*/}/programs" >"$1/env"
	# What is packed for these tests has to be found.
	say runc,tools,process,cgroup2,pty,filecaps,suid,freezer,fuse >"$1/require"
	[ ! -e "$1/programs/visitor.dynamic" ] || say gcc,cgo >>"$1/require"
}

# Copies this machine's tools, and the libraries of those and of the programs, into a tree.
pack_tools() {
	local tool path program
	local -a programs=("$1"/t/*/programs/*)
	for tool in "${tools[@]}"; do
		path=$(PATH=$PATH:/usr/sbin:/sbin type -P "$tool") || continue
		# Unlike cp -a: what a link names; with the setuid bit.
		cp -L --preserve=mode "$path" "$1/bin/$tool"
		programs+=("$path")
	done
	for program in "${programs[@]}"; do
		ldd "$program" 2>/dev/null || true # it is static
	done | awk '{ for (i = 1; i <= NF; i++) if ($i ~ "^/") { print $i; break } }' | sort -u |
		while read -r path; do
			mkdir -p "$1${path%/*}"
			cp -L "$path" "$1$path"
		done
}

pack() {
	local tree=$work/$kernel/tree
	mkdir -p "$tree"/{bin,dev,etc,lib,lib64,proc,sys,tmp,root,home/plain,newroot,run,usr}
	cp "$cache/$suite-$arch/busybox" "$tree/bin/busybox"
	chmod 0755 "$tree/bin/busybox"
	ln -s busybox "$tree/bin/sh"
	cp "$scripts/guest-init.sh" "$tree/init"
	chmod 0755 "$tree/init"
	cp -r "$work/tests-$goarch/t" "$tree/t"
	cp -r "$cache/$suite-$arch/modules" "$tree/lib/modules"
	if natively; then pack_tools "$tree"; fi
	printf '%s\n' "$run" >"$tree/etc/test-run"
	printf '%s\n' "$bench" >"$tree/etc/test-bench"
	printf '%s\n' "$limit" >"$tree/etc/test-timeout"
	printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'plain:x:1000:1000:plain:/home/plain:/bin/sh' >"$tree/etc/passwd"
	printf '%s\n' 'root:x:0:' 'plain:x:1000:' >"$tree/etc/group"
	printf '%s\n' 'plain:100000:65536' >"$tree/etc/subuid"
	cp "$tree/etc/subuid" "$tree/etc/subgid"
	printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$tree/etc/hosts"
	# Owners are set by the guest: whoever packs need not be root.
	(cd "$tree" && find . -print0 | cpio --null --quiet -o -H newc -R 0:0) >"$work/$kernel/initramfs"
	rm -rf "$tree"
}

# Boots $kernel and prints what its tests did. Counts go to passed, failed and skipped.
boot() {
	local log=$work/$kernel/console start=$SECONDS status=0 memory
	# What is packed is unpacked into memory, of which a tmpfs gets half, and then moved to another
	# one. Floods take more than two gigabytes, which 32 bits do not have.
	memory=4096
	[ "$goarch" != arm ] || memory=2048
	memory=$((memory + $(stat -c %s "$work/$kernel/initramfs") * 4 / 1048576))
	memory=$(((memory + 255) / 256 * 256)) # as POWER has it
	[ "$goarch" != mips64le ] || memory=2048 # no more fits into that machine
	timeout -k 5 "$limit" "${qemu[@]}" -smp "$cpus" -m "$memory" -nodefaults -display none -no-reboot \
		-kernel "$cache/$suite-$arch/vmlinuz" -initrd "$work/$kernel/initramfs" \
		-append "console=$console panic=-1 quiet loglevel=3 random.trust_cpu=on" \
		-serial "file:$log" </dev/null 2>"$work/$kernel/qemu" &
	qemu_pid=$! # timeout's; it passes the signal of cleanup on
	wait "$qemu_pid" || status=$?
	qemu_pid=
	[ -s "$log" ] || {
		tail -n 5 "$work/$kernel/qemu" >&2
		die "$kernel: qemu gave no output (status $status)"
	}
	tr -d '\r' <"$log" >"$log.text"

	local release p f s end
	release=$(sed -n 's/.*gonso-guest: kernel //p' "$log.text" | head -n 1)
	end=$(sed -n 's/^gonso-guest: done //p' "$log.text" | tail -n 1)
	"$work/runtests" -log "$log.text" >"$log.report"
	read -r p _ f _ s _ < <(tail -n 1 "$log.report")
	grep -E $'^(ok  |FAIL)\t|^# as |^Benchmark[^ ]*[ \t]+[0-9]+\t' "$log.text" || true
	if [ -n "$bench" ]; then p=$((p + $(grep -cE $'^Benchmark[^ ]*[ \t]+[0-9]+\t' "$log.text" || true))); fi
	if [ "$end" = 0 ] && [ "$f" = 0 ] && [ "$p" -gt 0 ]; then
		grep ' skipped: ' "$log.report" || true
	else
		[ "$f" -gt 0 ] || f=1 # a crash or a hang is a failure too
		cat "$log.report"
		if [ -z "$end" ]; then say "$kernel: no end marker within $limit s; the console's last lines:"; tail -n 40 "$log.text"; fi
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	say "$kernel (Linux ${release:-did not start}): $p passed, $f failed, $s skipped, $((SECONDS - start)) s"
}

go build -C "$root/integration" -o "$work/runtests" ./runtests
passed=0 failed=0 skipped=0 unavailable_kernels=0
for kernel in "${kernels[@]}"; do
	describe "$kernel"
	# In a subshell, so that one kernel's trouble leaves the others their turn; and not as a
	# condition, where set -e would be off.
	status=0
	set +e
	(
		set -e
		if ! command -v "${qemu[0]}" >/dev/null || ! command -v cpio >/dev/null; then
			unavailable "no ${qemu[0]} or no cpio (integration/scripts/setup.sh kernels installs them)"
		fi
		fetch
	)
	status=$?
	set -e
	if [ "$status" = 3 ]; then
		unavailable_kernels=$((unavailable_kernels + 1))
		continue
	fi
	[ "$status" = 0 ] || exit "$status"
	build
	mkdir "$work/$kernel"
	pack
	boot
done

say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || exit 1
[ "$unavailable_kernels" = 0 ] || exit 3
