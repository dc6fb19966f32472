# SPDX-License-Identifier: GPL-2.0
# Clients of every kind: without this or that option of TCP, with options of IP, in fragments, with
# sequence numbers that wrap, and such as end their connections in unusual ways.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

cat >transfers.py <<'PY'
import subprocess
from http_client import *

with Client() as c:
    check(c.ask("/1m").body == file("1m"), "the download differs")
    body = file("100k")
    server = c.ask("/upload/o", "PUT", body).server
    check(uploaded(server, "o") == body, "the upload differs")
    # What the server's kernel says of the connection while it lives.
    c.send(request("/slow/1m"))
    while len(c.buffer) < 1000:
        c.buffer += c.more()
    subprocess.run(["ip", "netns", "exec", server, "ss", "-Htino", f"dport = :{c.port}"], check=True)
PY

# agreed: a download and an upload; what was agreed on is in the file ss.
agreed() { on client python3 transfers.py >ss || fail "the transfers failed"; }
# has WHAT WORD WANTED: whether ss shows the word: 0 or 1.
has() {
	local got=0
	! grep -Eq " $2( |:|$)" ss || got=1
	[ "$got" = "$3" ] || { cat ss; fail "$1: $2 at the server: got $got, wanted $3"; }
}

# knobs NAME=VALUE...: sysctls of the client.
knobs() {
	local knob
	for knob; do on client sysctl -qw "net.ipv4.$knob"; done
}

step "without timestamps, SACK, window scaling, in all combinations"
for ts in 0 1; do
	for sack in 0 1; do
		for scale in 0 1; do
			knobs tcp_timestamps=$ts tcp_sack=$sack tcp_window_scaling=$scale
			what="timestamps $ts, SACK $sack, scaling $scale"
			agreed
			has "$what" ts $ts
			has "$what" sack $sack
			has "$what" wscale $scale
		done
	done
done

step "ECN"
knobs tcp_ecn=1
agreed
has ECN ecn 1
knobs tcp_ecn=2

step "a client's MSS of 536 octets, and of 88"
for mss in 536 88; do
	on client ip route replace "$VIP" dev eth0 advmss $mss
	agreed
	got=$(grep -o ' mss:[0-9]*' ss | cut -d: -f2)
	# The option of 12 octets is part of it.
	[ "$got" -le $mss ] && [ "$got" -ge $((mss - 12)) ] || { cat ss; fail "MSS $mss: the server sends $got octets"; }
done
on client ip route del "$VIP"

step "a small window, and a path of small packets"
on client ip link set eth0 mtu 600
agreed
on client ip link set eth0 mtu 1500
knobs tcp_rmem='4096 4096 8192'
agreed
knobs tcp_rmem='4096 131072 6291456'

step "packets with real checksums: the client's card computes none, nor does it cut segments"
on client python3 "$TOOLS/offload.py" tx=off tso=off gso=off
agreed
# And such as are merged before the switch sees them, which it must cut again.
on switch python3 "$TOOLS/offload.py" gro=on
agreed
on client python3 "$TOOLS/offload.py" tx=on tso=on gso=on
agreed
on switch python3 "$TOOLS/offload.py" gro=off

step "a switch that remembers nothing of a SYN: cookies always"
on switch sysctl -qw net.ipv4.tcp_syncookies=2
for ts in 1 0; do
	knobs tcp_timestamps=$ts
	agreed
	# Without timestamps a cookie has no room for SACK and scaling.
	has "cookies, timestamps $ts" ts $ts
	has "cookies, timestamps $ts" sack $ts
	has "cookies, timestamps $ts" wscale $ts
done
knobs tcp_timestamps=1
on switch sysctl -qw net.ipv4.tcp_syncookies=1

step "a narrower path from the switch to the servers"
for n in 1 2 3; do on switch ip route add "$(address server$n)/32" dev eth0 mtu 1200; done
before=$(stat_switch drop_too_big)
agreed
py client <<'PY'
from http_client import *

with Client() as c:
    check(c.ask("/1k", headers=["X: " + "x" * 12_000]).body == file("1k"), "a large head differs")
    body = octets(1_000_000)
    server = c.ask("/upload/narrow", "PUT", body).server
    check(uploaded(server, "narrow") == body, "the upload differs")
PY
[ "$(stat_switch drop_too_big)" -gt "$before" ] || fail "nothing was too long"
for n in 1 2 3; do on switch ip route del "$(address server$n)/32"; done
on client ip route flush cache

step "IP options, from the client's kernel"
py client <<'PY'
from http_client import *

