# SPDX-License-Identifier: GPL-2.0
# A client's port, used again and again: each connection is dispatched anew.
set -euo pipefail
. "$TOOLS/helpers.sh"

step "the server closes first: its TIME-WAIT is in the way of the next connection there"
py client <<'PY'
from http_client import *

small = file("1k")
last = None
for n in range(12):
    # Three servers take turns, so from the fourth on each has an old TIME-WAIT of this very port.
    answer = get("/1k", source=os.environ["CLIENT"], port=5555)
    check(answer.body == small, f"connection {n} differs")
    check(answer.server != last, f"connection {n} went to {last} again")
    last = answer.server
PY
same "TIME-WAIT at the servers" "$(for n in 1 2 3; do on "server$n" ss -Htn state time-wait | wc -l; done | paste -sd' ')" "1 1 1"

step "the client resets"
py client <<'PY'
from http_client import *

last = None
for n in range(9):
    c = Client(source=os.environ["CLIENT"], port=5556)
    answer = c.ask("/1k")
    check(answer.server != last, f"connection {n} went to {last} again")
    last = answer.server
    if n % 3 == 2:
        c.send(request("/1m"))
    c.reset()
PY

step "the client closes first, and does not keep its TIME-WAIT"
py client <<'PY'
import subprocess
from http_client import *

last = None
for n in range(6):
    c = Client(source=os.environ["CLIENT"], port=5557)
    answer = c.ask("/1k")
    check(answer.server != last, f"connection {n} went to {last} again")
    last = answer.server
    c.close()
    time.sleep(0.1)
    # It has sent FIN first, so this is its TIME-WAIT.
    subprocess.run(["ss", "-4tK", "sport = :5557"], stdout=subprocess.DEVNULL, check=True)
PY

shield 20000-29999
step "a client in user space: higher and lower sequence numbers, after FIN, RST and nothing at all"
py client <<'PY'
from raw_tcp import *
from http_client import *

small = file("1k")
port = 20000
last = None

def connection(what, isn, ts=None, close="fin"):
    global last
    c = RawTcp(port, isn=isn, ts_base=ts, timestamps=ts is not None).connect()
    c.send(request("/1k"))
    answer = c.answer()
    check(answer.body == small, f"{what}: differs")
    check(answer.server != last, f"{what}: went to {last} again")
    last = answer.server
    if close == "fin":
        c.close()
    elif close == "rst":
        c.rst()
        c.forget()
    elif close == "server":
        c.send(request("/1k", headers=["Connection: close"]))
        c.answer()
        c.pump(lambda: c.fin_received, 10, "FIN")
        c.close()
    return c

for n in range(4):
    connection(f"FIN, sequence numbers rise, {n}", 1_000_000 * n)
for n in range(4):
    connection(f"FIN, sequence numbers fall, {n}", 100_000_000 - 1_000_000 * n)
for n in range(4):
    connection(f"FIN, timestamps fall, {n}", 200_000_000 - n, ts=100_000_000 - 1_000_000 * n)
for n in range(4):
    connection(f"RST, sequence numbers fall, {n}", 300_000_000 - 1_000_000 * n, close="rst")
for n in range(6):
    connection(f"the server's FIN, sequence numbers fall, {n}", 400_000_000 - 1_000_000 * n, close="server")
for n in range(6):
    connection(f"the server's FIN, timestamps fall, {n}", 500_000_000 - n, ts=200_000_000 - 1_000_000 * n, close="server")

# FIN of the client only, and then its port again at once: the server is still about to close.
for n in range(6):
    c = connection(f"half-closed, {n}", 600_000_000 + 1_000_000 * n, close="none")
    c.emit(FIN | ACK, c.nxt)
    c.forget()

# A client that has lost its memory: its SYN meets a connection that lives, the server's kernel
# asks back, and the client's RST clears the way.
for n in range(4):
    old = connection(f"before the loss of memory, {n}", 700_000_000 + 1_000_000 * n, close="none")
    old.forget()
    c = RawTcp(port, isn=800_000_000 + 1_000_000 * n, timestamps=False)
    c.syn()
    c.pump(lambda: c.last is not None, 10, "an answer to the SYN on a living connection")
    flags, seq, ack, _, _ = c.last
    if not flags & SYN:
        same("the challenge acknowledges", ack, old.nxt)
        c.irs, c.rcv = None, None
        c.emit(RST, ack)
        c.last = None
        c.nxt = c.una = c.isn
        c.connect()
    c.send(request("/1k"))
    answer = c.answer()
    check(answer.body == small, f"after the loss of memory, {n}: differs")
    check(answer.server != last, f"after the loss of memory, {n}: went to {last} again")
    last = answer.server
    c.close()
PY

step "the same port at the same time to different services"
{
	default_configuration
	echo "service other address $VIP:8080 pool web"
} | configure
py client <<'PY'
from http_client import *

a = Client(source=os.environ["CLIENT"], port=5558)
b = Client(to=(VIP, 8080), source=os.environ["CLIENT"], port=5558)
for n in range(3):
    check(a.ask("/100k").body == file("100k"), "the first service differs")
    check(b.ask("/1k").body == file("1k"), "the second service differs")
same("the port that the server sees", b.ask("/who").body.split()[2], b"8080")
a.close()
check(b.ask("/1k").body == file("1k"), "the second service differs after the first is closed")
b.close()
PY

step "a server that has another connection with the same endpoints refuses, and that one goes on"
{
	pool_of 1
	echo "service other address $VIP:8080 pool web"
} | configure
py client <<'PY'
from http_client import *

a = Client(source=os.environ["CLIENT"], port=5559)
a.ask("/1k")
with Client(to=(VIP, 8080), source=os.environ["CLIENT"], port=5559) as b:
    b.send(request("/1k"))
    same("status of the second", b.answer(status=None).status, 503)
check(a.ask("/100k").body == file("100k"), "the first differs")
a.close()
PY
[ "$(stat_server 1 refused_endpoints_in_use)" -gt 0 ] || fail "not refused for that reason"
