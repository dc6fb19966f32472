# SPDX-License-Identifier: GPL-2.0
# Interfaces that are not plain: bridges, VRFs, listeners bound to devices.
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

# vrf NODE: eth0 belongs to a VRF, and what other programs and the kernel send finds its way by rules.
vrf() {
	modprobe vrf
	ip -n "$1" link add red type vrf table 10
	ip -n "$1" link set red up
	ip -n "$1" link set eth0 master red
	on "$1" sysctl -qw net.ipv4.tcp_l3mdev_accept=1
	wait_for 10 on client ping -c 1 -W 1 "$(address "$1")"
}
led() { ip -n "$1" rule add to 10.0.0.0/24 lookup 10 priority 900; }
vrf_bound() {
	only_servers 1
	vrf server1
	led server1
	own_server 1 --device "$1"
	SUMS=1 traffic
	watched 1
}
vrf_any() {
	vrf server1
	led server1
	all_up
	traffic
}
vrf_alone() {
	vrf server1
	wait_state web/s1 "DOWN no answer*"
	[ "$(stat_server 1 send_errors)" -gt 0 ] || fail "no send_errors at server1"
	only_servers 2
	traffic
}
group "VRF at a server, tcp_l3mdev_accept=1"
cell "a listener for all; a rule leads to the VRF's table" vrf_any
fresh
cell "a listener bound to the VRF; the same rule" vrf_bound red
fresh
limit "no such rule" "messages are answered by the namespace's own routes, not the VRF's: DOWN, no answer, and send_errors there" vrf_alone
cells_end
