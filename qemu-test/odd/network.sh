# SPDX-License-Identifier: GPL-2.0
# Interfaces and routes that are not plain: bridges, VRFs, listeners bound to devices, routes by rules, strict filters.
# run: --servers 2 --timeout 900
set -uo pipefail
. "$WITH/cells.sh"

# bridged NODE: its address is on a bridge, of which eth0 is a port.
bridged() {
	local node=$1
	ip -n "$node" link add br0 type bridge forward_delay 0
	ip -n "$node" address flush dev eth0
	ip -n "$node" link set br0 address "$(mac "$node")"
	ip -n "$node" link set eth0 master br0
	ip -n "$node" link set br0 up
	ip -n "$node" address add "$(address "$node")/24" dev br0
	wait_for 10 on client ping -c 1 -W 1 "$(address "$node")"
}
bridge() {
	local node
	for node; do bridged "$node"; done
	all_up
	traffic
}
# bridge_filtered NODE...: frames within bridges go through IP's chains, too.
bridge_filtered() {
	local node
	modprobe br_netfilter
	for node; do
		bridged "$node"
		same "bridge-nf-call-iptables" "$(on "$node" sysctl -n net.bridge.bridge-nf-call-iptables)" 1
	done
	all_up
	traffic
}
# Connection tracking sees them besides.
bridge_tracked() {
	on "$1" nft -f - <<-'NFT'
		table ip odd {
			chain c {
				type filter hook input priority 0;
				ct state invalid drop
			}
			chain f {
				type filter hook forward priority 0; policy drop;
			}
		}
	NFT
	bridge_filtered "$1"
}

group "Bridges"
cell "a server's address is on a bridge" bridge server1 server2
fresh
cell "the switch's address is on a bridge" bridge switch
fresh
cell "a server's address is on a bridge, br_netfilter is loaded" bridge_filtered server1 server2
fresh
cell "the switch's address is on a bridge, br_netfilter is loaded" bridge_filtered switch
fresh
cell "a server's address is on a bridge, br_netfilter and connection tracking" bridge_tracked server1
fresh
rmmod br_netfilter || true

# own_server N [OPTION]...: server N is ours instead of nginx.
own_server() {
	local n=$1
	shift
	stop_nginx "$n"
	spawn "server$n" python3 "$WITH/server.py" "server$n" "$LOGDIR/server$n.access.log" "$@"
	wait_for 20 eval "on server$n ss -Htln 'sport = :80' | grep -q ."
	wait_state "web/s$n" "UP answers*"
}
# watched N: what server N has taken over it knows, and can end.
watched() {
	local n=$1
	py client <<-'PY' &
		from http_client import *

		c = Client(timeout=30)
		c.ask("/1k")
		open("held", "w").close()
		try:
		    same("after the module has gone", c.more(), b"")
		    fail("closed, not reset")
		except ConnectionResetError:
		    open("told", "w").close()
	PY
	wait_for 20 test -e held
	same "alive at server$n" "$(stat_server "$n" alive)" 1
	on "server$n" grep -q alive /proc/net/thop_server/connections || fail "not alive in connections"
	unload_module thop_server
	wait_for 10 test -e told || fail "a client is not reset when thop_server goes"
	load_server
	all_up
}
bound() {
	only_servers 1
	own_server 1 --device "$1"
	SUMS=1 traffic
	watched 1
}
# One for the device, one for all others: the former is asked.
bound_and_not() {
	only_servers 1
	own_server 1 --device eth0
	spawn server1 python3 "$WITH/server.py" wrong "$LOGDIR/wrong.log"
	sleep 1
	SUMS=1 traffic
	[ ! -s "$LOGDIR/wrong.log" ] || fail "the listener for all devices got it"
}
bound_elsewhere() {
	ip -n server1 link add other type dummy
	ip -n server1 link set other up
	stop_nginx 1
	spawn server1 python3 "$WITH/server.py" server1 "$LOGDIR/server1.access.log" --device other
	wait_for 20 eval "on server1 ss -Htln 'sport = :80' | grep -q ."
	only_servers 2
	pool_of 1 2 | configure
	wait_state web/s1 "DOWN no listener*"
	traffic
}

group "Listeners bound to a device"
cell "SO_BINDTODEVICE, the device to the switch" bound eth0
fresh
cell "one bound to it and one to none" bound_and_not
fresh
limit "SO_BINDTODEVICE, another device" "who could not be reached there by clients is not by the switch: DOWN, no listener" bound_elsewhere
fresh

