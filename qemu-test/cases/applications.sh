# SPDX-License-Identifier: GPL-2.0
# What server programs, even those without any right, may do with a socket that was handed over to them, and with its listener.
# run: --servers 1 --timeout 180
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe nft_socket
stop_nginx 1
pool_of 1 | unchecked | configure

# Every program has this first. The first request comes from `once`, or from what its step has.
cat >application.py <<'PY'
from http_server import *

LISTENER = listener()
PY
# application [ARGUMENT]... <PROGRAM: runs it at server 1, until all connections to it can be accepted.
application() {
	cat application.py - >program.py
	spawn server1 python3 program.py "$@"
	APPLICATION=$SPAWNED
	wait_for 20 eval 'on server1 ss -Htln "sport = :80" | grep -q .' || fail "no application"
}
# ends: the application ends by itself, soon and well. One that never comes back from the kernel cannot be waited for.
ended() { ! kill -0 $APPLICATION || [ "$(ps -o stat= -p $APPLICATION | cut -c1)" = Z ]; }
ends() {
	wait_for 20 ended || { cat "/proc/$APPLICATION/stack"; fail "the application hangs"; }
	wait $APPLICATION || fail "the application has failed"
}
# once: a request that the application answers.
once() { same "a request" "$(fetch /x -H 'Connection: close')" "200 server1"; }
none_alive() { [ "$(stat_server 1 alive)" = 0 ]; }
no_sockets() { ! on server1 ss -Htan "sport = :80" | grep -v TIME-WAIT; }

step "it is disconnected and listens, and what has connected to it is closed, in every way"
application <<'PY'
become_nobody()
c = accept(LISTENER)
c.request()
c.answer(headers=["Connection: close"])
s = c.socket
disconnect(s)
s.bind(("127.0.0.1", 9999))
s.listen(16)
for first in "client", "server", "reset", "not accepted":
    a = socket.create_connection(("127.0.0.1", 9999))
    a.send(b"x")
    if first == "not accepted":
        # Closed by the end of the listener.
        continue
    b = s.accept()[0]
    check(b.recv(10) == b"x", "another octet")
    if first == "reset":
        a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))
    for one in (b, a) if first == "server" else (a, b):
        one.close()
s.close()
PY
once
ends

step "it is disconnected, and connects or listens again, and what it has bred is alive when the module goes"
application <<'PY'
import time

become_nobody()
kept = []
for n in range(3):
    c = accept(LISTENER)
    c.request()
    c.answer(headers=["Connection: close"])
    s = c.socket
    disconnect(s)
    s.bind(("127.0.0.1", 9990 + n))
    if n == 0:
        other = socket.create_server(("127.0.0.1", 9980))
        s.connect(("127.0.0.1", 9980))
        kept += [s, other.accept()[0], other]
    else:
        s.listen(4)
        kept += [s, socket.create_connection(("127.0.0.1", 9990 + n))]
        kept.append(s.accept()[0])
# Until somebody says that the module has gone.
LISTENER.accept()
for s in kept:
    try:
        s.send(b"x")
    except OSError:
        pass
    s.close()
PY
for n in 1 2 3; do once; done
unload_module thop_server 20
on client python3 -c "import socket; socket.create_connection(('$SERVER1', 80)).close()"
ends
load_server

step "it may not be bound to others' addresses, and its listener is none that may"
on server1 nft -f - <<-NFT
	table ip transparent {
		chain c {
			type filter hook input priority 0;
			ip daddr $SERVER1 tcp dport 80 counter
			ip daddr $SERVER1 tcp dport 80 socket transparent 1 counter
		}
	}
NFT
application <<'PY'
become_nobody()
IP_TRANSPARENT = 19


def foreign(s):
    try:
        s.bind(("198.51.100.7", 5000))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "bound"


c = accept(LISTENER)
c.request()
c.answer(headers=["Connection: close"])
check(c.request() is None, "no end")
s = c.socket
disconnect(s)
check(s.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT) == 0, "a socket that was handed over is transparent afterwards")
for what, one in ("new", socket.socket()), ("handed over", s):
    check(foreign(one) == "EADDRNOTAVAIL", f"bind() of a {what} socket to a foreign address: {foreign(one)}")
check(LISTENER.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT) == 0, "the listener is transparent")
# Directly, then.
c = accept(LISTENER)
c.request()
c.answer(headers=["Connection: close"])
check(c.socket.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT) == 0, "a direct connection is transparent")
c.at_end()
PY
once
same "a direct request" "$(on client curl -sS -m 20 "http://$SERVER1/x")" "ok"
ends
on server1 nft list table ip transparent | awk '/counter packets/ { for (i = 1; i < NF; i++) if ($i == "packets") print $(i + 1) }' >counters
[ "$(head -n 1 counters)" -gt 0 ] || fail "no direct segment was counted"
same "segments for ordinary connections that a rule for transparent ones finds" "$(tail -n 1 counters)" 0
on server1 nft delete table ip transparent
