# SPDX-License-Identifier: GPL-2.0
# Settings of the kernel that are not the default ones, at the servers.
# run: --servers 2 --timeout 2400
set -uo pipefail
. "$WITH/cells.sh"
. "$WITH/sysctls.sh"

group "Settings at the servers"
each servers "server1 server2"

# README: 1 or 2, as a connection is made from a cookie.
servers_without_cookies() {
	local n
	for n in 1 2; do on server$n sysctl -qw net.ipv4.tcp_syncookies=0; done
	same "GET" "$(fetch /1k | cut -c1-3)" 503
	[ "$(on server1 awk '/^refused_/ { n += $2 } END { print n }' /proc/net/thop_server/stats)" -gt 0 ] ||
		fail "server1 has refused nothing"
	on server1 awk '/^refused_/ && $2 > 0' /proc/net/thop_server/stats
	for n in 1 2; do on server$n sysctl -qw net.ipv4.tcp_syncookies=1; done
	all_up
	traffic gets
}
limit net.ipv4.tcp_syncookies=0 "a socket is made as from a SYN cookie: refused, clients get 503 (README)" servers_without_cookies
cells_end
