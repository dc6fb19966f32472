# SPDX-License-Identifier: GPL-2.0
# Address translation at a server for the virtual address, as kube-proxy makes it for a load balancer's address, and Docker for
# a published one: a request that it would take elsewhere is refused, and carried out by another server.
# run: --servers 2
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe -a nft_nat nft_redir nft_chain_nat
# What is not meant at all: other ports, and another machine.
stop_nginx 1
start_nginx 1 80 8080 "127.0.0.1:9090"
on server1 sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.ip_forward=1
add_node elsewhere 10.0.0.60
spawn elsewhere python3 - <<'PY'
from http_server import *

serve(listener(), "server9", ["Connection: close"])
PY

translated() {
	on server1 nft -f - <<-NFT
		table ip nat
		delete table ip nat
		table ip nat {
			chain c {
				type nat hook prerouting priority dstnat;
				ip daddr $VIP tcp dport 80 counter $1
			}
		}
	NFT
}
# once NAME METHOD: three requests, all of which server 2 carries out, and nobody else.
once() {
	local i
	for i in 1 2 3; do
		same "$1: $2" "$(fetch "/any/$1-$2-$i-" -X "$2")" "200 server2"
		same "$1: how often $2 was carried out" "$(log_lines "/any/$1-$2-$i-")" 1
	done
}
sockets() { on server1 ss -Htn state established src "$1" | wc -l; }

step "tables that translate others' connections, as Docker, libvirt and kube-proxy have them: requests are served"
on server1 nft -f - <<-'NFT'
	table ip others {
		chain p {
			type nat hook prerouting priority dstnat;
			ip daddr 172.17.0.2 tcp dport 8080 dnat to 172.17.0.3:80
		}
		chain s {
			type nat hook postrouting priority srcnat;
			ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
		}
	}
	table ip firewall {
		chain c {
			type filter hook input priority filter;
			ct state invalid counter drop
		}
	}
NFT
pool_of 1 | unchecked | configure
acquaint
for method in GET POST GET POST; do
	same "$method" "$(fetch "/any/others-$method" -X $method)" "200 server1"
done
# What the stack has of one connection lies where that of another was, if several begin at once.
py client <<'PY'
from http_client import *

clients = [Client() for _ in range(8)]
for c in clients:
    same("the server", c.ask("/any/at-once").server, "server1")
PY
same "refusals" "$(stat_server 1 refused_packet_filter)" 0
on client curl -sS -m 20 "http://$VIP/1m" -o got && cmp got "$WWW/files/1m" || fail "a response is not whole"
on server1 nft delete table ip others
on server1 nft delete table ip firewall

n=0
for how in "redirect to :8080" "dnat to $SERVER1:8080" "dnat to 127.0.0.1:9090" "dnat to 10.0.0.60:80" "dnat to $VIP:8080"; do
	n=$((n + 1))
	step "$how"
	{
		echo "pool web policy wrr"
		echo "server t$n pool web address $SERVER1:80 weight 60000"
		echo "server s2 pool web address $SERVER2:80 weight 1"
		echo "service web address $VIP:80 pool web"
	} | unchecked | configure
	acquaint
	translated "$how"
	before=$(stat_server 1 refused_packet_filter)
	once "to$n" GET
	once "to$n" POST
	same "refusals" "$(($(stat_server 1 refused_packet_filter) - before))" 6
	same "sockets of server 1" "$(sockets "$VIP") $(sockets "$SERVER1") $(sockets 127.0.0.1)" "0 0 0"
	same "connections that server 1 takes for living" "$(stat_server 1 alive)" 0
done
on server1 nft delete table ip nat
pool_of 1 | unchecked | configure
same "without translation" "$(fetch /1k)" "200 server1"
unload_module thop_server 20
