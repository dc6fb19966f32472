# SPDX-License-Identifier: GPL-2.0
# What the switch answers itself: with the right status, readable, and closed without a reset.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

{
	default_configuration
	echo "pool empty"
	echo "pool resting"
	echo "server s1 pool resting address $SERVER1:80 weight 0"
	echo "service quick address $VIP:81 pool web head-timeout 500ms head-limit 1k"
	echo "service poolless address $VIP:82"
	echo "service empty address $VIP:83 pool empty"
	echo "service resting address $VIP:84 pool resting"
} | configure

py client <<'PY'
import collections
import concurrent.futures
import select
from http_client import *


def wanted(what, data, status, port=80, rest=b"", half_close=False):
    """Sends, and sees that status and then a proper end."""
    with Client((VIP, port)) as c:
        c.send(data)
        if half_close:
            c.half_close()
        if rest:
            time.sleep(0.1)
            c.send(rest)
        try:
            answer = c.answer(status=None)
        except ConnectionError as e:
            fail(f"{what}: {e!r} instead of {status}")
        same(f"status of {what}", answer.status, status)
        try:
            c.at_end()
        except ConnectionError as e:
            fail(f"{what}: {e!r} after the answer")
        # One that says how it ends, and what it is.
        same(f"Connection in the answer to {what}", answer.headers.get("connection"), "close")
        check("content-length" in answer.headers, f"no Content-Length in {answer}")


print("- malformed: 400")
for data in (
    b"\0" * 10 + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / FTP/1.1\r\nHost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # The beginning of TLS.
    bytes.fromhex("160301007b0100007703034a8f") + bytes(100),
    b"\r\n" * 20,
):
    wanted(short(data), data, 400)
# With more behind it, before and after the answer; a reset would take the answer away.
wanted("malformed, and more", b"nonsense\r\n\r\n" + b"x" * 30_000, 400)
wanted("malformed, and more later", b"nonsense\r\n\r\n", 400, rest=b"x" * 30_000)
wanted("malformed, half-closed", b"nonsense\r\n\r\n", 400, half_close=True)

