# SPDX-License-Identifier: GPL-2.0
# What it costs to forward a client's segment to its server. One processor, or several at once; segments of 60 octets with their Ethernet
# header; each contender is filled with connections first, by handshakes and requests.
# run: --servers 1 --cpus 1 --memory 6144 --timeout 7200 --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$CLIENTS IPVS_ARGS=conn_tab_bits=20

# Of 60 octets 54 are headers.
PAYLOAD=6
SEGMENTS=20000
. "$WITH/forward.conf"
# How many processors send at once, one figure after the other; each at most as many as the machine has.
PROCESSORS=${PROCESSORS:-1}
# contenders COUNT: at a million, where filling a table takes longer than all the rest, only those that the aims are about.
contenders() {
	if [ -n "$CONTENDERS" ]; then
		echo "$CONTENDERS"
	elif [ "$1" -ge 1000000 ]; then
		echo direct flowtable ipvs-dr thop
	else
		echo direct forward flowtable ipvs-nat ipvs-dr thop thop-siphash
	fi
}

unload_modules
stop_nginx 1
cables
sink_on back direct
spawn_server() {
	traffic server1 serve --address $BACK_SERVER &
	SERVING=$!
}

# --- the contenders: NAME_begins COUNT, NAME_ends; TO is where clients send to

direct_begins() { TO=$FAR_SERVER; }
direct_ends() { :; }

forward_begins() {
	TO=$BACK_SERVER
	on switch sysctl -qw net.ipv4.ip_forward=1
}
forward_ends() { on switch sysctl -qw net.ipv4.ip_forward=0; }

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
flowtable_ends() {
	on switch nft delete table ip fast
	on switch sysctl -qw net.ipv4.ip_forward=0
	answers_via $DIRECT_CLIENT
}

thop_begins() {
	TO=$VIP
	load_switch "$SWITCH_ARGS buckets=${3:-$(($1 + 65536))} connections=$(($1 + 65536)) ${2:-}"
	configure <<-END
		pool web check-interval off
		server s pool web address $BACK_SERVER:80
		service web address $VIP:80 pool web
	END
}
thop_ends() { unload_module thop_switch; }
# The table's hash with a secret key instead of the paper's XOR.
thop-siphash_begins() { thop_begins "$1" hash=siphash; }
thop-siphash_ends() { thop_ends; }
# All connections behind one lock.
thop-one-bucket_begins() { thop_begins "$1" '' 1; }
thop-one-bucket_ends() { thop_ends; }

# --- measuring

# A figure of few connections would be noise.
ENOUGH=100000

for count in $COUNTS; do
	for contender in $(contenders "$count"); do
		memory=$(kernel_memory)
		"${contender}_begins" "$count"
		spawn_server
		case $contender in
		direct | forward) ;;
		*)
			traffic client establish --service $TO --connections "$count"
			# What is on its way arrives, and what is no longer used goes.
			sleep 1
			[ "$count" -lt $ENOUGH ] || echo "memory $contender $count $(($(kernel_memory) - memory))"
			;;
		esac
		for processors in $PROCESSORS; do
			before=$(sunk)
			traffic client flood --service $TO --connections "$count" --segments $SEGMENTS --payload $PAYLOAD \
				--processors "$processors"
			sleep 0.1
			arrived=$(($(sunk) - before))
			[ "$arrived" = $((processors * (SEGMENTS + SEGMENTS / 10))) ] || fail "$contender: $arrived segments have arrived"
			# What the two marks were for.
			echo "measured forward $contender $count $SEGMENTS $processors"
		done
		kill "$SERVING"
		wait "$SERVING" || true
		"${contender}_ends"
	done
done
