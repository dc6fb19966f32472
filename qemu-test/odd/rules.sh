# SPDX-License-Identifier: GPL-2.0
# Packet filters as programs set them up that people do not write rules without: firewalld, Docker, kube-proxy.
# In our own words, after what they make; at servers, then at the switch.
# run: --servers 2 --timeout 700
set -uo pipefail
. "$WITH/cells.sh"

# With open ports as an operator would open them.
firewalld() {
	on "$1" nft -f - <<-NFT
		table inet firewalld {
			chain mangle_prerouting {
				type filter hook prerouting priority mangle + 10;
				jump mangle_pre_zones
			}
			chain mangle_pre_zones { return; }
			chain nat_prerouting { type nat hook prerouting priority dstnat + 10; }
			chain nat_postrouting { type nat hook postrouting priority srcnat + 10; }
			chain filter_prerouting {
				type filter hook prerouting priority filter + 10;
				icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
				meta nfproto ipv6 fib saddr . mark . iif oif missing drop
			}
			chain filter_input {
				type filter hook input priority filter + 10;
				ct state { established, related } accept
				ct status dnat accept
				iifname "lo" accept
				ct state invalid counter drop
				jump zones
				reject with icmpx admin-prohibited
			}
			chain zones { iifname "eth0" goto public }
			chain public {
				tcp dport 22 accept
				tcp dport 80 accept
				ip protocol 253 accept
				meta l4proto { icmp, ipv6-icmp } accept
			}
			chain filter_forward {
				type filter hook forward priority filter + 10;
				ct state { established, related } accept
				ct status dnat accept
				iifname "lo" accept
				ct state invalid counter drop
				reject with icmpx admin-prohibited
			}
			chain filter_output {
				type filter hook output priority filter + 10;
				ct state { established, related } accept
				oifname "lo" accept
			}
		}
	NFT
}
unfirewalld() { on "$1" nft delete table inet firewalld; }

# A port of a container's is published, and the chain FORWARD drops what it does not know.
docker() {
	local node=$1
	ip -n "$node" link add docker0 type bridge forward_delay 0
	ip -n "$node" address add 172.17.0.1/16 dev docker0
	ip -n "$node" link set docker0 up
	on "$node" sysctl -qw net.ipv4.ip_forward=1
	on "$node" iptables-restore <<-RULES
		*raw
		-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
		COMMIT
		*nat
		:DOCKER - [0:0]
		-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-A DOCKER -i docker0 -j RETURN
		-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 172.17.0.2:443
		COMMIT
		*filter
		:FORWARD DROP [0:0]
		:DOCKER - [0:0]
		:DOCKER-FORWARD - [0:0]
		:DOCKER-BRIDGE - [0:0]
		:DOCKER-CT - [0:0]
		:DOCKER-ISOLATION-STAGE-1 - [0:0]
		:DOCKER-ISOLATION-STAGE-2 - [0:0]
		:DOCKER-USER - [0:0]
		-A FORWARD -j DOCKER-USER
		-A FORWARD -j DOCKER-FORWARD
		-A DOCKER-FORWARD -j DOCKER-CT
		-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-A DOCKER-FORWARD -j DOCKER-BRIDGE
		-A DOCKER-FORWARD -i docker0 -j ACCEPT
		-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A DOCKER-BRIDGE -o docker0 -j DOCKER
		-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 443 -j ACCEPT
		-A DOCKER ! -i docker0 -o docker0 -j DROP
		-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		-A DOCKER-USER -j RETURN
		COMMIT
	RULES
}
undocker() { flush_tables "$1" && ip -n "$1" link del docker0; }

flush_tables() {
	local table
	for table in raw mangle nat filter; do
		on "$1" iptables -t $table -F
		on "$1" iptables -t $table -X
		on "$1" iptables -t $table -P PREROUTING ACCEPT 2>/dev/null || true
		on "$1" iptables -t $table -P FORWARD ACCEPT 2>/dev/null || true
	done
}

# kube_proxy NODE [EXTERNAL_ADDRESS]: a service of two pods, with a port of the node's; and with an external address.
kube_proxy() {
	local external=${2:-203.0.113.7}
	on "$1" sysctl -qw net.ipv4.ip_forward=1
	on "$1" iptables-restore <<-RULES
		*nat
		:KUBE-SERVICES - [0:0]
		:KUBE-NODEPORTS - [0:0]
		:KUBE-POSTROUTING - [0:0]
		:KUBE-MARK-MASQ - [0:0]
		:KUBE-EXT-WEB - [0:0]
		:KUBE-SVC-WEB - [0:0]
		:KUBE-SEP-ONE - [0:0]
		:KUBE-SEP-TWO - [0:0]
		-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
		-A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB
		-A KUBE-SERVICES -d $external/32 -p tcp -m tcp --dport 80 -j KUBE-EXT-WEB
		-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
		-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-WEB
		-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
		-A KUBE-EXT-WEB -j KUBE-SVC-WEB
		-A KUBE-SVC-WEB -m statistic --mode random --probability 0.5 -j KUBE-SEP-ONE
		-A KUBE-SVC-WEB -j KUBE-SEP-TWO
		-A KUBE-SEP-ONE -p tcp -m tcp -j DNAT --to-destination 10.244.1.2:8080
		-A KUBE-SEP-TWO -p tcp -m tcp -j DNAT --to-destination 10.244.2.2:8080
		-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
		-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
		-A KUBE-POSTROUTING -j MASQUERADE --random-fully
		COMMIT
		*filter
		:KUBE-FIREWALL - [0:0]
		:KUBE-FORWARD - [0:0]
		:KUBE-PROXY-FIREWALL - [0:0]
		-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
		-A INPUT -j KUBE-FIREWALL
		-A FORWARD -j KUBE-FORWARD
		-A OUTPUT -j KUBE-FIREWALL
		-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
		-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
		-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		COMMIT
	RULES
}
unkube_proxy() { flush_tables "$1"; }

