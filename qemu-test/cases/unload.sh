# SPDX-License-Identifier: GPL-2.0
# Both modules come and go, whatever is going on.
# run: --timeout 400
set -euo pipefail
. "$TOOLS/helpers.sh"

# ready FILE...: all have begun to arrive.
begun() {
	local file
	for file; do [ -s "$file" ] || return; done
}
# downloads: starts four slow ones, and a connection that has not sent its request yet.
downloads() {
	local i
	rm -f got.*
	PIDS=()
	for i in 1 2 3 4; do
		on client curl -sSN -m $((60 * SLOW)) "http://$VIP/slow/100m" -o "got.$i" 2>/dev/null &
		PIDS+=($!)
	done
	spawn client python3 -c 'from http_client import *; c = Client(); time.sleep(600)'
	WAITING=$SPAWNED
	wait_for 30 begun got.1 got.2 got.3 got.4
}
# broken: the downloads end, in bounded time, and not as if all were well.
broken() {
	local pid status begin=$SECONDS
	for pid in "${PIDS[@]}"; do
		status=0
		wait "$pid" || status=$?
		# 18: partial file; 52: nothing; 56: reset. 28 would be the time limit.
		case $status in 18 | 52 | 56) ;; *) fail "curl's exit status after $1: $status" ;; esac
	done
	[ $((SECONDS - begin)) -lt $((30 * SLOW)) ] || fail "$1: the downloads hung for $((SECONDS - begin)) s"
	kill $WAITING 2>/dev/null || true
	wait $WAITING || true
}
works() {
	local i
	# Servers that were found to have failed are back when they have answered twice.
	all_up
	for ((i = 0; i < 3; i++)); do fetch /1k; done | sort -u >turns
	same "servers that answer $1" "$(grep -c '^200 server' turns)" 3
}
sockets_gone() {
	local n
	for n in 1 2 3; do
		# nginx itself may still hold a socket that it has not noticed to be reset.
		[ "$(on "server$n" ss -Htn state connected "sport = :80" | grep -vc TIME-WAIT)" = 0 ] || return
	done
}
ends_server() {
	downloads
	unload_module thop_server 20 || fail "rmmod thop_server with live connections"
	broken "unloading the server's module"
	wait_for 10 sockets_gone || { on server1 ss -tn; fail "adopted sockets have outlived the server's module"; }
	load_server
}
ends_switch() {
	downloads
	unload_module thop_switch 20 || fail "rmmod thop_switch with live connections"
	broken "unloading the switch's module"
	wait_for 10 sockets_gone || { on server1 ss -tn; fail "adopted sockets have outlived the switch's module"; }
	load_switch
	default_configuration | configure
}

for round in 1 2 3; do
	step "round $round: rmmod of the switch's and of the server's module, with downloads under way"
	ends_switch
	works "after the switch's module has come back"
	ends_server
	works "after the server's module has come back"
done

step "a server that must be silent stays so when its module goes: another has the connection by then"
pool_of 1 2 | sed 's/^server s/server quiet/' | unchecked | configure
acquaint
on server1 nft -f - <<-NFT
	table ip watch {
		chain c {
			type filter hook postrouting priority 300;
			tcp sport 80 tcp flags & rst == rst counter
		}
	}
NFT
# Nothing that it says arrives, and it does not hear that its handoff is given up.
drop server1 out "ip protocol { tcp, 253 }"
drop server1 in "ip protocol 253 @th,384,16 6"
silenced=$(stat_server 1 silenced)
pids=()
for n in 1 2 3 4; do
	spawn client curl -sS -m 60 -o /dev/null -w '%{http_code}\n' "http://$VIP/1k" >"silent.$n"
	pids+=($SPAWNED)
done
for pid in "${pids[@]}"; do wait "$pid" || true; done
# Else there was nothing to be silent about.
[ "$(stat_server 1 silenced)" -gt "$silenced" ] || fail "server 1 had nothing to say"
same "requests, two of which server 1 has had" "$(cat silent.? | paste -sd' ')" "200 200 200 200"
unload_module thop_server 20
same "resets of server 1" "$(on server1 nft list table ip watch | awk '/counter/ { for (i = 1; i < NF; i++) if ($i == "packets") print $(i + 1) }')" 0
undrop server1
on server1 nft delete table ip watch
load_server
default_configuration | configure
works "afterwards"

step "both at once, and in the other order, five times, under traffic"
for round in 1 2 3 4 5; do
	spawn client ab -q -r -s 5 -n 100000 -c 8 -t 2 "http://$VIP/1k" >/dev/null 2>&1
	traffic=$SPAWNED
	sleep 1
	if [ $((round % 2)) = 0 ]; then
		unload_module thop_server 20
		unload_module thop_switch 20
	else
		unload_module thop_switch 20
		unload_module thop_server 20
	fi
	load_modules
	default_configuration | configure
	kill $traffic 2>/dev/null || true
	wait $traffic || true
	works "in round $round"
done

step "no trace is left of modules that are gone"
unload_modules
for node in $NODES; do
	same "proc files on $node" "$(on "$node" sh -c 'ls -d /proc/net/thop* 2>/dev/null')" ""
done
same "modules" "$(grep '^thop' /proc/modules)" ""
# A slab cache goes a little later, when the last object has passed through RCU.
no_caches() { ! grep '^thop' /proc/slabinfo; }
wait_for 20 no_caches || { grep '^thop' /proc/slabinfo; fail "slab caches are left"; }
[ "$(on switch ss -Htln | wc -l)" = 0 ] || fail "a listener of the switch's is left"
same "a server's own address" "$(on client curl -sS -o /dev/null -w '%{http_code}' "http://$SERVER1/1k")" 200

step "parameters: nonsense is refused or corrected, small tables do, another protocol number too"
for bad in buckets=0 buckets=-1 protocol=300 protocol=6 linger_ms=x; do
	for m in switch server; do
		insmod "$MODULES/thop-$m.ko" $bad 2>/dev/null && rmmod "thop_$m" || true
	done
done
! loaded thop_switch && ! loaded thop_server || fail "still loaded"
load_modules "buckets=1 protocol=254 linger_ms=100" "buckets=1 protocol=254 linger_ms=100"
default_configuration | configure
works "with one bucket and protocol 254"
on client ab -q -n 300 -c 20 "http://$VIP/1k" 2>&1 | grep -q '^Failed requests: *0$' || fail "ab with one bucket"
unload_modules

step "a limit of connections"
load_modules "connections=4 linger_ms=100" ""
default_configuration | configure
py client <<'PY'
from http_client import *

held = [Client() for _ in range(4)]
for c in held:
    c.send(request("/slow/1m"))
    c.more()
with Client() as c:
    c.send(request("/1k"))
    answer = c.answer(status=None)
    same("status beyond the limit", answer.status, 503)
for c in held:
    c.reset()
PY
after_limit() { [ "$(fetch /1k | cut -c1-3)" = 200 ]; }
wait_for 20 after_limit || fail "no connection after others have ended"
