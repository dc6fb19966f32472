# SPDX-License-Identifier: GPL-2.0
# One machine is switch and server: both modules in one network namespace, loaded in either order.
# run: --servers 2 --timeout 400
set -uo pipefail
. "$WITH/cells.sh"
HERE=10.0.0.201

# both ORDER RP_FILTER: server1 is a switch, too, for itself and server2.
both() {
	local i
	unload_modules
	case $1 in
	switch) load_switch && load_server ;;
	server) load_server && load_switch ;;
	esac
	key | authorise server1 thop_switch
	for i in all default eth0 lo; do on server1 sysctl -qw net.ipv4.conf.$i.rp_filter="$2"; done
	stop_nginx 1
	start_nginx 1 8080
	ip -n server1 address add $HERE/32 dev lo
	configure server1 <<-END
		pool web
		server s1 pool web address $SERVER1:8080
		server s2 pool web address $SERVER2:80
		service web address $HERE:80 pool web
	END
	sleep 1
	on client env VIP=$HERE COUNT=6 python3 "$WITH/traffic.py" posts
	posts_once posts
	for i in 1 2; do
		[ "$(grep -c 'GET /1k' "$LOGDIR/server$i.access.log")" -gt 0 ] || fail "server$i was not asked"
	done
	same "segments whose TTL ended" "$(on server1 cat /proc/net/thop_switch/stats | stat_of switch drop_ttl)" 0
}
same_port() {
	key | authorise server1 thop_switch
	ip -n server1 address add $HERE/32 dev lo
	printf '%s\n' "pool web" "server s2 pool web address $SERVER2:80" "service web address $HERE:80 pool web" |
		configure server1 2>refused && fail "it has been taken"
	grep -q "cannot listen on $HERE:80" refused || fail "$(cat refused)"
}

group "Switch and server in one network namespace"
for rp_filter in 0 1; do
	cell "the switch's module first, rp_filter=$rp_filter" both switch $rp_filter
	fresh
	cell "the server's module first, rp_filter=$rp_filter" both server $rp_filter
	fresh
done
limit "a Web server on all addresses, and a service with its port" \
	"two cannot listen there: the configuration is refused, with that reason" same_port
cells_end
