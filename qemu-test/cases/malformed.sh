# SPDX-License-Identifier: GPL-2.0
# THOP messages that no peer of ours would send. They are counted, and harm nobody.
# run: --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$TOOLS/helpers.sh"

# total NODE FILE PATTERN: the sum of all counters whose name matches.
total() { on "$1" awk -v p="$3" '$1 ~ p { sum += $2 } END { print sum + 0 }' "/proc/net/$2/stats"; }

# A download that must not notice anything.
on client curl -sS -m 100 "http://$VIP/slow/1m" -o undisturbed &
download=$!

step "garbage, truncated, wrong checksum, wrong version, absurd values: to servers and to the switch"
cat >garbage.py <<'PY'
from thop import *
from http_client import *

target, random_ = sys.argv[1], random.Random(4)
me = (os.environ["CLIENT"], 40000)
service, server = (VIP, 80), (target, 80)
get = request("/1k")

for length in list(range(0, 120)) + [500, 1480]:
    send(target, random_.randbytes(length))
    send(target, bytes(length))
tap = Tap()
clock = Clock.asked(tap, server)


def life(**wrong):
    return state(get, deadline=clock.ends(), **wrong)


good = message(CREATE, (7, 7), me, service, server, create=life())
for length in range(len(good)):
    send(target, good[:length])
    # With an honest length and checksum, too.
    if length > 8:
        send(target, finish(good[:length]))
for opcode in (*range(CREATE, CONFIRM + 1), LATE):
    for wrong in (
        dict(version=0), dict(version=1), dict(reserved=1), dict(family=6), dict(family=0),
        dict(length=0), dict(length=65535), dict(length=47), dict(reason=0 if opcode == NOTIFYDROP else 1),
        dict(reason=255),
    ):
        send(target, message(opcode, (7, 8), me, service, server, create=life() if opcode == CREATE else b"", **wrong))
# PING and LOAD are of another form.
for opcode in (0, PING, LOAD, SEALED, BUNDLE, BUNDLE + 1, 77, 65535):
    send(target, message(opcode, (7, 8), me, service, server))
for n in range(1, 30):
    # Nothing that is known, and of the wrong length from some number on.
    notices = bundle(*(message(NOTIFYCLS, (7, k), me, service, server) for k in range(n)))
    send(target, notices)
    send(target, finish(notices[:-n]))
send(target, bundle())
send(target, bundle(good, good))
for absurd in (
    dict(mss=0), dict(mss=47), dict(snd_wscale=15), dict(rcv_wscale=255), dict(options=0xFFFF),
    dict(window=0xFFFFFFFF), dict(request_len=0), dict(request_len=0xFFFFFFFF), dict(request_len=len(get) + 1),
    dict(options=0, snd_wscale=7),
):
    send(target, message(CREATE, (7, 9), me, service, server, create=life(**absurd)))
for a, b, c in (((me[0], 0), service, server), (me, (VIP, 0), server), (me, service, (target, 0))):
    send(target, message(CREATE, (7, 10), a, b, c, create=life()))
    send(target, message(CREATED, (7, 10), a, b, c))
# The checksum is wrong.
for at in range(0, len(good), 3):
    send(target, good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1:])
PY
for target in server1 switch; do
	on client python3 garbage.py "$(address $target)"
done
malformed=$(total server1 thop_server malformed)
[ "$malformed" -gt 400 ] || fail "server 1 counts $malformed malformed messages"
# Here both modules are in every namespace; one of them looks at a message first.
malformed=$(($(total switch thop_switch malformed) + $(total switch thop_server malformed)))
[ "$malformed" -gt 400 ] || fail "the switch counts $malformed malformed messages"

step "well-formed, but about nothing that is known, or not from whom it should come"
py client <<'PY'
from thop import *
from http_client import *

switch, server1 = os.environ["SWITCH"], os.environ["SERVER1"]
me = (os.environ["CLIENT"], 40001)
service, server = (VIP, 80), (server1, 80)
for opcode in CREATED, NOTIFYCLS, NOTIFYDROP, CLOSEACK, FORGET, FORGOTTEN, CONFIRM, LATE:
    reason = 1 if opcode == NOTIFYDROP else 0
    for target in switch, server1:
        for handoff in (0, 0), (1, 1), ((1 << 64) - 1, (1 << 64) - 1):
            for source in None, server1, switch, os.environ["SERVER2"], VIP:
                one = message(opcode, handoff, me, service, server, reason=reason)
                send(target, one, source=source)
                send(target, bundle(one, one), source=source)
# CREATE to the switch, which is no server; and to one for addresses that nobody can have.
get = request("/1k")
clock = Clock.asked(Tap(), server)
send(switch, message(CREATE, (3, 1), me, service, (switch, 80), create=state(get)))
for address in "0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", server1:
    for n, (client, vip, at) in enumerate((((address, 5), service, server), (me, (address, 80), server), (me, service, (address, 80)))):
        send(server1, message(CREATE, (3, 10 + n), client, vip, at, create=state(get, deadline=clock.ends())))
PY
sleep 0.5
same "a request to the switch" "$(fetch /1k | cut -c1-3)" 200

step "real messages, sent again, changed, and from elsewhere"
spawn server1 python3 - <<'PY'
from thop import *
from http_client import *

tap = Tap()
random_ = random.Random(5)
open("tapping", "w").close()
seen = []
# The forged handoffs of before are still asked about, once a second: these alone will not do.
while len(seen) < 12 or (len(seen) < 300 and not any(opcode_of(m) == CREATE for _, _, m in seen)):
    item = tap.next(20)
    if item is None:
        break
    seen.append(item)
print("  seen:", *sorted({NAMES[opcode_of(m)] for _, _, m in seen}))
check(any(opcode_of(m) == CREATE for _, _, m in seen), "no CREATE came by")
for source, destination, data in seen:
    # The same, from its own sender's address.
    for _ in range(3):
        send(destination, data, source=source)
    # Each octet changed, with the checksum put right, from the right and from a wrong address.
    for at in [*range(0, 2), *range(4, min(len(data), 84))]:
        changed = bytearray(data)
        changed[at] ^= 1 << random_.randrange(8)
        for by in source, "10.0.0.77":
            send(destination, finish(bytes(changed)) if at not in (6, 7) else finish(bytes(changed), changed[6] << 8 | changed[7]), source=by)
    # As if from another epoch.
    other = data[:8] + random_.randbytes(8) + data[16:]
    send(destination, finish(other), source=source)
PY
tap=$SPAWNED
wait_for 30 test -e tapping
for ((i = 0; i < 12; i++)); do same "a request while messages are recorded" "$(fetch /1k | cut -c1-3)" 200; done
wait $tap || fail "playing messages back"

step "the others go on"
for ((i = 0; i < 9; i++)); do same "a request" "$(fetch /1k | cut -c1-3)" 200; done
wait $download || fail "a download was disturbed: curl says $?"
cmp undisturbed "$WWW/files/1m"
# Sockets that were made of forged messages end when nobody confirms them. One that a late segment
# of a real client has confirmed is TCP's to end: without authentication nothing tells it from others.
settled() { ! on server1 grep -qE 'unconfirmed|adopting' /proc/net/thop_server/connections; }
wait_for 40 settled || { on server1 cat /proc/net/thop_server/connections; fail "unconfirmed handoffs are left"; }
