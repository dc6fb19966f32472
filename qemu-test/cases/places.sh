# SPDX-License-Identifier: GPL-2.0
# What counts as a server's connection (`max`, least connections): all that it has, and no others, whatever clients say.
# run: --servers 2 --timeout 280
set -euo pipefail
. "$TOOLS/helpers.sh"

shield 20000-29999
# What comes behind the seal's 48 octets begins with the operation code.
says() { echo "ip protocol 253 @th,384,16 $1"; }
CREATE=1 FORGOTTEN=7 CONFIRM=8

# one_server OPTIONS: with this maximum, and a queue that holds nobody for long.
one_server() { pool_of 1 | sed "s/^pool web.*/& queue 1 queue-timeout 100ms/; s/^server.*/& $1/" | configure; }
connections() { server_is web/s1 connections; }
connections_are() { [ "$(connections)" = "$1" ]; }
alive_are() { [ "$(stat_server 1 alive)" = "$1" ]; }
at_rest() { connections_are 0 && alive_are 0; }
# remember COUNTER..., grown COUNTER: at the switch.
declare -A BEFORE
remember() { for c; do BEFORE[$c]=$(stat_switch "$c"); done; }
grown() { echo $(($(stat_switch "$1") - BEFORE[$1])); }
has_grown() { [ "$(grown "$1")" -ge "$2" ]; }

cat >ghosts.py <<'PY'
from raw_tcp import *
from http_client import *


def ghost(port, wire, heard=1000):
    """A request, and at once the acknowledgement of so many octets of an answer that nobody has given."""
    c = RawTcp(port, wire=wire).connect()
    c.emit(ACK | PSH, c.nxt, request("/1k?ghost"))
    c.nxt = (c.nxt + len(request("/1k?ghost"))) & MASK
    c.emit(ACK, c.nxt, ack=(c.rcv + heard) & MASK)
    return c


def is_reset(c):
    """What it says next is answered with a reset."""
    c.emit(ACK, c.nxt, ack=(c.rcv + 1000) & MASK)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        packet = c.wire.receive(0.2)
        if packet and c.take(packet) and c.last[0] & RST:
            return True
    return False
PY

step "connections that no server has take no places: CREATE is lost, and the clients say that they have heard the server"
one_server "max 5"
wait_state web/s1 "UP answers*"
acquaint
wait_for 20 at_rest
drop server1 in "$(says $CREATE)"
remember disproved questions purged
spawn client python3 - <<'PY'
from ghosts import *

wire = Wire()
ghosts = [ghost(port, wire) for port in range(22000, 22005)]
open("pretended", "w").close()
wait_for(60, "freed", lambda: os.path.exists("freed"))
for c in ghosts:
    check(is_reset(c), "who speaks on a connection that nobody has is not reset")
PY
wait_for 30 test -e pretended
wait_for 5 connections_are 5 || fail "the clients are not believed so far"
undrop server1
wait_for 10 connections_are 0 || fail "$(connections) places are taken, of which the server knows $(stat_server 1 alive)"
same "disproved" "$(grown disproved)" 5
[ "$(grown questions)" -ge 5 ] || fail "the server was not asked"
for ((n = 0; n < 5; n++)); do same "an honest client" "$(fetch /1k)" "200 server1"; done
same "requests of ghosts that were carried out" "$(log_lines ghost)" 0
: >freed
wait $SPAWNED

step "the server refuses, and that comes late"
default_configuration | sed '/server s2/d' | unchecked | configure
acquaint
wait_for 20 at_rest
stop_nginx 1
messages_suffer server1 any delay 400ms
remember disproved questions foreign_messages
py client <<'PY'
from ghosts import *

c = ghost(22100, Wire())
PY
wait_for 10 has_grown disproved 1 || fail "a refusal is not believed"
same "connections" "$(connections)" 0
same "messages that are about nothing" "$(grown foreign_messages)" 0
messages_suffer server1 off
start_nginx 1

step "nobody has heard more than the largest window"
one_server "max 5"
acquaint
wait_for 20 at_rest
drop server1 in "$(says $CREATE)"
remember proven_by_client
py client <<'PY'
from ghosts import *

c = ghost(22200, Wire(), heard=(1 << 30) + 1)
time.sleep(0.5)
# It has an end as soon as the server has it.
c.emit(RST, c.nxt)
PY
same "proven" "$(grown proven_by_client)" 0
undrop server1

step "who is gone within a second is not asked about, who stays is asked about once"
one_server ""
acquaint
wait_for 30 at_rest
remember proven_by_client questions disproved
for ((n = 0; n < 5; n++)); do fetch /1k >/dev/null; done
sleep 3
[ "$(grown proven_by_client)" -ge 1 ] || fail "nothing is shown by the client's acknowledgement"
same "questions about short connections" "$(grown questions)" 0
rm -f asked again
spawn client python3 - <<'PY'
from http_client import *

