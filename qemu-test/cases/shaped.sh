# SPDX-License-Identifier: GPL-2.0
# Where a server's packets die: in a shaper, and in the queue of a neighbour who does not answer, with those parts' locks held.
# Connections die with their last packet, and the switch is told at once, as it keeps a limit.
# run: --servers 1 --switch-args "closed_ms=10000" --timeout 180
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe -a sch_htb sch_fq_codel
pool_of 1 | sed '/^server/s/$/ max 200/' | unchecked | configure
acquaint

cat >impatient.py <<'PY'
"""Sixteen clients, each with one download after the other, for so many seconds; none waits for its end. So many begin at least."""
import threading
from http_client import *

end, count = time.monotonic() + float(sys.argv[1]), [0] * 16


def work(n):
    while time.monotonic() < end:
        try:
            c = Client(timeout=2)
            c.send(request("/100m"))
            if c.more():
                count[n] += 1
            time.sleep(0.1)
            c.reset()
        except OSError:
            time.sleep(0.02)


threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
for t in threads:
    t.start()
for t in threads:
    t.join()
check(sum(count) > int(sys.argv[2]), f"only {sum(count)} downloads have begun")
PY
# told: the server and the switch know that all connections are over.
told() {
	[ "$(stat_server 1 alive)" = 0 ] && [ "$(server_is web/s1 connections)" = 0 ]
}
notices() { on switch cat /proc/net/thop_switch/stats | stat_of stats close_notices; }

step "a shaper with fq_codel below it"
on server1 tc qdisc add dev eth0 root handle 1: htb default 1
on server1 tc class add dev eth0 parent 1: classid 1:1 htb rate 4mbit burst 4k
on server1 tc qdisc add dev eth0 parent 1:1 handle 10: fq_codel target 1ms interval 2ms noecn flows 8
before=$(notices)
on client python3 impatient.py 10 30
[ "$(on server1 tc -s qdisc show dev eth0 | awk '/fq_codel/ { on = 1 } on && /dropped/ { print $7 + 0; exit }')" -gt 0 ] ||
	{ on server1 tc -s qdisc show dev eth0; fail "the shaper has dropped nothing"; }
wait_for 20 told || { on server1 ss -tn; fail "the switch has not heard of the end of all connections"; }
[ "$(notices)" -gt $((before + 30)) ] || fail "the switch has heard of $(($(notices) - before)) ends"
on server1 tc qdisc del dev eth0 root

step "a gateway, to the client and to the switch, that does not answer any more"
add_node gateway 10.0.0.50
on gateway sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
# What waits for the neighbour's address is no more than a few segments.
on server1 sysctl -qw net.ipv4.neigh.eth0.unres_qlen_bytes=8000
on server1 ip route add "$CLIENT/32" via 10.0.0.50
on server1 ip route add "$SWITCH/32" via 10.0.0.50
same "a request by way of the gateway" "$(fetch /1k)" "200 server1"
for round in 1 2 3; do
	spawn client python3 impatient.py 4 10
	sleep 2
	unplug gateway
	on server1 ip neigh flush dev eth0
	sleep 1
	# Of those that have been reset, segments are in that queue.
	on client ss -KHtn "dport = :80" >/dev/null
	sleep 1
	plug gateway
	wait $SPAWNED || fail "the clients"
done
on server1 ip route del "$CLIENT/32"
on server1 ip route del "$SWITCH/32"
wait_for 30 told || { on server1 ss -tno; fail "the switch has not heard of the end of all connections"; }
same "a request afterwards" "$(fetch /1k)" "200 server1"
