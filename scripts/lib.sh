# SPDX-License-Identifier: GPL-2.0
# Shared by the scripts: where things are, how messages look, how to run inside the build root.
# Sourced, never executed.

# What is made must be readable inside the build root, whatever the caller's habits.
umask 022

# The checkout.
THOP_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is made once and kept lies here, outside the checkout.
THOP_CACHE=$(realpath -m "${THOP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/thop}")
# The Debian 13 tree that holds toolchain, kernels and the programs the tests use.
THOP_ROOT=$THOP_CACHE/root

say() {
	if [ -t 2 ]; then
		printf '\033[1m==> %s\033[0m\n' "$*" >&2
	else
		printf '==> %s\n' "$*" >&2
	fi
}
note() { printf '    %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "$1 must run as root (it makes mounts and virtual machines)"
}

need_buildroot() {
	[ -e "$THOP_ROOT/usr/src/thop/newest" ] || die "there is no build root yet: run scripts/buildroot"
}

# enter [--bind FROM:TO]... [--bind-ro FROM:TO]... [--chdir DIR] [--] COMMAND...
#
# Runs COMMAND inside the build root. All mounts are made in a private mount namespace, so they
# vanish with the command however it ends, and nobody outside ever sees them.
# Of the environment only the proxies get in.
enter() {
	local binds='' dir=/ name proxies=()
	while [ $# -gt 0 ]; do
		case $1 in
		--bind)
			binds+=rw:$2$'\n'
			shift 2
			;;
		--bind-ro)
			binds+=ro:$2$'\n'
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
	for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
		if [ -n "${!name:-}" ]; then
			proxies+=("$name=${!name}")
		fi
	done
	THOP_ROOT=$THOP_ROOT THOP_BINDS=$binds THOP_CHDIR=$dir \
		unshare --mount --propagation private -- \
		bash -eu -c '
			mount --bind "$THOP_ROOT" "$THOP_ROOT"
			mount -t proc proc "$THOP_ROOT/proc"
			mount -t tmpfs -o mode=1777 tmpfs "$THOP_ROOT/tmp"
			mount --rbind /dev "$THOP_ROOT/dev"
			# The name servers of today, not of the day when the root was made.
			if [ -e /etc/resolv.conf ] && [ -f "$THOP_ROOT/etc/resolv.conf" ]; then
				mount --bind "$(readlink -f /etc/resolv.conf)" "$THOP_ROOT/etc/resolv.conf"
			fi
			while IFS= read -r b; do
				[ -n "$b" ] || continue
				mode=${b%%:*} to=$THOP_ROOT${b##*:} b=${b#*:}
				mkdir -p "$to"
				mount --bind "${b%:*}" "$to"
				[ "$mode" = rw ] || mount -o remount,bind,ro "$to"
			done <<<"$THOP_BINDS"
			dir=$THOP_CHDIR root=$THOP_ROOT
			unset THOP_CHDIR THOP_ROOT THOP_BINDS
			exec chroot "$root" env -C "$dir" "$@"
		' enter env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive ${proxies[@]+"${proxies[@]}"} "$@"
}

# in_cargo COMMAND...: runs COMMAND in the checkout, inside the build root, with Cargo's downloads
# and results kept in the cache. How this machine's Cargo reaches crates (mirror, certificates,
# environment) holds inside too.
in_cargo() {
	local home=$THOP_CACHE/cargo name config ca env=()
	mkdir -p "$home" "$THOP_CACHE/target"
	rm -f "$home/config.toml"
	for name in config.toml config; do
		config=${CARGO_HOME:-${HOME:-/root}/.cargo}/$name
		if [ -f "$config" ]; then
			cp "$config" "$home/config.toml"
			break
		fi
	done
	for ca in "${CARGO_HTTP_CAINFO:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
		if [ -n "$ca" ] && [ -f "$ca" ]; then
			cp "$ca" "$home/ca.crt"
			env+=(CARGO_HTTP_CAINFO=/mnt/cargo/ca.crt)
			break
		fi
	done
	for name in ${!CARGO_HTTP_@} ${!CARGO_NET_@} ${!CARGO_SOURCE_@}; do
		[ "$name" = CARGO_HTTP_CAINFO ] || env+=("$name=${!name}")
	done
	# The target directory and no wrapper, whatever that configuration says.
	enter --bind "$THOP_TOP:/mnt/thop" --bind "$home:/mnt/cargo" \
		--bind "$THOP_CACHE/target:/mnt/target" --chdir /mnt/thop -- \
		env CARGO_HOME=/mnt/cargo CARGO_TARGET_DIR=/mnt/target RUSTC_WRAPPER= CARGO_TERM_COLOR=never \
		${env[@]+"${env[@]}"} "$@"
}

# add_packages NAME PACKAGE...: into the build root, what only some want of it.
add_packages() {
	local name=$1 log=$THOP_CACHE/packages-$1.log
	shift
	enter dpkg -s "$@" >/dev/null 2>&1 && return
	say "installing $*"
	(
		# The packages are the build root's; nobody else may be at them.
		exec 9>"$THOP_CACHE/lock"
		flock 9
		enter bash -euc '
			apt-get -qq update
			apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
		' install "$@" >"$log" 2>&1
	) || { tail -n 30 "$log" >&2; die "apt-get failed; whole log: $log"; }
}

# source_files: the files of the repository, new ones too, NUL after each. In the build root, as
# this machine may have no git.
source_files() {
	enter --bind-ro "$THOP_TOP:/mnt/thop" --chdir /mnt/thop -- bash -c '
		git -c safe.directory="*" ls-files -z --cached --others --exclude-standard 2>/dev/null ||
			find . \( -name .git -o -name target -o -name build \) -prune -o -type f -printf "%P\\0"
	' | while IFS= read -r -d '' f; do
		# Listed but deleted happens.
		[ ! -f "$THOP_TOP/$f" ] || printf '%s\0' "$f"
	done
}

# The kernel that is booted, and its predecessor's series ("" when the suite has none).
newest_kernel() { cat "$THOP_ROOT/usr/src/thop/newest"; }
previous_kernel() { cat "$THOP_ROOT/usr/src/thop/previous" 2>/dev/null || true; }

# kernel_tree KERNEL: where in the build root a kernel's tree is. KERNEL is the version of a stock
# one, or the name of one of scripts/debug-kernel's.
kernel_tree() {
	case $1 in
	debug | kcsan) echo "/usr/src/thop-kernels/$1" ;;
	*) echo "/usr/src/thop/$1" ;;
	esac
}
