# SPDX-License-Identifier: GPL-2.0
# Cells: things that are odd about a machine, each tried by itself. Sourced by the scripts in qemu-test/odd;
# scripts/odd-machines collects what they print, and makes docs/odd-machines.md of it.
#
#   group TEXT                        the cells that follow belong together
#   cell NAME FUNCTION [ARG]...       tries it: the function fails, or takes longer than LIMIT seconds, when it does not work
#   limit NAME REASON FUNCTION [ARG]...
#                                     what does not work, and why; the function fails unless that shows as documented
#   cells_end                         the script's exit status
#
# A function runs in a shell of its own with `set -e`; whatever it has started ends with it. What it has changed it
# undoes; `fresh` makes all nodes anew, and so does `cell` after one that failed.

. "$TOOLS/helpers.sh"
export PYTHONPATH=$TOOLS:$WITH

LIMIT=60
GROUP=
BAD_CELLS=0
LOG_MARK=0
# What the kernel may not say while a cell is tried.
TROUBLE='WARNING:|BUG|Oops|Call Trace:|refcount_t|unregister_netdevice: waiting|stall|lockup|KASAN|general protection'

group() {
	GROUP=$1
	echo "group	$1"
}

cell() { try_cell ok "$1" '' "${@:2}"; }
limit() { try_cell limit "$@"; }

# try_cell WORD NAME REASON FUNCTION [ARG]...
try_cell() {
	local word=$1 name=$2 reason=$3 status=0 job end
	shift 3
	echo "begin	$name"
	rm -f cell.out
	kernel_lines >cell.before
	set -m
	(
		set -euo pipefail
		"$@"
	) >cell.out 2>&1 </dev/null &
	job=$!
	set +m
	end=$((SECONDS + LIMIT * SLOW))
	while kill -0 $job 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.1; done
	if kill -0 $job 2>/dev/null; then
		echo "FAIL: not done after $LIMIT s" >>cell.out
		status=1
	fi
	kill -KILL -- -$job 2>/dev/null || true
	wait $job 2>/dev/null || status=$?
	if trouble_since "$(cat cell.before)" >cell.kernel; then
		status=1
		{
			cat cell.kernel
			echo "FAIL: the kernel complains: $(head -n 1 cell.kernel | sed 's/^\[[^]]*\] *//' | cut -c1-80)"
		} >>cell.out
	fi
	if [ $status != 0 ]; then
		BAD_CELLS=$((BAD_CELLS + 1))
		sed 's/^/    /' cell.out
		diagnose_cell | sed 's/^/    /'
		word=fail
		reason=$(grep '^FAIL: ' cell.out | tail -n 1 | sed -E 's/^FAIL: //; s/ \([^ ]*:[0-9].*\)$//')
		reason=${reason:-ended with status $status: $(tail -n 1 cell.out)}
	fi
	printf 'cell\t%s\t%s\t%s\t%s\n' "$word" "$GROUP" "$name" "$(tr '\t\n' '  ' <<<"$reason" | sed 's/ *$//')"
	[ $status = 0 ] || fresh
}

kernel_lines() { dmesg | wc -l; }
trouble_since() { dmesg | tail -n "+$(($1 + 1))" | grep -E -A 12 "$TROUBLE"; }

cells_end() {
	echo "cells	$BAD_CELLS failed"
	[ $BAD_CELLS = 0 ]
	exit
}

diagnose_cell() {
	local n
	on switch awk '$2 != 0' /proc/net/thop_switch/stats 2>/dev/null | paste -sd ' '
	on switch cat /proc/net/thop_switch/servers 2>/dev/null
	for ((n = 1; n <= SERVERS; n++)); do
		echo "server$n: $(on "server$n" awk '$2 != 0' /proc/net/thop_server/stats 2>/dev/null | paste -sd ' ')"
		tail -n 3 "$LOGDIR/server$n.error.log" 2>/dev/null || true
	done
}

# fresh: nodes, modules, servers and configuration as a script finds them.
fresh() {
	local node
	for node in /run/netns/*; do
		[ -e "$node" ] || continue
		ip netns pids "${node##*/}" | xargs -r kill -KILL 2>/dev/null || true
	done
	if ! unload_modules; then
		printf 'cell\tfail\t%s\tunloading\ta module cannot be unloaded\n' "$GROUP"
		exit 1
	fi
	nodes_down
	rm -rf "$WWW" "$LOGDIR"
	nodes_up || fail "the nodes cannot be made anew"
	all_up
}

# --- what is tried ------------------------------------------------------------------------------

# traffic [NAME...]: a client does what clients do, through the switch: all of traffic.py, or only these.
# Every POST is carried out exactly once, by the server that answers; and no server has refused
# or lost anything, nor the switch answered in its stead.
traffic() {
	counters >counters.before
	on client python3 "$WITH/traffic.py" posts "$@" || return 1
	posts_once posts || return 1
	counters >counters.after
	quiet_counters || return 1
}

# posts_once FILE: of the POSTs in FILE (`ID STATUS SERVER` a line) every one that was answered with 200 is in the
# logs of that server once and in no other's; one answered otherwise at most once.
posts_once() {
	# A log is written when the answer is sent, not before.
	wait_for 10 all_logged "$1" || true
	cat "$LOGDIR"/server*.access.log >logged
	awk '
		NR == FNR { if (match($0, /id=[A-Za-z0-9.-]+/)) times[substr($0, RSTART + 3, RLENGTH - 3)]++; next }
		$2 == 200 && times[$1] != 1 { print "POST " $1; print "FAIL: a POST was answered, and carried out " times[$1] + 0 " times"; bad = 1 }
		$2 != 200 && times[$1] > 1 { print "POST " $1; print "FAIL: a POST was answered with " $2 ", and carried out " times[$1] " times"; bad = 1 }
		END { exit bad }' logged "$1"
}
all_logged() {
	local id status
	while read -r id status _; do
		[ "$status" != 200 ] || grep -qF "id=$id" "$LOGDIR"/server*.access.log || return
	done <"$1"
}

# What must not move while all is well.
counters() {
	local n
	on switch awk '/^(answered_|unanswered|moved|refused_|drop_no_route|drop_ttl|drop_too_big|drop_no_memory|drop_hold_full|send_errors|denied_)/ { print "switch", $1, $2 }' \
		/proc/net/thop_switch/stats
	for ((n = 1; n <= SERVERS; n++)); do
		on "server$n" awk -v n="server$n" '/^(adopted_gone|refused_|silenced|segments_lost|send_errors|lease_over|denied_)/ { print n, $1, $2 }' \
			/proc/net/thop_server/stats
	done
}
quiet_counters() {
	awk '
		NR == FNR { before[$1 " " $2] = $3; next }
		$3 != before[$1 " " $2] { print "FAIL: " $1 ": " $2 " +" $3 - before[$1 " " $2]; bad = 1 }
		END { exit bad }' counters.before counters.after
}

# only_servers N...: the pool has only these servers.
only_servers() {
	local n
	pool_of "$@" | configure
	for n; do wait_state web/s"$n" "UP answers*"; done
}
