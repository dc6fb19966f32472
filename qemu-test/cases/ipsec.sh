# SPDX-License-Identifier: GPL-2.0
# IPsec policies of the switch hold for the segments that it forwards and for those that it takes past its stack.
# run: --servers 1 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

ip -n switch xfrm state list >/dev/null || skip "no IPsec"
default_configuration | unchecked | configure
acquaint

# seen WHAT: how many packets that are this the switch has sent to the server since seen() was reset.
reset_seen() {
	on wire nft delete table netdev seen 2>/dev/null || true
	on wire nft -f - <<-NFT
		table netdev seen {
			chain c {
				type filter hook ingress device "switch" priority -400;
				ip daddr $SERVER1 ip protocol esp counter
				ip daddr $SERVER1 tcp dport 80 counter
				ip daddr $SERVER1 ip protocol 253 counter
			}
		}
	NFT
}
seen() {
	on wire nft list table netdev seen | awk -v what="$1" '
		/counter/ { for (i = 1; i <= NF; i++) if ($i == "packets") n = $(i + 1); print /esp/ ? "esp" : /253/ ? "thop" : "tcp", n }' |
		awk -v what="$1" '$1 == what { print $2 }'
}
post() {
	on client curl -sS -m "${1:-20}" -o /dev/null -w '%{http_code}' -H Expect: \
		--data-binary @"$WWW/files/100k" "http://$VIP/post" 2>/dev/null || true
}
policy() { ip -n switch xfrm policy "$@"; }

step "policies for others"
reset_seen
policy add dir out src $CLIENT/32 dst $SERVER1/32 proto tcp dport 81 action block
policy add dir out src 10.0.0.2/32 dst $SERVER1/32 action block
policy add dir out src $CLIENT/32 dst $SERVER1/32 proto udp action block
same "POST" "$(post)" 200
[ "$(seen tcp)" -gt 5 ] || fail "no segment was seen: the test sees nothing"

step "a policy that blocks this client's segments to this port"
reset_seen
policy add dir out src $CLIENT/32 dst $SERVER1/32 proto tcp dport 80 action block
same "POST" "$(post 4)" 000
same "segments in the clear" "$(seen tcp)" 0
[ "$(stat_switch drop_policy)" -gt 0 ] || fail "drop_policy is 0"
policy flush
same "POST, when it is gone" "$(post)" 200

KEYS=(auth 'hmac(sha256)' "0x$(printf '%064d' 1)" enc 'cbc(aes)' "0x$(printf '%032d' 1)")
for node in switch server1; do
	ip -n $node xfrm state add src $SWITCH dst $SERVER1 proto esp spi 0x100 reqid 1 mode tunnel "${KEYS[@]}" ||
		skip "no ESP"
done

step "an ESP tunnel for TCP to the server"
# What comes by a tunnel must be asked for: messages have the server's address, clients' segments the service's by then.
for address in $SERVER1 $VIP; do
	ip -n server1 xfrm policy add dir in src 0.0.0.0/0 dst $address/32 \
		tmpl src $SWITCH dst $SERVER1 proto esp reqid 1 mode tunnel level use
done
policy add dir out src 0.0.0.0/0 dst $SERVER1/32 proto tcp tmpl src $SWITCH dst $SERVER1 proto esp reqid 1 mode tunnel
reset_seen
same "POST" "$(post)" 200
same "segments in the clear" "$(seen tcp)" 0
[ "$(seen esp)" -gt 5 ] || fail "$(seen esp) packets of ESP"
[ "$(seen thop)" -gt 0 ] || fail "THOP is not in the clear"

step "the same without DF"
on client sysctl -qw net.ipv4.ip_no_pmtu_disc=1
on client ip route flush cache
reset_seen
same "POST" "$(post)" 200
same "segments in the clear" "$(seen tcp)" 0
on client sysctl -qw net.ipv4.ip_no_pmtu_disc=0

step "for all that goes to the server"
policy flush
policy add dir out src 0.0.0.0/0 dst $SERVER1/32 tmpl src $SWITCH dst $SERVER1 proto esp reqid 1 mode tunnel
reset_seen
same "POST" "$(post)" 200
same "in the clear" "$(seen tcp) $(seen thop)" "0 0"
policy flush

step "clients must come by IPsec, which these do not"
shield 20000-29999
before=$(stat_switch handoffs)
dropped=$(stat_switch drop_policy || echo 0)
rm -f shaken
py client <<'PY' &
from raw_tcp import *
from http_client import *

known = RawTcp(21000).connect()
known.send(request("/1k"))
check(known.answer().body == file("1k"), "differs")
new = RawTcp(21001).connect()
open("shaken", "w").close()
wait_for(20, "the policy", lambda: not os.path.exists("shaken"))
known.emit(ACK | PSH, known.nxt, request("/any/kept-out"))
known.emit(RST | ACK, known.nxt)
new.emit(ACK | PSH, new.nxt, request("/any/kept-out"))
time.sleep(1)
open("tried", "w").close()
wait_for(20, "no policy", lambda: not os.path.exists("tried"))
known.send(request("/any/let-in"))
new.send(request("/any/let-in"))
for c in known, new:
    c.answer()
    c.close()
PY
client=$!
wait_for 30 test -e shaken
policy add dir in src $CLIENT/32 dst $VIP/32 proto tcp tmpl proto esp reqid 7 mode transport
rm shaken
wait_for 30 test -e tried
[ $(($(stat_switch drop_policy) - dropped)) -ge 3 ] || fail "drop_policy grew by $(($(stat_switch drop_policy) - dropped))"
same "handoffs" $(($(stat_switch handoffs) - before)) 1
# The device asks for none, whatever the policies say.
on switch sysctl -qw net.ipv4.conf.eth0.disable_policy=1
rm tried
wait $client
same "requests that were kept out" "$(log_lines kept-out)" 0
same "requests that were let in" "$(log_lines let-in)" 2
