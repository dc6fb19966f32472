# SPDX-License-Identifier: GPL-2.0
# A client that is far away: the round trip takes 80 ms and varies, its line has 10 Mbit/s each way and loses one packet in 200.
#
#   rtt=MS loss=PERCENT rate=MBIT         otherwise
#   congestion=NAME                       how the servers control congestion: cubic (default), bbr, ...
#
# run: --own-time
# times: 3
# cases: keepalive

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
		on "server$n" sysctl -qw net.ipv4.tcp_congestion_control="$(condition congestion cubic)" || return
	done
}
