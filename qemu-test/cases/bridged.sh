# SPDX-License-Identifier: GPL-2.0
# Machines that have their address on a bridge, as hosts of virtual machines and containers do, with br_netfilter, which shows IPv4's
# packet filters each frame while it is still in the bridge.
# run: --servers 2
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe br_netfilter
trap 'modprobe -r br_netfilter' EXIT
# The wire is a bridge, too, and a wire only.
on wire sysctl -qw net.bridge.bridge-nf-call-iptables=0

# bridge NODE: puts its address on a bridge.
bridge() {
	local address more
	address=$(address "$1")
	ip -n "$1" link add br0 type bridge forward_delay 0 mcast_snooping 0
	ip -n "$1" address flush dev eth0
	ip -n "$1" link set br0 address "$(mac "$1")"
	ip -n "$1" link set eth0 master br0
	ip -n "$1" link set br0 up
	ip -n "$1" address add "$address/24" dev br0
	on "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=1
}
# whole TEXT: what is got and put is whole.
whole() {
	local n
	for n in 1 2; do
		on client curl -sS -m 20 "http://$VIP/1m" -o got || fail "$1: GET: curl's exit status $?"
		cmp got "$WWW/files/1m" || fail "$1: GET"
		same "$1: PUT" "$(fetch "/upload/x$n" -m 20 -T "$WWW/files/1m" | cut -c1-3)" 201
		cmp "$WWW"/server*/upload/"x$n" "$WWW/files/1m" || fail "$1: PUT"
		rm "$WWW"/server*/upload/"x$n"
		same "$1: POST" "$(on client curl -sS -m 20 --data-binary "@$WWW/files/100k" "http://$VIP/post")" "received 102400"
	done
}

# With every request at server 1, and connections that stay.
pool_of 1 | unchecked | configure
acquaint
step "the server's address on a bridge"
bridge server1
whole "server's bridge"

step "the switch's, too"
bridge switch
whole "both bridges"

step "the same when connections are tracked, in the bridge and behind it"
for node in switch server1; do
	on $node nft -f - <<-NFT
		table ip firewall {
			counter begun { }
			chain input {
				type filter hook input priority 0; policy accept;
				ct state invalid counter drop
				ip daddr $VIP ct state new counter name begun
			}
		}
	NFT
done
whole "both bridges, with tracking"
# A connection begins once, with its request.
begun=$(on server1 nft list counter ip firewall begun | awk '/packets/ { print $2 }')
echo "    $begun segments"
[ "$begun" -ge 6 ] && [ "$begun" -le 12 ] || fail "of 6 connections, $begun segments were new ones"
py client <<'PY'
from http_client import *

with Client() as c:
    for n in range(3):
        check(c.ask("/100k").body == file("100k"), "differs")
        time.sleep(0.5)
PY

step "the switch alone"
pool_of 2 | unchecked | configure
whole "switch's bridge"
