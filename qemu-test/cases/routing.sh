# SPDX-License-Identifier: GPL-2.0
# Routing rules hold for forwarded segments; a VRF is another network.
# run: --servers 1 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

# A second way to the server.
ip -n switch link add eth1 type veth peer name eth1 netns server1
for node in switch server1; do ip -n $node link set eth1 up; done
ip -n switch address add 10.1.0.1/24 dev eth1
ip -n server1 address add 10.1.0.2/24 dev eth1
ip -n switch route add $SERVER1/32 via 10.1.0.2 dev eth1 table 100
on server1 nft -f - <<-NFT
	table netdev ways {
		counter main { }
		counter other { }
		chain by_main {
			type filter hook ingress device "eth0" priority 0;
			tcp dport 80 counter name main
		}
		chain by_other {
			type filter hook ingress device "eth1" priority 0;
			tcp dport 80 counter name other
		}
	}
NFT
packets() { on server1 nft list counter netdev ways "$1" | awk '/packets/ { print $2 }'; }

# goes WAY WHAT: all segments of an upload do.
goes() {
	local main other ways
	main=$(packets main)
	other=$(packets other)
	same "POST" "$(on client curl -sS -m 20 -o /dev/null -w '%{http_code}' -H Expect: --local-port 30000-30099 \
		--data-binary @"$WWW/files/100k" "http://$VIP/post" || true)" 200
	ways=
	[ "$(packets main)" = "$main" ] || ways+=" main"
	[ "$(packets other)" = "$other" ] || ways+=" other"
	same "ways of segments, $2" "${ways# }" "$1"
}
rule() { ip -n switch rule "$@"; }

goes main "without rules"
for what in "from $CLIENT" "to $SERVER1 ipproto tcp" "sport 30000-30099" "ipproto tcp dport 80" "fwmark 7" "dsfield 0x10" "iif lo"; do
	step "rule: $what"
	# shellcheck disable=SC2086
	rule add pref 50 $what lookup 100
	case $what in
	fwmark* | dsfield*)
		goes main "with a rule for others, $what"
		on switch nft -f - <<-NFT
			table netdev marks {
				chain c {
					type filter hook ingress device "eth0" priority -400;
					tcp dport 80 meta mark set 7
					tcp dport 80 ip dscp set 4
				}
			}
		NFT
		goes other "$what"
		on switch nft delete table netdev marks
		;;
	*) goes other "$what" ;;
	esac
	rule del pref 50
done
step "rules for others"
rule add pref 50 from 10.0.0.2 lookup 100
rule add pref 51 ipproto tcp dport 81 lookup 100
# What is forwarded is to rules what the switch sends itself.
rule add pref 52 iif eth0 lookup 100
goes main "with rules for others"
step "a rule that forbids"
before=$(stat_switch drop_no_route)
rule add pref 49 from $CLIENT ipproto tcp prohibit
same "POST" "$(on client curl -sS -m 3 -o /dev/null -w '%{http_code}' -H Expect: \
	--data-binary @"$WWW/files/100k" "http://$VIP/post" 2>/dev/null || true)" 000
[ "$(stat_switch drop_no_route)" -gt "$before" ] || fail "drop_no_route did not grow"
rule del pref 49
# It would repeat itself later.
on client ss -KHtn "dport = :80" >/dev/null

step "the same addresses and ports in a VRF"
modprobe vrf 2>/dev/null || skip "no VRF"
ip -n switch link add red type vrf table 200
ip -n switch link set red up
ip netns add stranger
ip -n switch link add eth2 type veth peer name eth0 netns stranger
ip -n switch link set eth2 master red up
ip -n switch address add 10.0.0.200/24 dev eth2
ip -n stranger link set lo up
ip -n stranger link set eth0 up
ip -n stranger address add $CLIENT/24 dev eth0
ip -n stranger route add $VIP via 10.0.0.200
shield 20000-29999
forwarded=$(stat_switch forwarded)
ignored=$(stat_switch ignored_segments)
py client <<'PY' &
from raw_tcp import *
from http_client import *

c = RawTcp(21000).connect()
c.send(request("/1k"))
check(c.answer().body == file("1k"), "differs")
with open("numbers.new", "w") as f:
    print(c.nxt, c.rcv, file=f)
os.rename("numbers.new", "numbers")
wait_for(30, "the stranger", lambda: os.path.exists("said"))
c.send(request("/100k"))
check(c.answer().body == file("100k"), "differs after a stranger's segments")
c.close()
PY
client=$!
wait_for 30 test -e numbers
read -r nxt rcv <numbers
sleep 1
forwarded=$(stat_switch forwarded)
py stranger "$nxt" "$rcv" <<'PY'
import sys
from raw_tcp import *

c = RawTcp(21000)
c.nxt, c.rcv = int(sys.argv[1]), int(sys.argv[2])
for _ in range(5):
    c.emit(ACK | PSH, c.nxt, b"GET /any/strange HTTP/1.1\r\nHost: x\r\n\r\n")
c.emit(RST | ACK, c.nxt)
PY
sleep 1
same "a stranger's segments that were forwarded" $(($(stat_switch forwarded) - forwarded)) 0
touch said
wait $client
same "a stranger's requests" "$(log_lines strange)" 0
[ $(($(stat_switch ignored_segments) - ignored)) -ge 6 ] || fail "ignored_segments grew by $(($(stat_switch ignored_segments) - ignored))"

step "a service is not to be had by a VRF, and a counter says so"
ip -n switch address add $VIP/32 dev red
on switch sysctl -qw net.ipv4.tcp_l3mdev_accept=1
ip netns exec stranger curl -sS -m 3 "http://$VIP/1k" >/dev/null 2>&1 && fail "a stranger was served"
[ "$(stat_switch drop_syn_vrf)" -gt 0 ] || fail "drop_syn_vrf is 0"
goes main "afterwards"
