# SPDX-License-Identifier: GPL-2.0
# What has come to this machine only by its link's broadcast is not taken for a client's, neither a segment nor a request nor
# fragments; and what has options in its IP header that ask something of routers is not forwarded.
# run: --timeout 180
set -euo pipefail
. "$TOOLS/helpers.sh"

shield 20000-29999
acquaint

step "a segment, a request and fragments, in broadcasts and multicasts"
forwarded=$(stat_switch forwarded)
ignored=$(stat_switch ignored_segments)
handoffs=$(stat_switch handoffs)
py client <<'PY'
from raw_tcp import *
from http_client import *

frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
frames.bind(("eth0", 0x800))
with open("/sys/class/net/eth0/address") as f:
    me = bytes.fromhex(f.read().strip().replace(":", ""))
ALL, SOME = b"\xff" * 6, bytes.fromhex("01005e000001")


def cast(to, c, segment, fragment=0):
    for packet in ip_packets(c.me[0], c.to[0], socket.IPPROTO_TCP, segment, fragment=fragment):
        frames.send(to + me + b"\x08\x00" + packet)


c = RawTcp(21000).connect()
c.send(request("/1k"))
check(c.answer().body == file("1k"), "differs")
time.sleep(0.5)
for to in ALL, SOME:
    for n in range(10):
        cast(to, c, c.segment(ACK, c.nxt))
    cast(to, c, c.segment(RST | ACK, c.nxt))
# A reset in fragments, of which the first, or the last, came by broadcast.
segment = c.segment(RST | ACK, c.nxt, b"x" * 24)
for whole in False, True:
    packets = ip_packets(c.me[0], c.to[0], socket.IPPROTO_TCP, segment, fragment=32)
    frames.send(ALL + me + b"\x08\x00" + packets[0])
    time.sleep(0.2)
    if whole:
        for packet in packets[1:]:
            c.wire.send(packet)
        time.sleep(0.2)
c.send(request("/1k"))
check(c.answer().body == file("1k"), "differs afterwards")
c.close()

d = RawTcp(21001).connect()
cast(ALL, d, d.segment(ACK | PSH, d.nxt, request("/any/broadcast")))
cast(ALL, d, d.segment(ACK | PSH, d.nxt, request("/any/broadcast")), fragment=32)
time.sleep(0.5)
d.forget()
PY
same "requests in broadcasts that were seen by servers" "$(log_lines broadcast)" 0
same "handoffs" $(($(stat_switch handoffs) - handoffs)) 1
[ $(($(stat_switch ignored_segments) - ignored)) -ge 22 ] || fail "ignored_segments grew by $(($(stat_switch ignored_segments) - ignored))"
# Acknowledgements of two answers, the second request, and the end.
[ $(($(stat_switch forwarded) - forwarded)) -lt 12 ] || fail "$(($(stat_switch forwarded) - forwarded)) segments were forwarded"

step "IP options"
before=$(stat_switch drop_ip_options)
py client <<'PY'
from raw_tcp import *
from http_client import *

for port, options in enumerate([
    bytes([131, 7, 4]) + socket.inet_aton(os.environ["SERVER2"]),    # loose source route
    bytes([137, 7, 4]) + socket.inet_aton(os.environ["SERVER2"]),    # strict
    bytes([148, 4, 0, 0]),                                           # router alert
    bytes([30, 4, 0, 0]),                                            # nobody knows
    bytes([131, 1, 0, 0]),                                           # none
], 22000):
    c = RawTcp(port).connect()
    c.send(request("/1k"))
    check(c.answer().body == file("1k"), "differs")
    c.ip_options = options
    c.send(request(f"/any/optional{port}"))
    time.sleep(0.5)
    c.ip_options = b""
    c.rst()
    c.forget()
# Options that mean nothing, or nothing for the way: record route, time stamps.
for port, options in enumerate([b"\1\1\1\1", b"\7\7\4\0\0\0\0\0", b"\x44\x08\5\0\0\0\0\0"], 22010):
    c = RawTcp(port, ip_options=options).connect()
    for _ in range(2):
        c.send(request("/1k"))
        check(c.answer().body == file("1k"), f"with options {options}: differs")
    c.close()
PY
same "requests with options that were seen by servers" "$(log_lines optional)" 0
[ $(($(stat_switch drop_ip_options) - before)) -ge 5 ] || fail "drop_ip_options grew by $(($(stat_switch drop_ip_options) - before))"
