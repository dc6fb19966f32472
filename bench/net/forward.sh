# SPDX-License-Identifier: GPL-2.0
# What it costs to forward a client's segment to its server, by CONTENDER with COUNT connections, which handshakes and requests make
# first; what those take of memory, and of time when nothing comes. One processor, or several at once; segments of 60 octets with
# their Ethernet header.
# run: --servers 1 --cpus 1 --memory 6144 --timeout 7200 --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$CLIENTS IPVS_ARGS=conn_tab_bits=20

# Of 60 octets 54 are headers.
PAYLOAD=6
SEGMENTS=20000
# How often so many are sent, a figure each.
ROUNDS=1
# How many processors send at once, one after the other; each at most as many as the machine has.
PROCESSORS=1
. "$WITH/forward.conf"

unload_modules
stop_nginx 1
cables
sink_on back direct
spawn_server() {
	traffic server1 serve --address $BACK_SERVER &
	SERVING=$!
}

# --- the contenders: NAME_begins COUNT; TO is where clients send to

direct_begins() { TO=$FAR_SERVER; }

forward_begins() {
	TO=$BACK_SERVER
	on switch sysctl -qw net.ipv4.ip_forward=1
}

# As the kernel's documentation has it (Documentation/networking/nf_flowtable.rst).
flowtable_begins() {
	TO=$VIP
	modprobe nf_conntrack
	echo $(($1 / 2 + 65536)) >/sys/module/nf_conntrack/parameters/hashsize
	on switch sysctl -qw net.ipv4.ip_forward=1
	on switch nft -f - <<-NFT
		table ip fast {
			flowtable f {
				hook ingress priority 0
				devices = { front, back }
			}
			chain pre {
				type nat hook prerouting priority dstnat
				ip daddr $VIP tcp dport 80 dnat to $BACK_SERVER:80
			}
			chain forward {
				type filter hook forward priority 0
				ip protocol tcp flow add @f
			}
		}
	NFT
	sysctl -qw net.netfilter.nf_conntrack_max=$(($1 * 2 + 65536))
	on switch sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1 net.netfilter.nf_flowtable_tcp_timeout=7200
	# It wants to see both directions, once.
	answers_via $BACK_SWITCH
}

thop_begins() {
	TO=$VIP
	# The table grows with its connections, unless it is to have so many buckets.
	load_switch "$SWITCH_ARGS ${3:+buckets=$3 most_buckets=$3} connections=$(($1 + 65536)) ${2:-}"
	configure <<-END
		pool web check-interval off
		server s pool web address $BACK_SERVER:80
		service web address $VIP:80 pool web
	END
}
# The table's hash with a secret key instead of the paper's XOR.
thop-siphash_begins() { thop_begins "$1" hash=siphash; }
# All connections behind one lock.
thop-one-bucket_begins() { thop_begins "$1" '' 1; }

# --- measuring

# Of fewer connections, what they take would be noise.
ENOUGH=100000
# How long nothing comes: the kernel looks through tables every second, and some every minute.
REST=60

spawn_server
# What the kernel keeps for those who send and receive is there before it is asked what the connections take.
traffic client establish --service $FAR_SERVER --connections 1000
memory=$(kernel_memory)
"${CONTENDER}_begins" "$COUNT"
case $CONTENDER in
direct | forward) ;;
*)
	traffic client establish --service $TO --connections "$COUNT"
	# What is on its way arrives, and what is no longer used goes.
	sleep 1
	[ "$COUNT" -lt $ENOUGH ] || echo "memory $CONTENDER $COUNT $(($(kernel_memory) - memory))"
	;;
esac

# Each line `measured` says what two marks were for.
for processors in $PROCESSORS; do
	for ((round = 0; round < ROUNDS; round++)); do
		before=$(sunk)
		traffic client flood --service $TO --connections "$COUNT" --segments $SEGMENTS --payload $PAYLOAD \
			--processors "$processors"
		sleep 0.1
		arrived=$(($(sunk) - before))
		[ "$arrived" = $((processors * (SEGMENTS + SEGMENTS / 10))) ] || fail "$arrived segments have arrived"
		echo "measured forward $CONTENDER $COUNT $SEGMENTS $processors"
	done
done
[ "$COUNT" -lt $ENOUGH ] || {
	traffic client mark
	sleep $REST
	traffic client mark
	echo "measured upkeep $CONTENDER $COUNT $REST 1"
}
kill "$SERVING"
wait "$SERVING" || true
