# SPDX-License-Identifier: GPL-2.0
# A client with many addresses opens connections that all have the same XOR key: they share one bucket
# with the paper's hash, which the log tells of, and are spread with the keyed one.
# run: --timeout 600
set -euo pipefail
. "$TOOLS/helpers.sh"

COUNT=300
# The attacker's addresses.
NETWORK=10.1.0.0/16
on client ip route add local $NETWORK dev lo
for node in switch server1 server2 server3; do on "$node" ip route add $NETWORK via "$CLIENT"; done

# warnings MODULE: how often the log has told of a long chain since `mark`.
warnings() {
	dmesg | awk -v mark="$MARK" -v what="$1: .* share one bucket" \
		'on && $0 ~ what { n++ } index($0, mark) { on = 1 } END { print n + 0 }'
}
mark() {
	MARK="collisions: $1 begins"
	echo "$MARK" >/dev/kmsg
	MARKED=$SECONDS
}

cat >collide.py <<'PY'
# Prints `ready` when all connections have been served, and holds them until it is killed.
from http_client import *

count, low = int(sys.argv[1]), 0x2345
clients = []
for port in range(20000, 20000 + count):
    # The address XOR the port is the same for all.
    address = 0x0A010000 | (low ^ port)
    clients.append(Client(source=socket.inet_ntoa(struct.pack("!I", address)), port=port))
    # All stay open, each with its server.
    clients[-1].ask("/0")
print("ready")
time.sleep(1000)
PY

# attack: COUNT colliding connections are open when this returns.
attack() {
	rm -f ready
	spawn client python3 collide.py $COUNT >ready
	attacker=$SPAWNED
	wait_for 150 grep -q ready ready || fail "the attacker has not got its connections"
	for ((i = 0; i < 6; i++)); do same "an honest client meanwhile" "$(fetch /1k | cut -c1-3)" 200; done
}
retreat() {
	kill $attacker
	wait $attacker || true
}
# chains: the lengths at the switch and at the servers, now and ever.
chains() {
	local n
	echo "$(stat_switch chain) $(stat_switch chain_longest)"
	for n in 1 2 3; do echo "$(stat_server $n chain) $(stat_server $n chain_longest)"; done
}
show() { echo "  $1: longest chains at switch and servers, now/ever: $(chains | tr ' ' / | paste -sd ' ')"; }

step "xor: one bucket has them all"
same "hash" "$(cat /sys/module/thop_switch/parameters/hash /sys/module/thop_server/parameters/hash | paste -sd ' ')" "xor xor"
mark xor
attack
# Counted with the next sweep.
seen() { [ "$(stat_switch chain)" -ge $COUNT ] && [ "$(stat_server 1 chain)" -ge $((COUNT / 3)) ]; }
wait_for 20 seen || { show xor; fail "the chain is not seen"; }
show xor
[ "$(stat_switch chain_longest)" -ge $COUNT ] || fail "the longest chain ever is $(stat_switch chain_longest)"
# One a minute, not one a second.
told() {
	local module n
	for module in thop_switch thop_server; do
		n=$(warnings $module)
		[ "$n" -ge 1 ] && [ "$n" -le $((1 + (SECONDS - MARKED) / 60)) ] || return
	done
}
wait_for 20 told || fail "the log says it $(warnings thop_switch) and $(warnings thop_server) times"
dmesg | grep 'share one bucket' | tail -n 2 | sed 's/^/  /'
sleep 3
told || fail "the log says it $(warnings thop_switch) and $(warnings thop_server) times"
retreat
# The chain is gone with its connections; that it was there is remembered.
over() { [ "$(stat_switch chain)" -le 8 ] && [ "$(stat_server 1 chain)" -le 8 ]; }
wait_for 60 over || { show xor; fail "chains are left"; }
[ "$(stat_switch chain_longest)" -ge $COUNT ] || fail "the longest chain ever is $(stat_switch chain_longest)"

step "an unknown hash is refused, and so is none"
unload_modules
for wrong in hash=md5 hash= hash; do
	for module in thop-switch thop-server; do
		! insmod "$MODULES/$module.ko" "$wrong" 2>/dev/null || fail "$module takes $wrong"
	done
done

step "siphash: they are spread"
load_modules "$SWITCH_ARGS hash=siphash" "$SERVER_ARGS hash=siphash"
default_configuration | configure
all_up
same "hash" "$(cat /sys/module/thop_switch/parameters/hash /sys/module/thop_server/parameters/hash | paste -sd ' ')" "siphash siphash"
mark siphash
attack
# Each of these is an upper bound, if the sweep has been.
swept() { [ "$(stat_switch chain)" -ge 1 ]; }
wait_for 20 swept
show siphash
same "connections" "$(($(stat_switch connections) >= COUNT))" 1
while read -r now ever; do
	# 300 among 65536 buckets: six in one have a probability of less than one to a million million.
	[ "$ever" -ge 1 ] && [ "$ever" -le 5 ] && [ "$now" -le "$ever" ] || fail "chains of $now and $ever"
done < <(chains)
sleep 2
same "warnings" "$(warnings thop_switch) $(warnings thop_server)" "0 0"
retreat
