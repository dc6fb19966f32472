# SPDX-License-Identifier: GPL-2.0
# What measures in a virtual machine, besides qemu-test/lib.sh. Sourced by the scripts here.
#
# The client, the switch and the first server are connected by cables of their own, without a bridge:
#
#   client front ---------- front switch back ---------- back server1
#          direct --------------------------------------------- direct
#
# Answers take the direct one.

FRONT_CLIENT=10.1.0.1 FRONT_SWITCH=10.1.0.2 BACK_SWITCH=10.2.0.1 BACK_SERVER=10.2.0.2
DIRECT_CLIENT=10.3.0.1 DIRECT_SERVER=10.3.0.2
# The server once more, behind a route of the same kind as the others: what is sent to a neighbour's own address
# from a raw socket has a route made for each datagram.
FAR_SERVER=10.4.0.1
# Where the clients are that traffic(1) plays.
CLIENTS=10.128.0.0/9

traffic() { on "$1" "$WITH/traffic" "${@:2}"; }

# cable NODE NAME ADDRESS NODE NAME ADDRESS
cable() {
	ip -n "$1" link add "$2" type veth peer name "$5" netns "$4"
	ip -n "$1" address add "$3/30" dev "$2"
	ip -n "$4" address add "$6/30" dev "$5"
	ip -n "$1" link set "$2" up
	ip -n "$4" link set "$5" up
}

# quiet_node NODE: nobody there asks, announces or tries anything by itself.
quiet_node() {
	on "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.all.send_redirects=0
}

cables() {
	local node
	for node in client switch server1; do quiet_node $node; done
	cable client front $FRONT_CLIENT switch front $FRONT_SWITCH
	cable switch back $BACK_SWITCH server1 back $BACK_SERVER
	cable client direct $DIRECT_CLIENT server1 direct $DIRECT_SERVER
	ip -n client route replace "$VIP/32" via $FRONT_SWITCH
	ip -n client route add $BACK_SERVER/32 via $FRONT_SWITCH
	ip -n client route add $FAR_SERVER/32 via $DIRECT_SERVER
	ip -n client route add local $CLIENTS dev lo
	ip -n switch route add $CLIENTS via $FRONT_CLIENT
	ip -n server1 route add $CLIENTS via $DIRECT_CLIENT
	# Neighbours are known, and stay so.
	neighbour client front $FRONT_SWITCH switch front
	neighbour switch front $FRONT_CLIENT client front
	neighbour switch back $BACK_SERVER server1 back
	neighbour server1 back $BACK_SWITCH switch back
	neighbour client direct $DIRECT_SERVER server1 direct
	neighbour server1 direct $DIRECT_CLIENT client direct
	# traffic(1) hears what comes before IP does, and speaks for TCP and THOP: the kernels must not.
	for node in client server1; do
		on $node nft -f - <<-NFT
			table ip mute {
				chain c {
					type filter hook prerouting priority raw;
					ip protocol { tcp, 253 } drop
				}
			}
		NFT
	done
}
neighbour() {
	ip -n "$1" neighbour replace "$3" dev "$2" nud permanent \
		lladdr "$(on "$4" cat "/sys/class/net/$5/address")"
}

# sink_on DEVICE...: segments that are neither SYN nor carry a request end at the server's card.
sink_on() {
	local device
	for device; do
		on server1 nft -f - <<-NFT
			table netdev sink_$device {
				chain c {
					type filter hook ingress device "$device" priority 0;
					tcp flags & (syn|ack|psh) == ack counter drop
				}
			}
		NFT
	done
}
# sunk: how many.
sunk() {
	on server1 nft -j list ruleset | python3 -c '
import json, sys
print(sum(e["counter"]["packets"] for r in json.load(sys.stdin)["nftables"] if "rule" in r
          for e in r["rule"]["expr"] if "counter" in e))'
}

# answers_via ADDRESS: the way that the server's answers take to those who ask, $ASKERS.
answers_via() { ip -n server1 route replace "$ASKERS" via "$1"; }

# The contenders ipvs-nat and ipvs-dr, as NAME_begins. IPVS_ARGS: of its module; TO: where clients send to.
ipvs_begins() {
	TO=$VIP
	# shellcheck disable=SC2086
	modprobe ip_vs $IPVS_ARGS
	modprobe ip_vs_rr
	on switch sysctl -qw net.ipv4.ip_forward=1
	on switch ipvsadm -A -t "$VIP:80" -s rr
	on switch ipvsadm -a -t "$VIP:80" -r $BACK_SERVER:80 "$1"
}
ipvs-nat_begins() {
	ipvs_begins -m
	answers_via $BACK_SWITCH
}
ipvs-dr_begins() {
	ipvs_begins -g
	ip -n server1 address add "$VIP/32" dev lo
}