print("- too large: 431")
wanted("a head of 17 KB", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 17_000 + b"\r\n\r\n", 431)
wanted("a head without end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 60_000, 431)
wanted("a long target", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431)
wanted("a head of 1,100 octets where 1 KB is the limit", request(headers=["X: " + "x" * 1100]), 431, 81)
with Client() as c:
    for n in range(170):
        try:
            c.send(b"GET / HTTP/1.1\r\nHost: a\r\n" if n == 0 else b"X: " + b"x" * 97 + b"\r\n")
        except ConnectionError:
            fail("reset while a large head was sent in pieces")
        time.sleep(0.001)
    same("a large head in pieces", c.answer(status=None).status, 431)
# What a client goes on sending while it is answered does not turn the answer into a reset: many
# clients, so that one of them says something at every moment of the answer.
def goes_on():
    begun = time.monotonic()
    with Client() as c:
        try:
            c.send(b"nonsense\r\n\r\n")
            for _ in range(150):
                c.send(b"x" * 100)
            return c.answer(status=None).status
        except ConnectionError as e:
            return f"{e!r} after {time.monotonic() - begun:.0f} s"


def goes_on_slowly(most):
    """For so many seconds, or until it is told to stop. Returns the answer's status, if any, and when that was."""
    with Client() as c:
        begun = now = time.monotonic()
        c.send(b"nonsense\r\n\r\n")
        try:
            while now < begun + most:
                time.sleep(0.5)
                c.send(b"x")
                now = time.monotonic()
            return c.answer(status=None).status, now - begun
        except ConnectionError:
            return None, time.monotonic() - begun


# An answer waits for longer than five seconds while its client goes on, but not for ever. This takes a while; the others go on.
others = concurrent.futures.ThreadPoolExecutor(2)
slowly, for_ever = others.submit(goes_on_slowly, 8), others.submit(goes_on_slowly, 600)
with concurrent.futures.ThreadPoolExecutor(20) as pool:
    seen = collections.Counter(pool.map(lambda _: goes_on(), range(200)))
same("what clients see that go on", dict(seen), {400: 200})
# Large, but no head.
with Client() as c:
    same("a body of 100 KB is none", c.ask("/post", "POST", octets(100_000)).status, 200)

print("- version: 505")
for version in b"2.0", b"3.0", b"1.2", b"0.9":
    with Client() as c:
        c.send(b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n")
        answer = c.answer(status=None)
        # A later minor version is answered as 1.1 would be.
        if version == b"1.2":
            check(answer.status in (200, 404, 403, 400, 505), f"HTTP/1.2: {answer}")
        else:
            same(f"HTTP/{version.decode()}", answer.status, 505)
with Client() as c:
    c.send(b"PRI * HTTP/2.0\r\n\r\nSX")
    check(c.answer(status=None).status in (400, 505), "almost the preface of HTTP/2")

print("- too slow: 408")
begun = time.monotonic()
slow = [Client((VIP, 81)) for _ in range(3)]
slow[0].send(b"GET / HT")
slow[1].send(b"GET / HTTP/1.1\r\nHost: a\r\n")
# The third says nothing for too long.
same("a piece of the request line", slow[0].answer(status=None).status, 408)
check(0.4 < time.monotonic() - begun < 15, f"408 after {time.monotonic() - begun} s")
slow[0].at_end()
same("half a head", slow[1].answer(status=None).status, 408)
slow[1].at_end()
silent = slow[2]
time.sleep(max(0, begun + 1 - time.monotonic()))
try:
    silent.send(request())
except ConnectionError:
    # It has been closed before.
    pass
silent.fill(1 << 62)
check(silent.buffer == b"" or b" 408 " in silent.buffer, f"to a silent client: {silent.buffer}")
# An octet now and then does not prolong it.
with Client((VIP, 81)) as c:
    for octet in b"GET / HTTP/1.1\r\nHost: a\r\nX: x":
        c.send(bytes([octet]))
        time.sleep(0.1)
    check(select.select([c.socket], [], [], 0)[0], "a client that sends an octet now and then is not timed out")
    same("an octet now and then", c.answer(status=None).status, 408)

print("- no server: 503")
wanted("a service without a pool", request(), 503, 82)
wanted("a pool without servers", request(), 503, 83)
wanted("a pool of servers of weight 0", request(), 503, 84)
wanted("POST to no server", request("/post", "POST", octets(20_000)), 503, 82)

print("- a client that gives up")
for data in b"", b"GET", b"GET / HTTP/1.1\r\n":
    with Client() as c:
        c.send(data)
        c.half_close()
        c.fill(1 << 62)
        check(c.buffer == b"" or b" 400 " in c.buffer, f"half-closed after {data}: {c.buffer}")
    with Client() as c:
        c.send(data)
        c.reset()
    with Client() as c:
        c.send(data)

print("- a client that goes on")
same("what a client sees that goes on for 8 s", slowly.result()[0], 400)
status, seconds = for_ever.result()
same("what a client sees that goes on for ever", status, None)
check(29 < seconds < 120, f"it was let go on for {seconds} s")

print("- and the others have noticed nothing")
for n in range(3):
    same("a good request", get("/1k").body, file("1k"))
PY
# Each of them is counted.
for counter in answered_400 answered_408 answered_431 answered_503 answered_505; do
	[ "$(stat_switch $counter)" -gt 0 ] || fail "$counter is 0"
done
same "answered_504" "$(stat_switch answered_504)" 0
# Nothing of all this is left.
step "no socket of the switch is left"
sockets_gone() { [ "$(on switch ss -Htn state connected | grep -vc TIME-WAIT)" = 0 ]; }
wait_for 20 sockets_gone || { on switch ss -tna; fail "sockets are left"; }
