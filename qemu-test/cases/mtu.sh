# SPDX-License-Identifier: GPL-2.0
# The way to the server is narrower than the clients': what may be fragmented is, and of the rest its sender is told.
# run: --servers 1 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

NARROW=1400
NEAR=10.1.0.1
FAR=10.1.0.2
ip -n switch link add eth1 type veth peer name eth1 netns server1
for node in switch server1; do ip -n $node link set eth1 mtu $NARROW up; done
ip -n switch address add $NEAR/24 dev eth1
ip -n server1 address add $FAR/24 dev eth1
narrow() { printf '%s\n' 'pool web' "server s1 pool web address $FAR:80" "service web address $VIP:80 pool web"; }
narrow | configure
wait_state web/s1 "UP answers*"

dropped() { on switch cat /sys/class/net/eth1/statistics/tx_dropped; }
# upload COUNTER: one of 100 kB, by which this counter must grow; nothing may be lost for its length.
upload() {
	local before lost
	before=$(stat_switch "$1")
	lost=$(dropped)
	same "POST" "$(on client curl -sS -m 30 -o /dev/null -w '%{http_code}' -H Expect: \
		--data-binary @"$WWW/files/100k" "http://$VIP/post" 2>&1)" 200
	[ "$(stat_switch "$1")" -gt "$before" ] || fail "$1 did not grow"
	same "packets too long for the device" $(($(dropped) - lost)) 0
}

step "with DF, in segments that were cut by the client and by nobody"
upload drop_too_big
on client ip route flush cache
on client python3 "$TOOLS/offload.py" tso=off gso=off tx=off
on switch python3 "$TOOLS/offload.py" gro=off
upload drop_too_big
same "fragments" "$(stat_switch forwarded_in_fragments)" 0

step "without DF, likewise"
on client ip route flush cache
on client sysctl -qw net.ipv4.ip_no_pmtu_disc=1
upload forwarded_in_fragments
on client python3 "$TOOLS/offload.py" tx=on tso=on gso=on
on switch python3 "$TOOLS/offload.py" gro=on
upload forwarded_in_fragments

step "in fragments, of which the whole is longer than any link"
shield 20000-29999
before=$(stat_switch forwarded_in_fragments)
lost=$(dropped)
py client <<'PY'
from raw_tcp import *
from http_client import *

body = octets(4000)
c = RawTcp(21001, fragment=1000).connect()
data = request("/upload/pieces", "PUT", body)
head = len(data) - len(body)
c.send(data[:head])
c.sent()
c.unsent += body
c.emit(ACK | PSH, c.nxt, body)
c.nxt = (c.nxt + len(body)) & MASK
check(uploaded(c.answer(status=201).server, "pieces") == body, "the body differs")
c.close()
PY
[ "$(stat_switch forwarded_in_fragments)" -gt "$before" ] || fail "not forwarded in fragments"
same "packets too long for the device" $(($(dropped) - lost)) 0

step "held, with DF: the client is told when the server has the connection"
narrow | unchecked | configure
on server1 nft -f - <<-NFT
	table netdev silent {
		chain c {
			type filter hook egress device "eth1" priority 0;
			ip protocol 253 drop
		}
	}
NFT
held=$(stat_switch held)
big=$(stat_switch drop_too_big)
py client <<'PY' &
from raw_tcp import *
from http_client import *

icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
icmp.settimeout(20)
c = RawTcp(21002).connect()
body = octets(1400)
data = request("/upload/held", "PUT", body)
head = data[:-len(body)]
c.emit(ACK | PSH, c.nxt, head)
segment = c.segment(ACK | PSH, c.nxt + len(head), body)
for packet in ip_packets(c.me[0], c.to[0], socket.IPPROTO_TCP, segment, dont_fragment=True):
    c.wire.send(packet)
packet = icmp.recv(1000)[20:]
kind, code, _, _, mtu = struct.unpack("!BBHHH", packet[:8])
same("ICMP", (kind, code, mtu), (3, 4, 1400))
about = packet[8:]
same("the packet that is too long", (socket.inet_ntoa(about[16:20]), struct.unpack("!HH", about[20:24])),
     (c.to[0], (21002, 80)))
# In shorter segments it goes.
c.unsent = data
c.nxt = c.una
check(uploaded(c.answer(status=201).server, "held") == body, "the body differs")
c.close()
PY
client=$!
held_one() { [ "$(stat_switch held)" -gt "$held" ]; }
wait_for 20 held_one || fail "nothing was held"
on server1 nft delete table netdev silent
wait $client
[ "$(stat_switch drop_too_big)" -gt "$big" ] || fail "what was held was not refused"
