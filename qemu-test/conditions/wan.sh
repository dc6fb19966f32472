# SPDX-License-Identifier: GPL-2.0
# A client that is far away: the round trip takes 80 ms and varies, its line has 10 Mbit/s each way and loses one packet in 200.
#
#   rtt=MS loss=PERCENT rate=MBIT         otherwise
#   congestion=NAME                       how the servers control congestion: cubic (default), bbr, ...
#
# run: --own-time
# times: 3
# cases: keepalive errors listeners firewall death lateclose first-segment odd options
# folder: wan
#
# Of qemu-test/cases these are such as a way that is long and loses something may make a difference to, and that do not suppose the contrary.
# The others: basic, load, tls and faults move hundreds of megabytes, which take minutes at 10 Mbit/s (wan/download moves 20 MB at a time over a faster line).
# segments, slow-headers and late measure time limits in which round trips do not count; ports, resets, vanish and collisions look for one
# packet, which may be the one that is lost; queue and table-full count who comes first. netem and reroute change the wire themselves.
# auth, config, flood, health, isolation, load-reports, malformed, monitor, notices, orders, policies, queue-changes, rules, storm and unload
# are about switch and servers, whose way to each other is as short as ever; harness about the network as it is without this.

conditions_ready() {
	local half rate n
	half=$(($(condition rtt 80) * 500))
	rate=$(condition rate 10)
	# As large as the cables of such lines have them: beyond what is under way, 100 ms of waiting packets.
	netem client delay ${half}us $((half / 10))us loss "$(condition loss 0.5)%" rate "${rate}mbit" \
		limit $((rate * (half / 1000 + 100) / 12 + 1)) || return
	# A line loses packets, not the 64 kB that veth carries in one piece.
	for n in client switch $(seq -f server%g "$SERVERS"); do
		on "$n" python3 "$TOOLS/offload.py" tso=off gso=off || return
	done
	n=$(condition congestion cubic)
	[ "$n" = cubic ] || modprobe "tcp_$n" || return
	for ((n = 1; n <= SERVERS; n++)); do
		# Every client is a new one: no server remembers how far away its address was.
		on "server$n" sysctl -qw net.ipv4.tcp_congestion_control="$(condition congestion cubic)" net.ipv4.tcp_no_metrics_save=1 || return
	done
}

# --- for the cases of qemu-test/wan

# line MS [NETEM]...: from now on the client's round trip takes so long, and nothing is lost, late or rare but what is said.
line() {
	local ms=$1
	shift
	netem client delay $((ms * 500))us "$@"
}

# reload_switch ARGS: the switch's module anew, with these arguments; its configuration is that of the file `configuration`.
reload_switch() {
	unload_module thop_switch && load_switch "$1" && configure <configuration
}