for what, value in (("no operation", b"\1\1\1\0"), ("record route", b"\x07\x0f\x04" + bytes(12) + b"\0"),
                    ("timestamps", b"\x44\x0c\x05\0" + bytes(8)), ("forty octets", b"\1" * 39 + b"\0")):
    with Client(options=[(socket.IPPROTO_IP, socket.IP_OPTIONS, value)]) as c:
        check(c.ask("/100k").body == file("100k"), f"{what}: the download differs")
        body = octets(50_000)
        server = c.ask("/upload/ip", "PUT", body).server
        check(uploaded(server, "ip") == body, f"{what}: the upload differs")
PY

shield 20000-29999
# So that segments arrive as TCP cut them.
for n in 1 2 3; do on "server$n" python3 "$TOOLS/offload.py" tso=off gso=off; done
step "a client in user space: fragments, IP options, bare SYNs"
py client <<'PY'
from raw_tcp import *
from http_client import *

small, body = file("100k"), octets(30_000)

def transfers(what, port, **how):
    c = RawTcp(port, **how).connect()
    c.send(request("/100k"))
    check(c.answer().body == small, f"{what}: the download differs")
    c.send(request(f"/upload/r{port}", "PUT", body))
    server = c.answer(status=201).server
    check(uploaded(server, f"r{port}") == body, f"{what}: the upload differs")
    c.close()
    check(not c.reset_received, f"{what}: reset at the end")
    return c

c = transfers("plain", 20000)
same("the largest segment with timestamps", c.largest, 1448)

# A hole in what the server receives tells whether it uses SACK, and where it thinks the data is.
for n, (sack, ts) in enumerate(((True, True), (True, False), (False, True), (False, False))):
    c = RawTcp(20020 + n, sack=sack, timestamps=ts).connect()
    c.send(request("/1k"))
    c.answer()
    data = request("/any/hole")
    c.emit(ACK | PSH, c.nxt + 10, data[10:])
    c.last = None
    c.pump(lambda: c.last is not None, 10, "an answer to data behind a hole")
    first = (c.nxt + 10) & MASK
    wanted = [(first, (c.nxt + len(data)) & MASK)] if sack else []
    same(f"SACK blocks with SACK {sack}, timestamps {ts}", c.sack_blocks, wanted)
    c.send(data)
    c.answer()
    c.close()
transfers("fragments of 400 octets", 20001, fragment=400)
transfers("fragments in reverse order", 20002, fragment=256, reverse=True)
transfers("IP options in fragments", 20003, fragment=400, ip_options=b"\1\1\1\0")
c = transfers("a SYN without options", 20004, mss=0, wscale=None, sack=False, timestamps=False)
same("the largest segment for a client without MSS", c.largest, 536)
transfers("a MSS of 100", 20005, mss=100, timestamps=False)
transfers("no scale but timestamps", 20006, wscale=None)
transfers("a scale of 14 and a window of 1 GB", 20007, wscale=14, window=(65535 << 14) - 1)
transfers("a scale of 0", 20008, wscale=0)
transfers("a window of 2 KB", 20009, window=2048, wscale=0)
transfers("timestamps that wrap", 20010, ts_base=(1 << 32) - 100)
transfers("a zero TSval", 20011, ts_base=0)
transfers("nonsense among the options", 20012, timestamps=False, wscale=None, sack=False,
          raw_options=b"\x02\x04\x05\xb4\xfd\x04\x12\x34\x01\x01\x01\x00")
transfers("ECN", 20013, ecn=True)
PY

step "sequence numbers that wrap, the client's"
py client <<'PY'
from raw_tcp import *
from http_client import *

head = len(request("/upload/w00", "PUT", b"") ) + 4
body = octets(60_000)
# The wrap comes: in the handshake, in the head, at its end, in the body, at FIN.
for n, before in enumerate((0, 1, 2, 20, head, head + 1, head + 2000, head + 40_000, head + 60_000)):
    c = RawTcp(20100 + n, isn=-1 - before).connect()
    c.send(request(f"/upload/w{n:02}", "PUT", body))
    server = c.answer(status=201).server
    check(uploaded(server, f"w{n:02}") == body, f"wrap after {before} octets: the upload differs")
    c.send(request("/1k"))
    check(c.answer().body == file("1k"), f"wrap after {before} octets: the download differs")
    c.close()
PY

step "sequence numbers that wrap, the switch's and then the server's"
FIRST=$(stat_switch handoffs_first_segment)
export FIRST
py client <<'PY'
from raw_tcp import *
from http_client import *

def downloads(c):
    c.send(request("/1m"))
    check(c.answer().body == file("1m"), "the download across the wrap differs")
    c.send(request("/1k", headers=["Connection: close"]))
    check(c.answer().body == file("1k"), "the download after the wrap differs")
    c.fin()

# A cookie is the client's own number and something that is the same for a minute.
for port in range(20900, 20904) if os.environ["FIRST"] != "0" else ():
    c = RawTcp(port)
    c.syn()
    c.pump(lambda: c.irs is not None, 10, "SYN/ACK")
    c.emit(RST, c.nxt)
    c = RawTcp(port, isn=c.isn - c.irs - 300_000, wire=c.wire).connect()
    left = (1 << 32) - c.irs
    downloads(c)
    if left == 300_000:
        break
