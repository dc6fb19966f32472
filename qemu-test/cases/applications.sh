# SPDX-License-Identifier: GPL-2.0
# What server programs, even those without any right, may do with a socket that was handed over to them, and with its listener.
# run: --servers 1 --timeout 180
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe -a tls nft_socket
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

cat >resets.py <<'PY'
"""Clients whose resets are lost on their way to server 1, where their connections live on."""
from waiting import *

RULE = """
    table netdev resets {
        chain c {
            type filter hook ingress device "eth0" priority -400;
            tcp flags & rst == rst counter drop
        }
    }"""


def lost(clients):
    subprocess.run(["on", "server1", "nft", "-f", "-"], check=True, text=True, input=RULE)
    for c in clients:
        c.reset()
    time.sleep(0.5)
    on("server1", "nft", "delete", "table", "netdev", "resets")


def ended():
    """How many connections of server 1's have made room for others, or the switch has taken back."""
    return int(on("server1", "awk", '$1 == "replaced" || $1 == "forgotten" { n += $2 } END { print n }', "/proc/net/thop_server/stats"))


def client(port):
    return Client(source=os.environ["CLIENT"], port=port)
PY
port=40000
for how in plain tls sockmap; do
	step "another connection from the same port, when the old one lives still: $how"
	application $how <<'PY'
from bpf import *

how = sys.argv[1]
if how == "sockmap":
    sockets = new_map(SOCKMAP, 4, 4)
else:
    become_nobody()
TCP_ULP = 31


def take(n):
    c = accept(LISTENER)
    c.request()
    if how == "tls":
        c.socket.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    elif how == "sockmap":
        put(sockets, n, c.socket.fileno(), 4)
    c.answer()
    return c


first = take(0)
first.request()
first.answer()
second = take(1)
first.over()
first.close()
second.at_end()
second.close()
PY
	py client $((port += 1)) <<'PY'
from resets import *

port, before = int(sys.argv[1]), ended()
c = client(port)
c.ask("/x")
c.ask("/x")
lost([c])
c, begin = client(port), time.monotonic()
same("the answer at the same port", c.ask("/x").body, b"ok\n")
check(time.monotonic() - begin < 2 * int(os.environ["SLOW"]), f"it took {time.monotonic() - begin:.1f} s")
check(ended() - before >= 1, f"{ended() - before} old connections were ended")
c.close()
PY
	ends
done

step "with a ULP when the module goes: the client is told"
application <<'PY'
become_nobody()
c = accept(LISTENER)
c.request()
c.socket.setsockopt(socket.IPPROTO_TCP, 31, b"tls")
c.answer()
try:
    check(c.request() is None, "another request")
except OSError:
    pass
c.close()
PY
rm -f answered
spawn client python3 - <<'PY'
from http_client import *

c = Client(timeout=30)
c.ask("/x")
open("answered", "w").close()
try:
    same("the end", c.more(), "a reset")
except ConnectionResetError:
    pass
PY
client=$SPAWNED
wait_for 20 test -e answered
unload_module thop_server 20
wait $client || fail "the client has not heard of it"
ends
wait_for 5 no_sockets || { on server1 ss -tan; fail "sockets are left"; }
load_server

step "it is passed to another process, and closed in the first"
application <<'PY'
become_nobody()
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
if os.fork() == 0:
    ours.close()
    _, fds, _, _ = socket.recv_fds(theirs, 10, 1)
    c = Accepted(socket.socket(fileno=fds[0]), "server1")
    theirs.send(b"x")
    c.request()
    c.answer()
    c.at_end()
    sys.exit(0)
theirs.close()
c = accept(LISTENER)
c.request()
c.answer()
socket.send_fds(ours, [b"x"], [c.socket.fileno()])
c.close()
check(ours.recv(1) == b"x", "no answer of the child")
check(os.wait()[1] == 0, "the child has failed")
PY
py client <<'PY'
from http_client import *

with Client() as c:
    for n in range(2):
        same("answer", c.ask("/x").body, b"ok\n")
        time.sleep(0.5)
PY
ends

step "shutdown(), and then nothing for a while; bound to a device afterwards"
application <<'PY'
become_nobody()
c = accept(LISTENER)
c.request()
c.answer()
c.socket.shutdown(socket.SHUT_WR)
d = accept(LISTENER)
d.request()
d.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
d.answer()
d.request()
d.answer()
d.at_end()
d.close()
c.at_end()
c.close()
PY
py client <<'PY'
from http_client import *

half = Client()
same("answer", half.ask("/x").body, b"ok\n")
half.at_end()
with Client() as c:
    for n in range(2):
        same("answer", c.ask("/x").body, b"ok\n")
        time.sleep(1)
half.close()
PY
ends
wait_for 20 none_alive || { on server1 cat /proc/net/thop_server/connections; on server1 ss -tan; fail "a connection lives"; }

step "nginx takes a connection that is taken back for one that has ended"
start_nginx 1
py client <<'PY'
from resets import *

ports, before = range(41000, 41004), ended()
clients = [client(port) for port in ports]
for c in clients:
    c.ask("/1k")
for c in clients[:2]:
    # In the middle of a response.
    c.send(request("/slow/100m"))
    c.more()
lost(clients)
for port in ports:
    with client(port) as c:
        same("the answer at the same port", c.ask("/1k").body, file("1k"))
# Those in the middle of a response may have met another reset, which answered that.
check(ended() - before >= 2, f"{ended() - before} old connections were ended")
PY
same "what nginx is alarmed about" "$(grep -E '\[(alert|crit|emerg)\]' "$LOGDIR/server1.error.log" || true)" ""

step "nothing is left"
stop_nginx 1
wait_for 20 none_alive || { on server1 cat /proc/net/thop_server/connections; on server1 ss -tan; fail "a connection lives"; }
unload_modules
wait_for 5 no_sockets || { on server1 ss -tan; fail "sockets are left"; }