c = Client()
c.ask("/1k")
open("asked", "w").close()
wait_for(60, "again", lambda: os.path.exists("again"))
c.ask("/1k")
PY
wait_for 30 test -e asked
remember questions created
sleep 6
same "questions about a long connection" "$(grown questions)" 1
same "answers" "$(grown created)" 1
same "connections" "$(connections)" 1
: >again
wait $SPAWNED || fail "a connection that was asked about"

step "the question is lost, and repeated"
wait_for 20 at_rest
rm -f asked again
spawn client python3 - <<'PY'
from http_client import *

c = Client()
c.ask("/1k")
open("asked", "w").close()
wait_for(60, "again", lambda: os.path.exists("again"))
c.ask("/1k")
PY
wait_for 30 test -e asked
drop server1 in "$(says $CONFIRM)"
remember questions created
wait_for 10 has_grown questions 2 || fail "the question is not repeated"
same "answers" "$(grown created)" 0
undrop server1
wait_for 20 has_grown created 1 || fail "the question is not repeated when it can be heard"
asked=$(grown questions)
sleep 5
same "questions after the answer" "$(grown questions)" "$asked"
: >again
wait $SPAWNED || fail "a connection that was asked about"

step "a client that says it has heard a silent server does not bring it back"
pool_of 1 2 | unchecked | configure
acquaint
drop server1 in "$(says "{ $CREATE, $CONFIRM }")"
remember proven_by_client unanswered
py client <<'PY'
from ghosts import *

wire = Wire()
clients = []
for port in 22300, 22301:
    c = RawTcp(port, wire=wire).connect()
    c.emit(ACK | PSH, c.nxt, request("/1k"))
    c.nxt = (c.nxt + len(request("/1k"))) & MASK
    clients.append(c)
time.sleep(2)
for c in clients:
    c.emit(ACK, c.nxt, ack=(c.rcv + 1000) & MASK)
time.sleep(0.2)
PY
[ "$(grown unanswered)" -ge 1 ] || fail "no server was silent"
[ "$(grown proven_by_client)" -ge 1 ] || fail "nobody was believed"
offered=$(server_is web/s1 offered)
same_who 4 "4 200 server2"
same "requests for the silent server" "$(server_is web/s1 offered)" "$offered"
undrop server1

step "resets that the server does not believe win no places"
one_server "max 3"
wait_state web/s1 "UP answers*"
acquaint
wait_for 30 at_rest
remember connections_told_to_end
py client <<'PY'
from ghosts import *
import subprocess


def established():
    text = subprocess.run(["ip", "netns", "exec", "server1", "ss", "-Htn", "state", "established", "sport = :80"],
                          check=True, capture_output=True, text=True).stdout
    return len(text.splitlines())


wire, most = Wire(), 0
for port in range(21000, 21030):
    c = RawTcp(port, wire=wire).connect()
    c.send(request("/1k"))
    c.answer()
    # The switch takes it for the end, the server does not.
    c.emit(RST, c.nxt + 0x40000000)
    c.emit(SYN, c.nxt + 0x50000000)
    time.sleep(0.02)
    most = max(most, established())
check(most <= 4, f"{most} connections at the server, which may have 3")
PY
wait_for 10 at_rest || fail "connections at the switch $(connections), at the server $(stat_server 1 alive)"
[ "$(grown connections_told_to_end)" -ge 30 ] || fail "the server was not told"

step "a place is free when the server has said so"
drop server1 out "$(says $FORGOTTEN)"
py client <<'PY'
from ghosts import *

c = RawTcp(21100, wire=Wire()).connect()
c.send(request("/1k"))
c.answer()
c.emit(RST, c.nxt + 0x40000000)
c.emit(SYN, c.nxt + 0x50000000)
PY
wait_for 10 alive_are 0 || fail "the server was not told to end it"
sleep 1
same "connections while the server has not answered" "$(connections)" 1
undrop server1
wait_for 10 connections_are 0 || fail "FORGET is not repeated"

step "the same port again, at once, after a reset that the server does not believe"
one_server ""
remember answered_503
py client <<'PY'
from ghosts import *

wire = Wire()
for n in range(10):
    c = RawTcp(21200, wire=wire).connect()
    c.send(request("/1k"))
    c.answer()
    c.emit(RST, c.nxt + 0x40000000)
PY
same "answered_503" "$(grown answered_503)" 0

step "an idle connection is forgotten: both ends are told"
unload_modules
load_modules "idle_ms=2000"
one_server ""
wait_state web/s1 "UP answers*"
py client <<'PY'
from http_client import *

c = Client(timeout=20)
c.ask("/1k")
try:
    same("after silence", c.more(), b"")
    fail("the connection was closed")
except ConnectionResetError:
    pass
except TimeoutError:
    fail("the client is not told that its connection is gone")
PY
wait_for 5 at_rest || fail "the server keeps $(stat_server 1 alive) connections, of which the switch knows $(connections)"
[ "$(stat_switch expired)" -ge 1 ] || fail "nothing has expired"
