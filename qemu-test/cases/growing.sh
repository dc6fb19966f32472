# SPDX-License-Identifier: GPL-2.0
# Tables grow with their connections while these are served, and shrink when they are gone: chains stay short,
# no connection is lost or listed twice, and the memory is given back.
# run: --timeout 600
set -euo pipefail
. "$TOOLS/helpers.sh"

COUNT=200
LEAST=4
ARGS="buckets=$LEAST linger_ms=1000 closed_ms=2000"

# Holds COUNT connections, each served. When `go` appears each asks again, until `stop` does; then all close.
cat >hold.py <<'PY'
from http_client import *

clients = []
for _ in range(int(sys.argv[1])):
    clients.append(Client())
    same("served", clients[-1].ask("/1k").body, file("1k"))
open("held", "w").close()
while not os.path.exists("stop"):
    time.sleep(0.1)
    if os.path.exists("go"):
        for c in clients:
            same("served again", c.ask("/1k").body, file("1k"))
        os.replace("go", "gone")
for c in clients:
    c.close()
PY

# again: all that is held is served once more.
again() {
	rm -f gone
	touch go
	wait_for 120 test -e gone || fail "not all are served again"
}

# figures: of the switch and a server.
figures() {
	local name
	for name in connections buckets chain chain_longest buckets_no_memory; do
		echo "  $name: switch $(stat_switch $name), server 1 $(stat_server 1 $name)"
	done
}

unload_modules
load_modules "$SWITCH_ARGS $ARGS" "$SERVER_ARGS $ARGS"
default_configuration | configure
all_up
same "buckets at first" "$(stat_switch buckets)" $LEAST

step "$COUNT connections come, among others that come and go"
rm -f held go gone stop
# Each loop has its say in a file; what is missing there was not answered.
spawn client bash -c 'while ! test -e stop; do curl -sS -o /dev/null -w "%{http_code}\n" -m 20 "http://$VIP/1k"; done >others 2>&1'
others=$SPAWNED
spawn client python3 hold.py $COUNT
holder=$SPAWNED
wait_for 300 test -e held || fail "not all are served"
grown() { [ "$(stat_switch buckets)" -ge $COUNT ] && [ "$(stat_server 1 buckets)" -ge $((COUNT / 4)) ]; }
wait_for 20 grown || { figures; fail "the tables have not grown"; }
again
sleep 12 # a round through the tables, which counts chains
figures
for chain in "$(stat_switch chain)" "$(stat_server 1 chain)"; do
	[ "$chain" -ge 1 ] && [ "$chain" -le 8 ] || fail "a chain of $chain"
done

step "each is in the list once"
on client ss -Htn state established dst "$VIP" | awk '{ print $3 }' | sort >have
on switch cat /proc/net/thop_switch/connections | awk 'NR > 1 { print $1 }' | sort >listed
same "listed twice" "$(uniq -d listed | wc -l)" 0
# Others may have come or gone in between.
[ "$(comm -23 have listed | wc -l)" -le 2 ] || fail "not listed: $(comm -23 have listed | head)"
[ "$(wc -l <have)" -ge $COUNT ] || fail "only $(wc -l <have) connections"

step "they go, and the tables shrink while others come"
touch stop
wait $holder || fail "a connection was lost"
wait $others || true
same "others that were not answered" "$(grep -vc '^200$' others || true)" 0
[ "$(wc -l <others)" -ge 20 ] || fail "only $(wc -l <others) others"
# Half a minute nearly empty, but in use.
shrunk() {
	same "while it shrinks" "$(fetch /1k | cut -c1-3)" 200
	[ "$(stat_switch buckets)" -le $((LEAST * 4)) ] && [ "$(stat_server 1 buckets)" -le $((LEAST * 4)) ]
}
wait_for 120 shrunk || { figures; fail "the tables have not shrunk"; }
wait_for 60 tables_empty || fail "elements are left"
figures
