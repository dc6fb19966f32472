# SPDX-License-Identifier: GPL-2.0
# IPsec between switch and servers: what a policy covers leaves as it says, or not at all.
# run: --servers 2 --timeout 400
set -uo pipefail
. "$WITH/cells.sh"
modprobe -a esp4 xfrm_user authenc echainiv cbc hmac sha256 2>/dev/null || true
modprobe xfrm_user && modprobe esp4 || skip "no IPsec"

# counting: what comes from the switch for server1, on the wire.
counting() {
	on wire nft -f - <<-NFT
		table netdev odd {
			chain c {
				type filter hook ingress device "switch" priority -400;
				ip daddr $SERVER1 ip protocol esp counter
				ip daddr $SERVER1 ip protocol tcp counter
				ip daddr $SERVER1 ip protocol 253 counter
			}
		}
	NFT
}
# counted esp|tcp|253: packets.
counted() {
	on wire nft list table netdev odd | awk -v what="$1" '
		/counter/ { kind = /esp/ ? "esp" : /253/ ? "253" : "tcp"; for (i = 1; i < NF; i++) if ($i == "packets") n[kind] = $(i + 1) }
		END { print n[what] + 0 }'
}
# keys MODE: a security association from the switch to server1, one back.
keys() {
	local n
	for n in switch server1; do
		ip -n $n xfrm state add src $SWITCH dst $SERVER1 proto esp spi 0x100 reqid 1 mode "$1" \
			auth 'hmac(sha256)' "0x$(printf '%064d' 1)" enc 'cbc(aes)' "0x$(printf '%032d' 1)"
		ip -n $n xfrm state add src $SERVER1 dst $SWITCH proto esp spi 0x200 reqid 1 mode "$1" \
			auth 'hmac(sha256)' "0x$(printf '%064d' 2)" enc 'cbc(aes)' "0x$(printf '%032d' 2)"
	done
}
in_clear() {
	same "packets of TCP in clear" "$(counted tcp)" 0
	same "messages in clear" "$(counted 253)" 0
}

transport() {
	keys transport
	local selector=(src $SWITCH dst $SERVER1) back=(src $SERVER1 dst $SWITCH)
	ip -n switch xfrm policy add dir out "${selector[@]}" tmpl proto esp reqid 1 mode transport
	ip -n switch xfrm policy add dir in "${back[@]}" tmpl proto esp reqid 1 mode transport
	ip -n server1 xfrm policy add dir out "${back[@]}" tmpl proto esp reqid 1 mode transport
	ip -n server1 xfrm policy add dir in "${selector[@]}" tmpl proto esp reqid 1 mode transport
	only_servers 1
	counting
	traffic
	[ "$(counted esp)" -gt 10 ] || fail "$(counted esp) packets of ESP"
	same "messages in clear" "$(counted 253)" 0
}
# What clients send is forwarded with their addresses: a policy for all addresses covers it.
tunnel() {
	keys tunnel
	ip -n switch xfrm policy add dir out src 0.0.0.0/0 dst $SERVER1/32 tmpl src $SWITCH dst $SERVER1 proto esp reqid 1 mode tunnel
	ip -n switch xfrm policy add dir in src $SERVER1/32 dst $SWITCH/32 tmpl src $SERVER1 dst $SWITCH proto esp reqid 1 mode tunnel
	ip -n server1 xfrm policy add dir in src 0.0.0.0/0 dst $SERVER1/32 tmpl src $SWITCH dst $SERVER1 proto esp reqid 1 mode tunnel
	ip -n server1 xfrm policy add dir out src $SERVER1/32 dst $SWITCH/32 tmpl src $SERVER1 dst $SWITCH proto esp reqid 1 mode tunnel
	only_servers 1
	counting
	traffic
	[ "$(counted esp)" -gt 10 ] || fail "$(counted esp) packets of ESP"
	in_clear
}
# Clients' segments may not go there; messages may.
blocked() {
	counting
	ip -n switch xfrm policy add dir out src 0.0.0.0/0 dst $SERVER1/32 proto tcp action block
	sleep 1
	# Whether it is served by the other server, or not at all: nothing of it leaves for this one.
	on client python3 - <<-'PY' || true
		from http_client import *

		for n in range(4):
		    try:
		        with Client(timeout=5) as c:
		            c.send(request("/post", "POST", file("100k")))
		            print(c.answer(status=None))
		    except OSError as error:
		        print(error)
	PY
	same "packets of TCP past a policy that blocks them" "$(counted tcp)" 0
	ip -n switch xfrm policy flush
}

group "IPsec between switch and server"
cell "ESP in transport mode between their addresses" transport
fresh
cell "an ESP tunnel for all that the switch sends to a server" tunnel
fresh
cell "a policy that blocks TCP to a server: nothing of it leaves" blocked
cells_end
