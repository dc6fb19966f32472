# SPDX-License-Identifier: GPL-2.0
# Many requests on one connection, one after another and all at once.
set -euo pipefail
. "$TOOLS/helpers.sh"

step "1,000 requests on one connection, all answered by one server"
py client <<'PY'
from http_client import *

small = file("1k")
with Client() as c:
    first = c.ask("/1k").server
    for n in range(999):
        answer = c.ask("/1k")
        check(answer.body == small, f"request {n} got something else")
        same(f"server of request {n}", answer.server, first)
PY
same "requests of one connection in one log" "$(grep -h 'req=1000 ' "$LOGDIR"/server*.access.log | wc -l)" 1

step "pipelined requests"
py client <<'PY'
from http_client import *

small, middle, large = file("1k"), file("100k"), file("1m")

# All in one segment (the head of the first is all that the switch reads), then more than a segment.
for count in 2, 12, 200:
    with Client() as c:
        c.send(b"".join(request(f"/any/{n}") for n in range(count)))
        servers = set()
        for n in range(count):
            answer = c.answer()
            same("order", answer.body.split()[-1], f"/any/{n}".encode())
            servers.add(answer.server)
        same("servers of one connection", len(servers), 1)

# With bodies between them, and answers larger than any window.
with Client() as c:
    c.send(request("/100k") + request("/post", "POST", small) + request("/1m") +
           request("/upload/piped", "PUT", middle) + request("/1k", headers=["Connection: close"]))
    check(c.answer().body == middle, "first of the mixture")
    same("second of the mixture", c.answer().body, b"received 1024\n")
    check(c.answer().body == large, "third of the mixture")
    server = c.answer(status=201).server
    check(c.answer().body == small, "last of the mixture")
    c.at_end()
    check(uploaded(server, "piped") == middle, "the upload in the mixture")

# Methods mixed on one connection, with a pause in which nothing is sent.
with Client() as c:
    for n in range(3):
        same("HEAD", c.ask("/1m", "HEAD").headers["content-length"], "1048576")
        check(c.ask("/1m").body == large, "GET of 1 MB")
        same("POST", c.ask("/post", "POST", middle).body, b"received 102400\n")
        time.sleep(0.3)
PY

step "ab with keep-alive"
on client ab -q -k -n 1000 -c 20 "http://$VIP/1k" >ab.out 2>&1 || { cat ab.out; fail "ab"; }
grep -q '^Failed requests: *0$' ab.out && grep -q '^Complete requests: *1000$' ab.out || { cat ab.out; fail "ab saw failures"; }
