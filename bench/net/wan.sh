# SPDX-License-Identifier: GPL-2.0
# How long a response takes with CONTENDER to a client that is far away, and what is sent again for it. One request at a time, each on a
# connection of its own, to a real nginx. The machine has its own time, so that delays are exact and what the host does besides
# does not show.
#
# The client is at the end of a line of 100 Mbit/s that loses nothing but what its queue, of 100 ms beyond the round trip, cannot hold.
# run: --servers 1 --cpus 1 --memory 2048 --timeout 7200
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$FRONT_CLIENT/32 IPVS_ARGS=

. "$WITH/wan.conf"
RATE=100

unload_modules
stop_nginx 1
cables
# Here everybody is real, and whoever sends to the client controls congestion in the same way. Every client is a new one: nobody remembers
# how far away it was.
for node in client server1; do on $node nft delete table ip mute; done
[ "$CONGESTION" = cubic ] || modprobe "tcp_$CONGESTION"
for node in client switch server1; do
	on $node sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_congestion_control="$CONGESTION"
done
answers_via $DIRECT_CLIENT

by_switch() { on switch "$@"; }
. "$WITH/contenders.sh"

# far MS: so long the round trip takes, whichever cable a packet comes by.
far() {
	local end node device
	for end in client:front client:direct switch:front server1:direct; do
		node=${end%:*} device=${end#*:}
		# The line carries packets, not the 64 kB that veth does.
		ip -n "$node" link set "$device" gso_max_segs 1
		tc -n "$node" qdisc replace dev "$device" root netem delay $(($1 * 500))us rate ${RATE}mbit limit $((RATE * ($1 + 100) / 12 + 1))
	done
}

# again: what all who send to the client have sent again so far, their probes for lost ends, and what the client had already.
again() {
	local node
	for node in switch server1; do
		on $node nstat -asz TcpRetransSegs TcpExtTCPLossProbes TcpExtTCPDSACKRecv
	done | awk '{ n[$1] += $2 } END { print n["TcpRetransSegs"], n["TcpExtTCPLossProbes"], n["TcpExtTCPDSACKRecv"] }'
}

ip -n server1 address add $FAR_SERVER/32 dev lo
# In memory: while a server waits for a file of the host's, the machine's own time would go on to the next tick.
mkdir files
cp "$WWW/files/100k" "$WWW/files/1m" files/
head -c 10240 files/1m >files/10k
head -c 10485760 "$WWW/files/100m" >files/10m
mount --bind files "$WWW/files"
NGINX_SERVER='access_log off;' start_nginx 1
"${CONTENDER}_begins"
for ms in $ROUND_TRIPS; do
	far "$ms"
	for size in 10k:10240 100k:102400 1m:1048576 10m:10485760; do
		ask=("$WITH/traffic" requests --service $TO --at-once 1 --path "/${size%:*}" --length "${size#*:}" --first 1)
		# The first finds what is not in memory yet.
		on client "${ask[@]}" --count 1 >/dev/null
		before=$(again)
		times=$(on client "${ask[@]}" --count "$TIMES")
		# Until the last acknowledgement, after which nothing is sent again.
		sleep 2
		echo "asked $CONTENDER ${size#*:} $((TIMES + 1)) $ms $CONGESTION $before $(again) $times"
	done
done
umount --lazy "$WWW/files"
