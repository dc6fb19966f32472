# SPDX-License-Identifier: GPL-2.0
# What is held of a client while its server is silent: all that an honest one can send, and of others no more than `held_octets`.
# run: --servers 1 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

shield 20000-29999
default_configuration | unchecked | configure
acquaint

step "64 segments of 60 kB each of four clients: some 256 KiB of each stay"
drop server1 in "ip protocol 253"
held=$(stat_switch held)
py client <<'PY'
from raw_tcp import *
from http_client import *

wire = Wire()
body = b"x" * 60_000
for port in range(21000, 21004):
    c = RawTcp(port, wire=wire).connect()
    c.fragment = 1400
    head = request("/post", "POST", b"x" * 60_000)[:-60_000]
    c.emit(ACK | PSH, c.nxt, head)
    for n in range(64):
        c.emit(ACK | PSH, c.nxt + len(head) + n, body)
PY
held=$(($(stat_switch held) - held))
if [ $held -lt 4 ] || [ $held -gt 20 ]; then fail "$held segments of 60 kB are held of four clients"; fi
[ "$(stat_switch drop_hold_octets)" -gt 100 ] || fail "drop_hold_octets is $(stat_switch drop_hold_octets)"
undrop server1

step "a whole first window of an honest client, in segments and merged"
for gro in off on; do
	on switch python3 "$TOOLS/offload.py" gro=$gro
	on client python3 "$TOOLS/offload.py" tso=$gro gso=$gro
	full=$(($(stat_switch drop_hold_full) + $(stat_switch drop_hold_octets)))
	held=$(stat_switch held)
	messages_suffer server1 any delay 400ms
	py client <<-'PY'
		from http_client import *

		body = octets(60_000)
		with Client() as c:
		    server = c.ask("/upload/window", "PUT", body)
		    check(uploaded(server.server, "window") == body, "the body differs")
	PY
	messages_suffer server1 off
	[ "$(stat_switch held)" -gt "$held" ] || fail "nothing was held"
	same "segments of an honest client that were not held, gro $gro" \
		$(($(stat_switch drop_hold_full) + $(stat_switch drop_hold_octets) - full)) 0
done

step "held_octets is heard"
unload_modules
load_modules "held_octets=0"
default_configuration | unchecked | configure
acquaint
messages_suffer server1 any delay 400ms
same "PUT" "$(fetch /upload/none -T "$WWW/files/100k" | cut -c1-3)" 201
messages_suffer server1 off
same "held" "$(stat_switch held)" 0
[ "$(stat_switch drop_hold_octets)" -gt 0 ] || fail "drop_hold_octets is 0"
