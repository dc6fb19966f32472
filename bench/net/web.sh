# SPDX-License-Identifier: GPL-2.0
# What a request costs with CONTENDER. Each is on a connection of its own, to a real nginx.
#
# With one processor: the whole chain, and how long it takes; the machine has its own time, so that what
# the host does besides does not show. Runs differ by some percent, as hashes and addresses are drawn anew.
# With three: the switch. One is for the client, one for the switch and one for the server: whatever comes over a cable is
# received by the processor that it came to (receive packet steering), programs are bound to theirs, and what kernel
# threads do is put down to the switch's. They take turns, so that packets come in larger groups than they would.
# run: --servers 1 --cpus 3 --memory 4096 --timeout 7200
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$FRONT_CLIENT/32 IPVS_ARGS=

. "$WITH/web.conf"
# Whether to say where the functions are, that what each has executed can be told.
PROFILE=${PROFILE:-}

unload_modules
stop_nginx 1
cables
# Here everybody is real.
for node in client server1; do on $node nft delete table ip mute; done
answers_via $DIRECT_CLIENT

# alone: whether there is one processor only. Later this script has only one to run on.
PROCESSORS=$(nproc)
alone() { [ "$PROCESSORS" = 1 ]; }

# steer NODE DEVICE PROCESSOR
steer() { on "$1" sh -c "printf %x $((1 << $3)) >/sys/class/net/$2/queues/rx-0/rps_cpus"; }
FOR_CLIENT=() FOR_SWITCH=()
alone || {
	FOR_CLIENT=(taskset -c 0) FOR_SWITCH=(taskset -c 1)
	steer client front 0
	steer client direct 0
	steer switch front 1
	steer switch back 1
	steer server1 back 2
	steer server1 direct 2
	echo 2 >/sys/devices/virtual/workqueue/cpumask
}

by_client() { "${FOR_CLIENT[@]}" on client "$@"; }
by_switch() { "${FOR_SWITCH[@]}" on switch "$@"; }
start_server() {
	# What it starts inherits where it runs.
	alone || taskset -pc 2 $$ >/dev/null
	NGINX_SERVER='access_log off;' start_nginx 1
	alone || taskset -pc 0 $$ >/dev/null
}

. "$WITH/contenders.sh"

# --- measuring

# No processor goes idle while it is measured: what that costs depends on how this machine is simulated. Each has a
# program that does nothing, and gives way to any other; its waiting does not count.
SPINNERS=()
occupy() {
	alone && return
	local n
	for n in 0 1 2; do
		chrt --idle 0 taskset -c $n "$WITH/traffic" spin &
		SPINNERS+=($!)
	done
}
release() {
	alone && return
	kill "${SPINNERS[@]}"
	wait "${SPINNERS[@]}" || true
	SPINNERS=()
}

# ask SIZE COUNT ARGUMENT...: COUNT requests, of which each moves SIZE octets.
ask() {
	local size=$1 count=$2 direction=$3 at_once=$4 times
	shift 4
	occupy
	times=$(by_client "$WITH/traffic" requests --service $TO --count "$count" --at-once "$at_once" "$@")
	release
	echo "measured $direction $CONTENDER $size $count $at_once $times"
}

ip -n server1 address add $FAR_SERVER/32 dev lo
# In memory: while a server waits for a file of the host's, the machine's own time would go on to the next tick.
mkdir files
for file in 1k 100k 1m 100m; do cp "$WWW/files/$file" files/; done
mount --bind files "$WWW/files"
start_server
"${CONTENDER}_begins"
ask 1024 "$REQUESTS" download 64 --path /1k --length 1024 --first 200
[ -z "$LARGE" ] || {
	ask 102400 100 download 4 --path /100k --length 102400 --first 8
	ask 1048576 100 download 4 --path /1m --length 1048576 --first 4
	ask 104857600 2 download 1 --path /100m --length 104857600 --first 1
	ask 1048576 100 upload 4 --path /upload/x --upload 1048576 --first 4
}
[ -z "$PROFILE" ] || awk '$2 ~ /^[tTwW]$/ { print "symbol", $1, $3, $4 }' /proc/kallsyms
# One after the other.
! alone || ask 1024 "$REQUESTS" latency 1 --path /1k --length 1024
umount --lazy "$WWW/files"
