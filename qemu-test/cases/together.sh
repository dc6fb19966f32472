# SPDX-License-Identifier: GPL-2.0
# One machine is switch and server: whichever module was loaded first, and with strict reverse path filtering, too.
# run: --servers 2 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

V2=10.0.0.201
stop_nginx 1
start_nginx 1 8080
ip -n server1 address add $V2/32 dev lo

# try WHAT: each server in turn is asked for 1 MB and given 1 MB.
try() {
	local n servers
	configure server1 <<-END
		pool web
		server s1 pool web address $SERVER1:8080
		server s2 pool web address $SERVER2:80
		service web address $V2:80 pool web
	END
	for n in 1 2; do
		wait_for 20 on server1 grep -q " s$n .* UP .* answers" /proc/net/thop_switch/servers || {
			on server1 cat /proc/net/thop_switch/servers
			fail "$1: server $n is not up"
		}
	done
	servers=$(for ((n = 0; n < 4; n++)); do
		on client curl -sS -m 20 -o "got$n" -w '%header{x-server}\n' "http://$V2/1m" || true
	done | sort | uniq -c | awk '{ print $1, $2 }' | paste -sd,)
	same "$1: downloads" "$servers" "2 server1,2 server2"
	for ((n = 0; n < 4; n++)); do cmp "got$n" "$WWW/files/1m" || fail "$1: the download differs"; done
	for ((n = 0; n < 4; n++)); do
		same "$1: upload" "$(on client curl -sS -m 20 -o /dev/null -w '%{http_code}' -H Expect: \
			-T "$WWW/files/1m" "http://$V2/upload/x$n" || true)" 201
		cmp "$WWW"/server[12]/upload/x$n "$WWW/files/1m" || fail "$1: the upload differs"
		rm "$WWW"/server[12]/upload/x$n
	done
	same "$1: segments that have gone in a circle" \
		"$(on server1 cat /proc/net/thop_switch/stats | stat_of stats drop_ttl)" 0
}

step "the switch's module was loaded first"
unload_modules
load_switch
load_server
try "switch first"

step "the server's module was loaded first"
unload_modules
load_server
load_switch
try "server first"

step "strict reverse path filtering on the wire"
for i in all eth0; do on server1 sysctl -qw net.ipv4.conf.$i.rp_filter=1; done
try "rp_filter"
