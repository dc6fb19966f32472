# SPDX-License-Identifier: GPL-2.0
# A request in every kind of pieces.
set -euo pipefail
. "$TOOLS/helpers.sh"

step "a request head split at every position, and each octet in a segment of its own"
py client <<'PY'
from http_client import *

head = request("/any/split?x=y", headers=["X-Filler: 0123456789", "Accept: */*"])
print(f"  {len(head)} octets")
# All at the same time: first every first part, then every second part.
clients = [Client() for _ in range(1, len(head))]
for at, c in enumerate(clients, 1):
    c.send(head[:at])
time.sleep(0.3)
for at, c in enumerate(clients, 1):
    c.send(head[at:])
for at, c in enumerate(clients, 1):
    same(f"split at {at}", c.answer().body.split()[2], b"/any/split?x=y")
    # The connection is good for another.
    c.send(request("/0", headers=["Connection: close"]))
    c.answer()
    c.at_end()
    c.close()

clients = [Client() for _ in range(4)]
body = octets(40)
heads = [head, request("/post", "POST", body), b"\r\n" + head, request("/upload/bytes", "PUT", body)]
for at in range(max(map(len, heads))):
    for c, data in zip(clients, heads):
        if at < len(data):
            c.send(data[at:at + 1])
    time.sleep(0.002)
same("octet by octet: GET", clients[0].answer().body.split()[2], b"/any/split?x=y")
same("octet by octet: POST", clients[1].answer().body, b"received 40\n")
same("octet by octet: an empty line before GET", clients[2].answer().body.split()[2], b"/any/split?x=y")
server = clients[3].answer(status=201).server
same("octet by octet: PUT", uploaded(server, "bytes"), body)
PY

step "a body that begins with the head, cut around the boundary"
py client <<'PY'
from http_client import *

body = octets(5000)
data = request("/upload/X", "PUT", body)
head = len(data) - len(body)
cuts = [head - 2, head - 1, head, head + 1, head + 2, head + 1000, head + 3000, len(data) - 1, len(data)]
clients = []
for n, cut in enumerate(cuts):
    c = Client()
    c.data = data.replace(b"/upload/X", b"/upload/%d" % n)
    c.send(c.data[:cut])
    clients.append(c)
time.sleep(0.3)
for c, cut in zip(clients, cuts):
    c.send(c.data[cut:])
for n, c in enumerate(clients):
    server = c.answer(status=201).server
    check(uploaded(server, n) == body, f"cut at head {cuts[n] - head:+}: the upload differs")

# Both at once: a large body in one write, as fast as it goes, while the handoff is under way.
large = octets(3_000_000)
for n in range(5):
    with Client() as c:
        c.send(request(f"/upload/large{n}", "PUT", large))
        server = c.answer(status=201).server
        check(uploaded(server, f"large{n}") == large, "a large body in one write differs")

# And a trickle of segments, each small, behind a head that is complete.
with Client() as c:
    c.send(data.replace(b"/upload/X", b"/upload/t")[:head])
    for at in range(0, len(body), 10):
        c.send(body[at:at + 10])
    server = c.answer(status=201).server
    check(uploaded(server, "t") == body, "a trickled body differs")
PY

step "12 KB of cookies: a CREATE larger than any packet"
py client <<'PY'
from http_client import *

cookies = ["Cookie: " + "; ".join(f"c{n}={'v' * 55}" for n in range(68)) for _ in range(3)]
check(12_000 < sum(map(len, cookies)) < 14_000, "12 KB")
small, body = file("1k"), octets(2000)
for n in range(6):
    with Client() as c:
        check(c.ask("/1k", headers=cookies).body == small, "GET with cookies differs")
        check(c.ask("/1k", headers=cookies).body == small, "the second GET with cookies differs")
    with Client() as c:
        server = c.ask(f"/upload/cookies{n}", "PUT", body, headers=cookies)
        same("status", server.status, 201)
        check(uploaded(server.server, f"cookies{n}") == body, "PUT with cookies differs")
# In segments of 536 octets and with pauses between them.
with Client() as c:
    data = request("/1k", headers=cookies)
    for at in range(0, len(data), 536):
        c.send(data[at:at + 536])
        time.sleep(0.005)
    check(c.answer().body == small, "GET with cookies in pieces differs")
# Just below the limit of 16 KB.
with Client() as c:
    bare = len(request("/1k", headers=["X: "]))
    headers = ["X: " + "x" * (16384 - bare)]
    same("octets", len(request("/1k", headers=headers)), 16384)
    check(c.ask("/1k", headers=headers).body == small, "GET with a head of 16 KB differs")
PY

step "a head of 32 KB, where the service allows it"
default_configuration | sed "/^service/s/\$/ head-limit 32k/" | configure
py client <<'PY'
from http_client import *

for fill in 31_000, 32_768 - len(request("/1k", headers=["X: "])):
    with Client() as c:
        c.send(request("/1k", headers=["X: " + "x" * fill]))
        check(c.answer().body == file("1k"), "GET with a head of 32 KB differs")
PY
