# SPDX-License-Identifier: GPL-2.0
# Shared by the scripts: where things are, how messages look, how to run inside the build root.
# Sourced, never executed.

# The checkout.
THOP_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is made once and kept lies here, outside the checkout.
THOP_CACHE=${THOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thop}
# The Debian 13 tree that holds toolchain, kernels and the programs the tests use.
THOP_ROOT=$THOP_CACHE/root

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "$1 must run as root (it makes mounts and virtual machines)"
}

# enter [--bind FROM:TO]... [--chdir DIR] [--] COMMAND...
#
# Runs COMMAND inside the build root. All mounts are made in a private mount namespace, so they
# vanish with the command however it ends, and nobody outside ever sees them.
enter() {
	local binds=() dir=/
	while [ $# -gt 0 ]; do
		case $1 in
		--bind)
			binds+=("$2")
			shift 2
			;;
		--chdir)
			dir=$2
			shift 2
			;;
		--)
			shift
			break
			;;
		*) break ;;
		esac
	done
	THOP_ROOT=$THOP_ROOT THOP_BINDS="${binds[*]}" THOP_CHDIR=$dir \
		unshare --mount --propagation private -- \
		bash -eu -c '
			mount --bind "$THOP_ROOT" "$THOP_ROOT"
			mount -t proc proc "$THOP_ROOT/proc"
			mount -t tmpfs -o mode=1777 tmpfs "$THOP_ROOT/tmp"
			mount --rbind /dev "$THOP_ROOT/dev"
			for b in $THOP_BINDS; do
				mkdir -p "$THOP_ROOT${b#*:}"
				mount --bind "${b%%:*}" "$THOP_ROOT${b#*:}"
			done
			dir=$THOP_CHDIR root=$THOP_ROOT
			unset THOP_CHDIR THOP_ROOT THOP_BINDS
			exec chroot "$root" env -C "$dir" "$@"
		' enter env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive "$@"
}

# The kernel that is booted, and its predecessor's series ("" when the suite has none).
newest_kernel() { cat "$THOP_ROOT/usr/src/thop/newest"; }
previous_kernel() { cat "$THOP_ROOT/usr/src/thop/previous" 2>/dev/null || true; }