# The same by nftables, as kube-proxy has it since 1.31: maps instead of chains of rules.
kube_proxy_nft() {
	on "$1" nft -f - <<-NFT
		table ip kube-proxy {
			map services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.7 . tcp . 80 : goto web } }
			set cluster-ips { type ipv4_addr; elements = { 10.96.0.7 } }
			chain services { ip daddr . meta l4proto . th dport vmap @services }
			chain web { numgen random mod 2 vmap { 0 : goto one, 1 : goto two } }
			chain one { meta l4proto tcp dnat to 10.244.1.2:8080 }
			chain two { meta l4proto tcp dnat to 10.244.2.2:8080 }
			chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
			chain nat-output { type nat hook output priority -100; jump services; }
			chain nat-postrouting {
				type nat hook postrouting priority srcnat;
				meta mark & 0x4000 == 0 return
				meta mark set meta mark ^ 0x4000
				masquerade fully-random
			}
			chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall; }
			chain filter-input { type filter hook input priority -110; ct state new jump firewall; }
			chain filter-forward {
				type filter hook forward priority -110;
				ct state new jump firewall
				ct state invalid drop
			}
			chain firewall { ip daddr @cluster-ips reject }
		}
	NFT
}
unkube_proxy_nft() { on "$1" nft delete table ip kube-proxy; }

# What many write themselves: nothing but what is known, and `invalid` dropped as early as it can be.
strict() {
	on "$1" nft -f - <<-NFT
		table ip strict {
			chain prerouting {
				type filter hook prerouting priority mangle;
				ct state invalid counter drop
				tcp flags & (fin|syn) == fin|syn drop
				tcp flags & (syn|rst) == syn|rst drop
			}
			chain input {
				type filter hook input priority filter; policy drop;
				ct state established,related accept
				iif lo accept
				ip protocol { icmp, 253 } accept
				tcp dport 80 ct state new accept
			}
			chain output {
				type filter hook output priority filter; policy drop;
				ct state invalid counter drop
				ct state new,established,related accept
			}
		}
	NFT
}
unstrict() { on "$1" nft delete table ip strict; }

# ruled RULES NODE...: traffic with these rules on these nodes.
ruled() {
	local rules=$1 node
	shift
	for node; do "$rules" "$node"; done
	# Known connections, if it were so, are of before.
	traffic
	for node; do
		if on "$node" nft list ruleset 2>/dev/null | grep -E 'invalid counter packets [1-9]'; then
			fail "$node calls packets invalid"
		fi
		"un$rules" "$node"
	done
}

for where in "server1 server2" switch "switch server1 server2"; do
	case $where in
	"server1 server2") group "Packet filters at the servers" ;;
	switch) group "Packet filters at the switch" ;;
	*) group "Packet filters everywhere" ;;
	esac
	# shellcheck disable=SC2086
	{
		cell "as firewalld makes them" ruled firewalld $where
		cell "as Docker makes them, FORWARD drops" ruled docker $where
		cell "as kube-proxy makes them (iptables)" ruled kube_proxy $where
		cell "as kube-proxy makes them (nftables)" ruled kube_proxy_nft $where
		cell "invalid dropped in prerouting, all chains drop" ruled strict $where
	}
done

# external SERVERS: kube-proxy at server1 takes the virtual address for one of its own services.
external() {
	kube_proxy server1 $VIP
	traffic_moved
	unkube_proxy server1
}
# traffic_moved: server1 takes no connection, says so, and server2 takes them all, each POST once.
traffic_moved() {
	local before after
	before=$(refusals 1)
	on client python3 "$WITH/traffic.py" posts gets download upload posts
	posts_once posts
	same "POSTs at server1" "$(grep -c 'POST.*id=' "$LOGDIR/server1.access.log" || true)" 0
	after=$(refusals 1)
	[ "$after" -gt "$before" ] || fail "server1 has refused nothing"
	on server1 awk '/^refused_/ && $2 > 0' /proc/net/thop_server/stats
	same "adopted_gone" "$(stat_server 1 adopted_gone)" 0
}
refusals() { on "server$1" awk '/^refused_/ { n += $2 } END { print n + 0 }' /proc/net/thop_server/stats; }

docker_publishes() {
	docker server1
	on server1 iptables -t nat -A DOCKER ! -i docker0 -d $VIP/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
	traffic_moved
	undocker server1
}

loose() {
	local n
	for n in 1 2; do
		strict server$n
		on server$n sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0
	done
	same "GET" "$(fetch /1k | cut -c1-3)" 503
	[ "$(refusals 1)" -gt 0 ] || fail "server1 has refused nothing"
	for n in 1 2; do
		unstrict server$n
		on server$n sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1
	done
	all_up
	traffic gets
}

group "Packet filters that keep a connection from its server"
limit "kube-proxy at a server has the virtual address as an external one (DNAT)" \
	"address translation there takes the connection away: refused, another server takes it" external
fresh
limit "Docker at a server publishes a port on the virtual address (DNAT)" \
	"the same" docker_publishes
fresh
limit "nf_conntrack_tcp_loose=0 and invalid dropped, at the servers" \
	"a connection that begins in its middle is invalid there: refused, clients get 503 (README)" loose
cells_end
