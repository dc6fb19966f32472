# SPDX-License-Identifier: GPL-2.0
# Who says what when: CREATED and NOTIFYCLS are said at once only if the switch waits for them. What the client's
# acknowledgement shows is not said at all, and what is said later is said together.
# run: --servers 1 --timeout 180 --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$TOOLS/helpers.sh"

# One line for each message of a handoff that comes to the server or leaves it:
# DATAGRAM IN-A-BUNDLE LENGTH OPCODE ID HASTE
cat >recorder.py <<'PY'
import sys
from thop import *

tap, datagram = Tap(), 0
with open(sys.argv[1], "w", buffering=1) as out:
    print("ready", file=out)
    while not os.path.exists("stop"):
        if not (item := tap.next(0.2)):
            continue
        data = item[2]
        bundle = opcode_of(data) == BUNDLE
        datagram += 1
        for one in messages_of(data):
            if opcode_of(one) not in (PING, LOAD):
                print(datagram, int(bundle), len(data), NAMES[opcode_of(one)], handoff_of(one)[1], one[25], file=out)
PY
# recorded NAME and told: what was said between goes to NAME, without its first line.
recorded() {
	rm -f stop
	RECORD=$1
	spawn server1 python3 recorder.py "$1.all"
	RECORDER=$SPAWNED
	wait_for 30 test -s "$1.all"
}
told() {
	# What is gathered is said within some milliseconds, on a kernel of whatever speed within this.
	wait_for 40 all_said
	touch stop
	wait "$RECORDER"
	sed 1d "$RECORD.all" >"$RECORD"
}
all_said() { [ "$(stat_server 1 close_acks)" = "$(stat_server 1 adopted)" ]; }
# opcodes NAME: how often each was said, `CREATE 3 NOTIFYCLS 3`.
opcodes() { awk '{ print $4 }' "$1" | sort | uniq -c | awk '{ printf "%s%s %s", sep, $2, $1; sep = " " }'; }
# haste NAME: all that CREATEs said of it.
haste() { awk '$4 == "CREATE" { print $6 }' "$1" | sort -u | paste -sd ' '; }

declare -A BEFORE
COUNTED="handoffs creates_sent created proven_by_client close_notices"
remember() {
	local name
	for name in $COUNTED; do BEFORE[$name]=$(stat_switch "$name"); done
	BEFORE[asked_to_confirm]=$(stat_server 1 asked_to_confirm)
}
grown() {
	case $1 in
	asked_to_confirm) echo $(($(stat_server 1 "$1") - BEFORE[$1])) ;;
	*) echo $(($(stat_switch "$1") - BEFORE[$1])) ;;
	esac
}

# A server that takes its time.
stop_nginx 1
cat >slow.py <<'PY'
import http.server, time

class Slow(http.server.BaseHTTPRequestHandler):
    log_message = lambda *_: None

    def do_GET(self):
        time.sleep(0.5)
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", 81), Slow).serve_forever()
PY
spawn server1 python3 slow.py
NGINX_SERVER='location /later { proxy_pass http://127.0.0.1:81; }' start_nginx 1
wait_for 30 eval 'on server1 ss -Htln "sport = :81" | grep -q .'

# Nobody asks for its load: what is heard is about handoffs. The first request makes its clock known.
pool_of 1 | unchecked | configure
same "a request" "$(fetch /1k)" "200 server1"
wait_for 40 all_said

step "quick responses: most clients acknowledge them before anything has to be said"
remember
recorded quick
for _ in {1..20}; do
	same "a request" "$(fetch /1k)" "200 server1"
done
told
echo "  $(opcodes quick)"
same "handoffs" "$(grown handoffs)" 20
same "the switch is in no haste" "$(haste quick)" 0
# How many is a matter of time. That none has been taken without a proof is not.
[ "$((SLOW > 1 || $(grown proven_by_client) > 10))" = 1 ] || fail "$(grown proven_by_client) were proven by their clients"
[ "$(($(grown proven_by_client) + $(grown created)))" -le 20 ] || fail "more proofs than handoffs"

step "a slow response: CREATED comes by the clock, before CREATE is repeated"
remember
same "a request" "$(fetch /later | cut -d" " -f1)" 204
[ "$(grown asked_to_confirm)" -ge 1 ] || fail "nobody has said CREATED"
same "CREATED at the switch" "$(grown created)" 1
[ "$((SLOW > 1 || $(grown creates_sent) == 1))" = 1 ] || fail "CREATE was sent $(grown creates_sent) times"
wait_for 40 all_said

