# SPDX-License-Identifier: GPL-2.0
# 20,000 connections, or on a slow kernel as many as take no longer, and nothing is left of them.
# run: --timeout 600 --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

# Its log would be megabytes in memory; and more than a thousand connections wait in its TIME-WAIT.
fetch /1k >/dev/null
wait_for 20 tables_empty
active_objects >before
grep -q thop before || fail "no slab cache of ours in /proc/slabinfo"

count=$((20000 / SLOW))
step "$count connections, 64 at a time"
on client ab -q -n $count -c 64 "http://$VIP/1k" >ab.out 2>&1 || { cat ab.out; fail "ab gave up"; }
grep -E '^(Complete|Failed|Non-2xx|Requests per|Time taken|  (50|99|100)%|Total transferred|HTML transferred)|^   \(' ab.out || true
same "complete requests" "$(awk '/^Complete requests/ { print $3 }' ab.out)" $count
same "failed requests" "$(awk '/^Failed requests/ { print $3 }' ab.out)" 0
same "octets of answers" "$(awk '/^HTML transferred/ { print $3 }' ab.out)" $((count * 1024))
! grep -q '^Non-2xx' ab.out || fail "answers of the wrong kind"

step "the tables are empty after the linger time"
wait_for 30 tables_empty || {
	on switch head -5 /proc/net/thop_switch/connections
	on server1 head -5 /proc/net/thop_server/connections
	fail "connections are left in the tables"
}

step "no object of ours is left in the slab caches"
# /proc/slabinfo counts what lies in the processors' own freelists as active until a shrink.
no_objects() {
	for cache in /sys/kernel/slab/thop*/shrink; do echo 1 >"$cache"; done
	active_objects >after
	awk 'NR == FNR { before[$1] = $2; next } $2 > before[$1] { bad = 1 } END { exit bad }' before after
}
wait_for 30 no_objects || { paste before after; fail "objects are left"; }

step "no socket is left: only TIME-WAIT, which is the kernel's"
sockets_gone() {
	local node
	for node in client switch server1 server2 server3; do
		[ "$(on "$node" ss -Htna | grep -vcE 'LISTEN|TIME-WAIT')" = 0 ] || return
	done
}
wait_for 20 sockets_gone || { on switch ss -tna | head; on server1 ss -tna | grep -v TIME-WAIT | head; fail "sockets are left"; }
same "orphans" "$(on switch awk '/^TCP:/ { print $5 }' /proc/net/sockstat)" 0

step "all servers had their share"
for n in 1 2 3; do
	got=$(grep -c 'GET /1k' "$LOGDIR/server$n.access.log")
	[ "$got" -ge $((count * 33 / 100)) ] && [ "$got" -le $((count * 34 / 100)) ] || fail "server$n had $got of $((count + 1)) requests"
done
