# SPDX-License-Identifier: GPL-2.0
# Routes that are not plain: by rules, and with strict filters of the reverse path.
# run: --servers 2 --timeout 700
set -uo pipefail
. "$WITH/cells.sh"

# The client has an address that only those rules lead to.
far_client() {
	ip -n client address add 192.0.2.1/32 dev lo
	ip -n client route replace $VIP/32 dev eth0 src 192.0.2.1
	ip -n switch route replace 192.0.2.0/24 via $CLIENT
}
server_rule() {
	local n
	far_client
	for n in 1 2; do
		ip -n server$n route add 192.0.2.0/24 via $CLIENT table 100
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
group "Routes by rules at the servers"
cell "by source address" server_rule "from $VIP"
fresh
cell "by source port" server_rule "ipproto tcp sport 80"
fresh
cell "by mark, set in output" server_mark
fresh

# switch_rule RULE: what clients send to server1 goes by another cable, by this rule.
switch_rule() {
	local before after
	ip -n switch link add eth1 type veth peer name eth1 netns server1
	ip -n switch link set eth1 up
	ip -n server1 link set eth1 up
	ip -n switch address add 10.1.0.1/24 dev eth1
	ip -n server1 address add 10.1.0.2/24 dev eth1
	ip -n switch route add $SERVER1/32 via 10.1.0.2 dev eth1 table 100
	# shellcheck disable=SC2086
	ip -n switch rule add $1 lookup 100 priority 100
	only_servers 1
	before=$(received)
	traffic
	after=$(received)
	[ $((after - before)) -gt 1000000 ] || fail "by the other cable came $((after - before)) octets of more than a million"
}
received() { on server1 cat /sys/class/net/eth1/statistics/rx_bytes; }
group "Routes by rules at the switch"
cell "by the server's address" switch_rule "to $SERVER1"
fresh
cell "by the clients' address" switch_rule "from $CLIENT"
fresh
cell "by port" switch_rule "ipproto tcp dport 80"
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
