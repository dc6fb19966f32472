# SPDX-License-Identifier: GPL-2.0
# The first steps of every virtual machine. Sourced by guest-init and demo-init, which are process 1.

export PATH=/run/thop-bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 TERM=dumb

# Ends the virtual machine. Where there is no ACPI nothing can be switched off, but QEMU does not let it
# start again.
power_off() {
	[ -d /sys/firmware/acpi ] || exec busybox reboot -f
	exec busybox poweroff -f
}

# port NAME: sets PORT to the device of the virtio port that the host calls so.
port() {
	local i p name
	for ((i = 0; i < 200; i++)); do
		for p in /sys/class/virtio-ports/*; do
			if read -r name 2>/dev/null <"$p/name" && [ "$name" = "$1" ]; then
				PORT=/dev/${p##*/}
				return
			fi
		done
		sleep 0.05
	done
	echo "no port $1" >/dev/console
	power_off
}

mount_all() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs devtmpfs /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t tmpfs tmpfs /dev/shm
	ln -sf /proc/self/fd /dev/fd
	ln -sf fd/0 /dev/stdin
	ln -sf fd/1 /dev/stdout
	ln -sf fd/2 /dev/stderr
}
