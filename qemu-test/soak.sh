# SPDX-License-Identifier: GPL-2.0
# Mixed traffic and faults at random, for as long as it is told; after it everything is as before. Every request
# is accounted for: what its client saw, and who carried it out. scripts/soak runs it.
# run: --memory 3072 --switch-args "linger_ms=1000 closed_ms=3000" --server-args "linger_ms=1000 closed_ms=3000"
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"

# What is left for setting up and for the end.
REST=600
SECONDS_LONG=$((TIMEOUT / ${SLOW:-1} - REST))
[ $SECONDS_LONG -gt 0 ] || fail "no time: --timeout wants more than $REST seconds"
SEED=${SEED:-$((0x$(od -vAn -N3 -tx1 /dev/urandom | tr -d ' ')))}
RANDOM=$SEED
echo "  $SECONDS_LONG s, seed $SEED"
# Besides nginx, applications that do other things with their sockets, all at the last server.
eval "plain_$(declare -f default_configuration)"
default_configuration() {
	local port
	plain_default_configuration
	echo 'pool unruly policy rr'
	for port in 81 82 83 84; do
		echo "server u$port pool unruly address $(address "server$SERVERS"):$port"
	done
	echo "service unruly address $VIP:8080 pool unruly"
}
modprobe tls || true # built in, where there is no module
spawn "server$SERVERS" python3 "$TOOLS/unruly.py" serve "server$SERVERS" >unruly.out 2>&1
UNRULY=$SPAWNED
wait_for 60 grep -q ready unruly.out || { cat unruly.out; fail "no applications"; }
default_configuration | configure
accounting_begins

# The kernel's own account, besides that of our caches: sockets, and who holds the modules.
# sockets PROTOCOL: in all nodes.
sockets() {
	local node
	for node in $NODES; do
		on "$node" awk -v p="$1:" '$1 == p { print $3 }' /proc/net/sockstat
	done | awk '{ n += $1 } END { print n }'
}

# --- faults: each undoes itself ------------------------------------------------------------------

any_server() { echo "server$((RANDOM % SERVERS + 1))"; }
fault_netem() {
	local node
	node=$({ echo client; echo switch; any_server; } | shuf -n 1 --random-source=<(seed_stream))
	netem "$node" delay $((RANDOM % 50 + 1))ms loss $((RANDOM % 15))% duplicate $((RANDOM % 10))% reorder $((RANDOM % 20))%
	sleep 5
	netem "$node" off
}
# Enough octets for shuf, from our own numbers.
seed_stream() { for _ in 1 2 3 4 5 6 7 8; do printf '%05d' $RANDOM; done; }
fault_cable() {
	local node
	node=$(any_server)
	unplug "$node"
	sleep $((RANDOM % 4 + 1))
	plug "$node"
}
fault_thop() {
	local node
	node=$(any_server)
	drop "$node" in "ip protocol 253"
	sleep $((RANDOM % 4 + 1))
	undrop "$node"
}
fault_nginx() {
	local n=$((RANDOM % SERVERS + 1))
	stop_nginx "$n"
	sleep $((RANDOM % 3))
	start_accounting "$n"
}
fault_reload() { kill -HUP "$(cat "$WWW/$(any_server)/nginx.pid")"; }
fault_configuration() {
	local policy
	for policy in wlc lc maglev lard "lard/r" rr; do
		default_configuration | sed "s,^pool web.*,pool web policy $policy," | configure
		sleep 0.2
	done
	default_configuration | configure
}
fault_orders() {
	local what n=$((RANDOM % SERVERS + 1))
	for what in drain maint "weight 3" ready; do
		order "web/s$n $what"
		sleep 0.5
	done
	order "web/s$n weight 1"
}
fault_server_module() {
	unload_module thop_server 120
	sleep $((RANDOM % 2))
	load_server
}
fault_switch_module() {
	unload_module thop_switch 120
	sleep $((RANDOM % 2))
	load_switch
	default_configuration | configure
}
fault_keys() {
	local node new
	new=$(random_key 2)
	for text in "$(key)
$new" "$(key)
$new
send 2" "$(key)
$new" "$(key)"; do
		for node in switch server1 server2 server3; do
			echo "$text" | authorise "$node" "thop_$([ "$node" = switch ] && echo switch || echo server)"
		done
		sleep 0.3
	done
}
FAULTS=(netem cable thop nginx reload configuration orders server_module switch_module keys)

step "traffic and faults"
tcp_before=$(sockets TCP)
begun=$SECONDS
load_begins soak
spawn client python3 "$TOOLS/unruly.py" load unruly
UNRULY_LOAD=$SPAWNED
declare -A times
while [ $((SECONDS - begun)) -lt $SECONDS_LONG ]; do
	fault=${FAULTS[RANDOM % ${#FAULTS[@]}]}
	times[$fault]=$((${times[$fault]:-0} + 1))
	"fault_$fault"
	sleep $((RANDOM % 3))
done
all_up
touch unruly.stop
load_ends
wait $UNRULY_LOAD || fail "the clients of the other applications"

step "what clients saw"
awk '{ n[$2 " " $3]++ } END { for (k in n) print "    " n[k], k }' soak.seen | sort -rn
for fault in "${!times[@]}"; do echo "    ${times[$fault]} times $fault"; done | sort -rn
# Anything may have happened to a request but what must not: carried out twice, answered by one who has not
# carried it out, octets of two servers.
only soak "(GET|PUT|POST) (whole|503|504|408|reset|cut|refused|silent|unreachable)"
[ "$(outcomes soak "[A-Z]* whole")" -gt 0 ] || fail "no request has succeeded"

sed 's/^/    /' unruly
for kind in wild tls bound group; do
	grep -q "^$kind whole" unruly || fail "no answer of the application \"$kind\""
done
same "answers of nobody's, and none for a minute" "$(grep -E ' (wrong|silent) ' unruly || true)" ""
kill $UNRULY
wait $UNRULY || true

step "after it everything is as before"
works_again soaked
sockets_back() { [ "$(sockets TCP)" -le "$tcp_before" ]; }
wait_for 120 sockets_back || {
	for node in $NODES; do
		echo "--- $node"
		on "$node" ss -Htanpoei
	done
	fail "TCP sockets: $(sockets TCP), $tcp_before before"
}
# `rmmod` at the end tells that nobody holds the modules; that the namespaces go, that no route or device
# is held.
same "module reference counts" "$(cat /sys/module/thop_switch/refcnt /sys/module/thop_server/refcnt | paste -sd' ')" "0 0"
