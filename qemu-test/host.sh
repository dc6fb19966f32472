# SPDX-License-Identifier: GPL-2.0
# What run and demo share on the host's side: which accelerator works, how QEMU is started.
# Sourced after scripts/lib.sh, never executed.

# QEMU's arguments that never differ. The machine has no network of the host's, no display and no
# default device; it exits instead of rebooting. The build root is its root file system, read-only.
# The kernel's: a crash is final at once and told in full; a slow emulation is not taken for a
# lock-up or a broken timer; KASLR and the mitigations only cost time here.
QEMU_ARGS=(
	-nodefaults -no-user-config -display none -no-reboot
	-virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap,id=root"
	-device virtio-serial
)
KERNEL_ARGS="console=ttyS0 panic=-1 oops=panic softlockup_panic=1 unknown_nmi_panic panic_print=0x40 \
watchdog_thresh=20 rcupdate.rcu_cpu_stall_timeout=40 log_buf_len=4M nokaslr mitigations=off no_timer_check"

# select_kernel NAME: sets BOOT to QEMU's arguments for the stock kernel, or one of scripts/debug-kernel's,
# and KERNEL to the name by which scripts/build knows it. SLOW: how many times slower it is.
select_kernel() {
	local tree
	case $1 in
	stock)
		KERNEL=$(newest_kernel) SLOW=1
		BOOT=(-kernel "/usr/lib/modules/$KERNEL/vmlinuz" -initrd /boot/thop-initramfs.gz)
		;;
	debug | kcsan)
		KERNEL=$1 SLOW=4
		tree=$(kernel_tree "$KERNEL")
		[ -e "$THOP_ROOT$tree/.thop-ready" ] || die "there is no $1 kernel yet: run scripts/debug-kernel"
		# Slow is not stuck. The last word on a parameter counts.
		KERNEL_ARGS+=" watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=160"
		BOOT=(-kernel "$tree/vmlinuz" -initrd "$tree/initramfs.gz")
		;;
	*) die "no kernel $1; there are stock, debug and kcsan" ;;
	esac
}

# spawn COMMAND...: COMMAND inside the build root as a background job. SPAWNED is its own process
# id, and it dies with this shell, however that ends.
spawn() {
	setpriv --pdeathsig KILL bash -euc '
		. "$1/scripts/lib.sh"
		shift
		# enter ends in unshare, chroot and env, each of which becomes the next: with this they
		# become one process, the one whose id the caller knows.
		unshare() { exec unshare "$@"; }
		enter "$@"
	' spawn "$THOP_TOP" "$@" &
	SPAWNED=$!
}

# Sets ACCEL to QEMU's arguments for the fastest accelerator that really runs the kernel, and adds
# to KERNEL_ARGS what the kernel must know for it. What was found out holds until the next reboot.
find_accelerator() {
	local v id answer kvm khz
	v=$(newest_kernel)
	id="$(uname -r) $(cat /proc/sys/kernel/random/boot_id) $v"
	answer=$(sed -n "s/^$id: //p" "$THOP_CACHE/accelerator" 2>/dev/null || true)
	if [ -z "$answer" ]; then
		kvm=no
		# /dev/kvm proves nothing: nested and restricted KVMs exist. So boot.
		[ ! -w /dev/kvm ] || kvm=$(probe_kvm "$v")
		answer="$kvm $(tsc_khz)"
		echo "$id: $answer" >"$THOP_CACHE/accelerator.$$"
		mv "$THOP_CACHE/accelerator.$$" "$THOP_CACHE/accelerator"
	fi
	read -r kvm khz <<<"$answer"
	if [ "$kvm" = yes ]; then
		ACCEL=(-accel kvm -cpu host)
	else
		# Five levels of page tables only cost an emulation time.
		ACCEL=(-accel "tcg,thread=multi" -cpu max,la57=off)
		# An emulated processor has the time-stamp counter of the real one. A kernel that measures it
		# while other processes get their turn may be wrong by a factor of two, and so are its clocks.
		KERNEL_ARGS+=" tsc=reliable tsc_early_khz=$khz"
	fi
}

# The frequency of this machine's time-stamp counter.
tsc_khz() {
	enter python3 -c '
import ctypes, mmap, time

# rdtsc; shl rdx, 32; or rax, rdx; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))
rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

def now():
    # The reading that was interrupted least.
    readings = []
    for _ in range(100):
        begin, ticks, end = time.monotonic_ns(), rdtsc(), time.monotonic_ns()
        readings.append((end - begin, (begin + end) // 2, ticks))
    return min(readings)[1:]

t0, c0 = now()
time.sleep(0.5)
t1, c1 = now()
print(round((c1 - c0) * 1e6 / (t1 - t0)))
'
}

# probe_kvm VERSION: yes when a virtual machine under KVM reaches our initramfs in ten seconds.
probe_kvm() {
	local dir pid i answer=no
	say "trying KVM (once)"
	dir=$(mktemp -d "${TMPDIR:-/tmp}/thop-kvm.XXXXXX")
	: >"$dir/console"
	spawn --bind "$dir:/run/thop-host" -- qemu-system-x86_64 -nodefaults -no-user-config \
		-display none -no-reboot -accel kvm -cpu host -m 512 \
		-kernel "/usr/lib/modules/$1/vmlinuz" -initrd /boot/thop-initramfs.gz \
		-append "console=ttyS0 panic=-1" -serial file:/run/thop-host/console </dev/null >/dev/null 2>&1
	pid=$SPAWNED
	for ((i = 0; i < 100; i++)); do
		# It has no root file system to mount, and our initramfs says so.
		if grep -q 'initramfs: no root' "$dir/console"; then
			answer=yes
			break
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	rm -rf "$dir"
	note "KVM works: $answer"
	echo "$answer"
}

# make_www: the files that the Web servers serve, made once, the same everywhere. Prints the folder.
# Blocks of pseudo-random bytes that never repeat, so that nothing lost, doubled or moved goes unseen.
make_www() {
	local dir=$THOP_CACHE/www
	if [ ! -e "$dir/100m" ]; then
		mkdir -p "$dir"
		enter --bind "$dir:/run/thop-www" --chdir /run/thop-www -- bash -euc '
			# Under another name until whole, as two may be doing this at once.
			openssl enc -aes-128-ctr -K 00 -iv 00 </dev/zero 2>/dev/null | head -c 104857600 >100m.$1 || true
			for f in 0:0 1k:1024 100k:102400 1m:1048576; do
				head -c ${f#*:} 100m.$1 >${f%:*}.$1
				mv ${f%:*}.$1 ${f%:*}
			done
			mv 100m.$1 100m
		' www $$
	fi
	echo "$dir"
}