else:
    check(os.environ["FIRST"] == "0", "no number of a cookie's wrapped")

# Without time stamps there is no cookie, and the kernel's initial sequence numbers are a secret of the endpoints plus
# a clock of 64 ns. So ask for some, and come back to the port whose number wraps next, a moment before it does.
wire = Wire()
done = False
# So that it wraps in the first third of a download of 1 MB: 300 KB are 19 ms. How much of that the handshake takes
# depends on the machine.
lead = 0.012
for attempt in range(8):
    found = []
    for port in range(21000 + 200 * attempt, 21200 + 200 * attempt):
        c = RawTcp(port, wire=wire, timestamps=False)
        c.syn()
        c.pump(lambda: c.irs is not None, 10, "SYN/ACK")
        now = time.monotonic()
        c.emit(RST, c.nxt)
        found.append((now + ((1 << 32) - c.irs) * 64e-9, port))
    for when, port in sorted(found):
        pause = when - lead - time.monotonic()
        if 0.02 < pause < 6:
            break
    else:
        continue
    time.sleep(pause)
    c = RawTcp(port, wire=wire, timestamps=False).connect()
    left = (1 << 32) - c.irs
    print(f"  {left} octets before the wrap")
    wrapped = left < 1 << 20
    # As far off as this was the next would be, too.
    late = left > 1 << 31
    lead -= (left - (1 << 32 if late else 0) - 300_000) * 64e-9
    downloads(c)
    done = done or wrapped
    if wrapped:
        break
check(done, "no download crossed the wrap")
PY

step "half-close: the client has nothing more to say, and gets its answer"
# nginx gives up a client that has closed its half as soon as it has to wait for it.
spawn server2 python3 -m http.server -p HTTP/1.1 -d "$WWW/files" 8000 >/dev/null 2>&1
wait_for 30 eval 'on server2 ss -Htln "sport = :8000" | grep -q .'
{
	default_configuration
	echo "pool patient"
	echo "server s2 pool patient address $SERVER2:8000"
	echo "service patient address $VIP:8000 pool patient"
} | configure
py client <<'PY'
from http_client import *

for path, port in ("/1k", 80), ("/1m", 8000), ("/0", 8000):
    # FIN: with the request, while it is handed over, and when the answer is under way.
    for pause in 0, 0.01, 0.2:
        with Client((VIP, port)) as c:
            if pause:
                c.send(request(path))
                time.sleep(pause)
            else:
                # Nagle's algorithm may put FIN onto the last segment of two.
                c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                c.send(request(path))
            c.half_close()
            check(c.answer().body == file(path[1:]), f"{path} half-closed after {pause} s differs")
            if port != 80 or pause < 0.1:
                c.at_end()
PY
kill "$SPAWNED"

step "a client that resets in mid-transfer leaves nothing behind, and disturbs nobody"
before=$(for n in 1 2 3; do on "server$n" ss -Htn state established "sport = :80"; done | wc -l)
py client <<'PY'
from http_client import *

clients = [Client() for _ in range(9)]
for c in clients:
    c.send(request("/slow/1m"))
    while len(c.buffer) < 1000:
        c.buffer += c.more()
with Client() as quiet:
    quiet.ask("/1k")
    for c in clients:
        c.reset()
    quiet.ask("/1k")
    # In the middle of an upload.
    for n in range(3):
        c = Client()
        c.send(request("/upload/never", "PUT", octets(500_000))[:200_000])
        c.reset()
    # Behind the head, and in it.
    for cut in 10, None:
        c = Client()
        c.send(request("/1m")[:cut])
        c.reset()
    quiet.ask("/1k")
PY
sockets() { for n in 1 2 3; do on "server$n" ss -Htn state established "sport = :80"; done | wc -l; }
as_before() { [ "$(sockets)" -le "$before" ]; }
wait_for 10 as_before || { on server1 ss -tn; fail "sockets of clients that have reset are left"; }

step "a client that vanishes disturbs nobody"
py client <<'PY'
import subprocess
from http_client import *

clients = [Client() for _ in range(3)]
for c in clients:
    c.send(request("/slow/1m"))
    c.more()
ports = ", ".join(str(c.port) for c in clients)
for hook, direction in (("ingress", "dport"), ("egress", "sport")):
    chain = f'type filter hook {hook} device "eth0" priority -400; tcp {direction} {{ {ports} }} drop'
    rules = f"table netdev gone_{hook} {{ chain c {{ {chain}; }}; }}"
    subprocess.run(["nft", rules], check=True)
os._exit(0)
PY
for ((i = 0; i < 3; i++)); do same "others meanwhile" "$(fetch /1k | cut -c1-3)" 200; done
# What they left is cleared away with the modules, which the harness watches.
