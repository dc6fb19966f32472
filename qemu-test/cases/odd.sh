# SPDX-License-Identifier: GPL-2.0
# What a client may do although no sane one does: segments out of order, repeated, overlapping, stray,
# cut, corrupted; no window; probes.
set -euo pipefail
. "$TOOLS/helpers.sh"
shield 20000-29999
# So that segments arrive as TCP cut them.
for n in 1 2 3; do on "server$n" python3 "$TOOLS/offload.py" tso=off gso=off; done

step "a client in user space: odd, but allowed"
py client <<'PY'
from raw_tcp import *
from http_client import *

small, middle = file("1k"), file("100k")

def ends(what, c):
    """The connection is still good for another request, and for a proper close."""
    c.send(request("/1k"))
    check(c.answer().body == small, f"{what}: the next answer differs")
    c.close()
    check(not c.reset_received, f"{what}: reset")

# The request's segments: the second first, overlapping, again and again.
c = RawTcp(23000).connect()
data = request("/any/order", headers=["X: " + "x" * 2000])
c.unsent = data
for at, to in ((1000, 1400), (1400, len(data)), (600, 1200), (0, 700), (0, 1000)):
    c.emit(ACK | PSH, c.nxt + at, data[at:to])
    c.emit(ACK | PSH, c.nxt + at, data[at:to])
c.nxt = (c.nxt + len(data)) & MASK
check(c.answer().body.endswith(b"/any/order\n"), "segments out of order: the answer differs")
ends("segments out of order", c)

# The request again after it has been handed over, whole and in parts, and longer.
c = RawTcp(23001).connect()
data = request("/1k")
first = c.nxt
c.send(data)
for n in range(5):
    c.emit(ACK | PSH, first, data)
check(c.answer().body == small, "repeated: the answer differs")
for n in range(5):
    c.emit(ACK | PSH, first, data)
more = request("/0")
c.emit(ACK | PSH, first + 5, data[5:] + more[:20])
c.unsent = more
c.nxt = (c.nxt + len(more)) & MASK
c.emit(ACK | PSH, (first + len(data) + 10) & MASK, more[10:])
c.answer()
ends("repeated", c)

# No acknowledgement of the SYN/ACK but that which is in the request; and many bare ones.
c = RawTcp(23002)
c.emit_, c.emit = c.emit, lambda flags, *a, **k: None if flags == ACK and not c.quiet else c.emit_(flags, *a, **k)
c.quiet = False
c.connect()
c.quiet = True
c.send(request("/1k"))
check(c.answer().body == small, "no bare ACK: the answer differs")
ends("no bare ACK", c)
c = RawTcp(23003).connect()
for n in range(20):
    c.emit(ACK, c.nxt)
c.send(request("/1k"))
for n in range(20):
    c.emit(ACK, (c.isn + 1 + len(request("/1k"))) & MASK)
check(c.answer().body == small, "many ACKs: the answer differs")
ends("many ACKs", c)

# Data with the SYN; it may be ignored, and is sent again then.
c = RawTcp(23004)
data = request("/1k")
c.emit(SYN, c.isn, data)
c.nxt = (c.isn + 1) & MASK
c.pump(lambda: c.irs is not None, 10, "SYN/ACK")
c.send(data)
check(c.answer().body == small, "data with SYN: the answer differs")
ends("data with SYN", c)

# No window when the request is sent, nor for a while after; then all of it.
c = RawTcp(23005, wscale=0, window=60000).connect()
c.window = 0
c.send(request("/100k"))
end = time.monotonic() + 1.5
c.pump(lambda: time.monotonic() > end, 10, "nothing")
check(c.received <= 1, f"{c.received} octets came without a window")
c.window = 60000
c.emit(ACK, c.nxt)
check(c.answer().body == middle, "no window at first: the answer differs")
ends("no window at first", c)

# Probes whether the connection lives, before and after the request. Without time stamps, as else there is nobody at
# the switch before a request is (case first-segment).
c = RawTcp(23006, timestamps=False).connect()
for data in b"", b"\0":
    c.last = None
    c.emit(ACK, c.nxt - 1, data)
    c.pump(lambda: c.last is not None, 5, "an answer to a probe at the switch")
c.send(request("/1k"))
c.answer()
for data in b"", b"\0":
    c.last = None
    c.emit(ACK, c.nxt - 1, data)
    c.pump(lambda: c.last is not None, 5, "an answer to a probe at the server")
ends("probed", c)

# Bits of ECN that were not agreed on.
c = RawTcp(23007).connect()
data = request("/1k")
c.unsent = data
c.emit(ACK | PSH | ECE | CWR, c.nxt, data)
c.nxt = (c.nxt + len(data)) & MASK
check(c.answer().body == small, "odd flags: the answer differs")
ends("odd flags", c)

# Segments that no receiver may accept, in a living connection: it goes on.
c = RawTcp(23008).connect()
c.send(request("/1k"))
c.answer()
for flags in (SYN, SYN | ACK, ACK, 0, ACK | URG, ACK | PSH):
    for where in (-(1 << 30), 1 << 30):
        c.emit(flags, c.nxt + where, b"", ack=c.rcv)
ends("stray segments", c)

# A wrong checksum is the server's to find.
c = RawTcp(23009).connect()
c.send(request("/1k"))
c.answer()
good = c.segment(ACK | PSH, c.nxt, request("/any/bad"))
for n in range(3):
    bad = good[:16] + bytes([good[16] ^ 1]) + good[17:]
    for p in ip_packets(c.me[0], c.to[0], 6, bad):
        c.wire.send(p)
ends("wrong checksums", c)

# Packets cut anywhere: a header of TCP that is not all there.
c = RawTcp(23010).connect()
c.send(request("/1k"))
c.answer()
for cut in range(0, 33):
    for p in ip_packets(c.me[0], c.to[0], 6, c.segment(ACK, c.nxt)[:cut]):
        c.wire.send(p)
for doff in range(0, 16):
    s = bytearray(c.segment(ACK, c.nxt))
    s[12] = doff << 4
    for p in ip_packets(c.me[0], c.to[0], 6, bytes(s)):
        c.wire.send(p)
ends("cut headers", c)

# A TTL that ends at the switch, and fragments of which some are missing.
c = RawTcp(23011).connect()
c.send(request("/1k"))
c.answer()
for p in ip_packets(c.me[0], c.to[0], 6, c.segment(ACK | PSH, c.nxt, request("/any/bad")), ttl=1):
    c.wire.send(p)
for p in ip_packets(c.me[0], c.to[0], 6, c.segment(ACK | PSH, c.nxt, request("/any/bad" * 50)), fragment=200)[1:]:
    c.wire.send(p)
for p in ip_packets(c.me[0], c.to[0], 6, c.segment(ACK | PSH, c.nxt, request("/any/bad" * 50)), fragment=200)[:-1]:
    c.wire.send(p)
ends("missing fragments", c)
PY
same "requests that should not have arrived" "$(log_lines /any/bad)" 0
[ "$(stat_switch drop_ttl)" -gt 0 ] || fail "a packet whose TTL had run out was not dropped"
