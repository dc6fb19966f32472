# SPDX-License-Identifier: GPL-2.0
# Settings of the kernel that are not the default ones, at the switch, and everywhere.
# run: --servers 2 --timeout 2400
set -uo pipefail
. "$WITH/cells.sh"
. "$WITH/sysctls.sh"

group "Settings at the switch"
each switch switch agreed
without_cookies() { with_sysctls switch net.ipv4.tcp_syncookies=0 $EVERYTHING agreed; }
cell net.ipv4.tcp_syncookies=0 without_cookies

# A client and a switch that agree on feedback of a kind that no message can hand on.
accurate_ecn() {
	local n
	for n in client switch server1 server2; do on $n sysctl -qw net.ipv4.tcp_ecn=3; done
	listener_anew
	on client sysctl -qw net.ipv4.tcp_ecn=3
	traffic $EVERYTHING
	on client python3 - <<-'PY'
		from http_client import *

		c = Client()
		c.ask("/upload/ecn", "PUT", file("1m"))
		c.ask("/1m")
		# tcpi_delivered_ce
		seen = struct.unpack_from("I", c.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 248), 196)[0]
		same("marks of congestion that a client has been told of where there are none", seen, 0)
	PY
	for n in client switch server1 server2; do on $n sysctl -qw net.ipv4.tcp_ecn=2; done
}
group "Settings everywhere"
cell "net.ipv4.tcp_ecn=3 (accurate ECN)" accurate_ecn
cells_end