step "a client that has more to say: the switch is told at once"
remember
recorded post
for _ in {1..5}; do
	# The head alone first, so that CREATE is in one piece.
	same "POST" "$(on client curl -sS -m 20 -H "Expect: 100-continue" --data-binary "@$WWW/files/100k" "http://$VIP/post")" \
		"received 102400"
done
told
echo "  $(opcodes post)"
same "haste" "$(haste post)" 1
same "CREATED at the switch" "$(($(grown created) + $(grown proven_by_client)))" 5
[ "$(grown created)" -ge 1 ] || fail "no CREATED came before its client had proven as much"

step "many connections end at once: notices and their acknowledgements go together"
cat >many.py <<'PY'
from http_client import *

clients = [Client() for _ in range(int(sys.argv[1]))]
for c in clients:
    c.ask("/1k")
for c in clients:
    c.close()
PY
remember
recorded many
on client python3 many.py 60
told
python3 - many 60 <<'PY'
import collections
import sys

said, count = collections.defaultdict(list), int(sys.argv[2])
for line in open(sys.argv[1]):
    datagram, bundle, length, opcode, ident, _ = line.split()
    said[opcode].append((datagram, bundle == "1", int(length), ident))
for opcode in "NOTIFYCLS", "CLOSEACK":
    them = said[opcode]
    datagrams = {datagram for datagram, *_ in them}
    print(f"  {len(them)} {opcode} in {len(datagrams)} datagrams, of at most {max(length for _, _, length, _ in them)} octets")
    assert len({ident for *_, ident in them}) == count, f"{opcode} of other than {count} handoffs"
    assert len(datagrams) < len(them), f"every {opcode} went alone"
    # Several in a datagram, and only then a bundle.
    for datagram in datagrams:
        together = [bundle for d, bundle, *_ in them if d == datagram]
        assert len(together) == 1 or all(together), f"{opcode}: {together}"
    assert all(length <= 1152 for _, _, length, _ in them)
PY

step "a server with room for so many connections: each end is told at once, and alone"
pool_of 1 | sed 's/^server .*/& max 50/' | unchecked | configure
recorded few
on client python3 many.py 10
told
echo "  $(opcodes few)"
same "haste" "$(haste few)" 2
same "notices in bundles" "$(awk '$4 == "NOTIFYCLS" && $2 == 1' few | wc -l)" 0
same "handoffs that have ended" "$(awk '$4 == "NOTIFYCLS" { print $5 }' few | sort -u | wc -l)" 10

step "a bundle that an old friend might send, and one that he would not"
py switch <<'PY'
from thop import *
from http_client import *

tap, switch, server1 = Tap(), os.environ["SWITCH"], os.environ["SERVER1"]
me, service, server = (os.environ["CLIENT"], 40000), (VIP, 80), (server1, 80)


def about(opcode, n, **wrong):
    return message(opcode, (7, n), me, service, server, **wrong)


def answers(data):
    """What the switch says to a server that has sent this."""
    send(switch, data, source=server1)
    heard = []
    while item := tap.next(1):
        source, destination, answer = item
        if (source, destination) == (switch, server1):
            heard += [(NAMES[opcode_of(one)], handoff_of(one)[1]) for one in messages_of(answer)]
    return heard


good = [about(NOTIFYCLS, n) for n in range(5)]
acknowledged = [("CLOSEACK", n) for n in range(5)]
for what, data, expected in (
    ("five notices", bundle(*good), acknowledged),
    ("as many as fit", bundle(*(about(NOTIFYCLS, n) for n in range(23))), [("CLOSEACK", n) for n in range(23)]),
    ("one too many", bundle(*(about(NOTIFYCLS, n) for n in range(24))), []),
    ("nothing", bundle(), []),
    ("one alone", bundle(good[0]), acknowledged[:1]),
    ("what is for the other side, between", bundle(good[0], about(CLOSEACK, 1), good[2]), [acknowledged[0], acknowledged[2]]),
    ("a wrong one behind two", bundle(*good[:2], about(NOTIFYCLS, 2, version=1), *good[3:]), acknowledged[:2]),
    ("a CREATE behind two", bundle(*good[:2], about(CREATE, 2, create=state(b"")), *good[3:]), acknowledged[:2]),
    ("a bundle in a bundle", bundle(good[0], bundle(good[1])), acknowledged[:1]),
    ("a PING in a bundle", bundle(good[0], ping(server)), acknowledged[:1]),
    ("cut short", finish(bundle(*good)[:-1]), acknowledged[:4]),
    ("a wrong checksum", bundle(*good)[:-1] + b"\1", []),
):
    got = answers(data)
    assert got == expected, f"{what}: {got}"
PY
same "a request" "$(fetch /1k)" "200 server1"
