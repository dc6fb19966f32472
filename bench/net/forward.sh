# SPDX-License-Identifier: GPL-2.0
# What it costs to forward a client's segment to its server. One processor, segments of 60 octets with their Ethernet
# header; each contender is filled with connections first, by handshakes and requests.
# run: --servers 1 --cpus 1 --memory 6144 --timeout 7200 --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$CLIENTS IPVS_ARGS=conn_tab_bits=20

# Of 60 octets 54 are headers.
PAYLOAD=6
SEGMENTS=20000
. "$WITH/forward.conf"
CONTENDERS=${CONTENDERS:-direct forward flowtable ipvs-nat ipvs-dr thop thop-siphash}

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
	load_switch "$SWITCH_ARGS buckets=$(($1 + 65536)) connections=$(($1 + 65536)) ${2:-}"
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

# --- measuring

for count in $COUNTS; do
	for contender in $CONTENDERS; do
		"${contender}_begins" "$count"
		spawn_server
		[ "$contender" = direct ] || [ "$contender" = forward ] ||
			traffic client establish --service $TO --connections "$count"
		# What is on its way arrives.
		sleep 1
		before=$(sunk)
		traffic client flood --service $TO --connections "$count" --segments $SEGMENTS --payload $PAYLOAD
		sleep 0.1
		arrived=$(($(sunk) - before))
		[ "$arrived" = $((SEGMENTS + SEGMENTS / 10)) ] || fail "$contender: $arrived segments have arrived"
		# What the two marks were for.
		echo "measured forward $contender $count $SEGMENTS"
		kill "$SERVING"
		wait "$SERVING" || true
		"${contender}_ends"
	done
done