# vrf NODE: eth0 belongs to a VRF.
vrf() {
	ip -n "$1" link add red type vrf table 10
	ip -n "$1" link set red up
	ip -n "$1" link set eth0 master red
	wait_for 10 on client ping -c 1 -W 1 "$(address "$1")"
}
vrf_bound() {
	modprobe vrf
	only_servers 1
	vrf server1
	on server1 sysctl -qw net.ipv4.tcp_l3mdev_accept=1
	own_server 1 --device "$1"
	SUMS=1 traffic
	watched 1
}
vrf_any() {
	modprobe vrf
	vrf server1
	on server1 sysctl -qw net.ipv4.tcp_l3mdev_accept=1
	all_up
	traffic
}
group "VRF at a server"
cell "a listener for all, tcp_l3mdev_accept=1" vrf_any
fresh
cell "a listener bound to the VRF, tcp_l3mdev_accept=1" vrf_bound red
fresh
cell "a listener bound to the VRF's port" vrf_bound eth0
fresh

# by_rule NODE RULE...: NODE's main table knows no way to anybody but by these rules' table.
by_rule() {
	local node=$1 rule
	shift
	ip -n "$node" route add "$CLIENT_NET" dev eth0 table 100
	for rule; do
		# shellcheck disable=SC2086
		ip -n "$node" rule add $rule lookup 100 priority 100
	done
}
# The client has an address that only those rules lead to.
far_client() {
	CLIENT_NET=192.0.2.0/24
	ip -n client address add 192.0.2.1/32 dev lo
	ip -n client route replace $VIP/32 dev eth0 src 192.0.2.1
	# It, the switch and the servers are on one wire all the same.
	ip -n client route add $SWITCH/32 dev eth0 2>/dev/null || true
	# Two paths to the client at the switch: it has an ordinary one.
	ip -n switch route replace 192.0.2.0/24 via $CLIENT
	CLIENT=192.0.2.1
	export CLIENT_OVERRIDE=192.0.2.1
}
server_rule() {
	local n
	far_client
	for n in 1 2; do
		ip -n server$n route add 192.0.2.0/24 via 10.0.0.1 table 100
		# shellcheck disable=SC2086
		ip -n server$n rule add $1 lookup 100 priority 100
	done
	traffic gets download upload posts long half
}
server_mark() {
	local n
	for n in 1 2; do
		on server$n nft -f - <<-'NFT'
			table ip odd {
				chain c {
					type route hook output priority mangle;
					tcp sport 80 meta mark set 7
				}
			}
		NFT
	done
	# The first look-up wants a way, too; it is not taken.
	for n in 1 2; do
		ip -n server$n link add nowhere type dummy
		ip -n server$n link set nowhere up
		ip -n server$n route add 192.0.2.0/24 dev nowhere
	done
	server_rule "fwmark 7"
}
# SO_MARK of the listener's, which its children inherit: `fwmark` without any packet filter.

group "Routes by rules at the servers"
cell "by source address" server_rule "from $VIP"
fresh
cell "by source port" server_rule "ipproto tcp sport 80"
fresh
cell "by mark, set in output" server_mark
fresh

# switch_rule RULE...: the switch's main table says that server1 cannot be reached; these rules say how.
switch_rule() {
	local rule
	ip -n switch route add 10.0.0.0/24 dev eth0 table 100
	ip -n switch route add blackhole $SERVER1/32
	for rule; do
		# shellcheck disable=SC2086
		ip -n switch rule add $rule lookup 100 priority 100
	done
	only_servers 1
	traffic
}
switch_mark() {
	on switch nft -f - <<-'NFT'
		table ip odd {
			chain c {
				type filter hook prerouting priority mangle;
				tcp dport 80 meta mark set 7
			}
		}
	NFT
	switch_rule "fwmark 7" "from $SWITCH"
}
group "Routes by rules at the switch"
cell "by the server's address" switch_rule "to $SERVER1"
fresh
cell "by source address: the switch's and the clients'" switch_rule "from $SWITCH" "from $CLIENT"
fresh

# strict NODES
strict() {
	local node i
	for node in $1; do
		for i in all default eth0 lo; do on "$node" sysctl -qw net.ipv4.conf.$i.rp_filter=1; done
	done
	traffic
}
# An address that comes and goes makes the kernel look all routes up again.
strict_changed() {
	local node
	strict "$1"
	on client curl -sS -m 30 --limit-rate 400k -o got "http://$VIP/1m" &
	sleep 1
	for node in $1; do ip -n "$node" address add 192.0.2.77/32 dev lo; done
	wait $! || fail "a download ends when an address is added"
	cmp got "$WWW/files/1m"
	traffic
}
# Answers leave by another device than that by which the client's segments come.
second_card() {
	local n
	for n in 1 2; do
		ip -n wire link add "second$n" type veth peer name eth1 netns "server$n"
		ip -n wire link set "second$n" master wire up
		ip -n "server$n" link set eth1 up
		ip -n "server$n" address add "10.0.0.$((20 + n))/24" dev eth1
		ip -n "server$n" route replace $CLIENT/32 dev eth1 src "10.0.0.$((20 + n))"
	done
	strict "server1 server2"
}
group "Strict reverse path filters (rp_filter=1)"
cell "at the servers" strict "server1 server2"
cell "at the switch" strict switch
fresh
cell "at the servers, which get an address while they send" strict_changed "server1 server2"
fresh
cell "at servers whose answers leave by another card" second_card
fresh
cells_end
