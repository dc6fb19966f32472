# SPDX-License-Identifier: GPL-2.0
# A storm: random and mutated THOP messages to servers and switch, random TCP packets to the service, and
# random text to every file of both modules, all of it from fixed seeds. Honest traffic goes on, nothing
# is left of it, and the log is quiet.
# run: --timeout 600 --switch-args "linger_ms=1000 insecure=1" --server-args "linger_ms=1000 insecure=1"
set -euo pipefail
. "$TOOLS/helpers.sh"

# Whose forged messages and packets these are: addresses that end at a node where nobody answers.
STORM=10.0.0.77
NETWORK=10.3.0.0/16
add_node storm $STORM
ip -n storm route add $VIP via $SWITCH
for node in switch server1 server2 server3; do on "$node" ip route add $NETWORK via $STORM; done

counters() { on "$1" awk -v p="$3" '$1 ~ p { sum += $2 } END { print sum + 0 }' "/proc/net/$2/stats"; }
honest=0
honest() {
	same "an honest client" "$(fetch /1k | cut -c1-3)" 200
	honest=$((honest + 1))
}
# during PID: honest clients until the process ends, which must end well.
during() {
	while kill -0 "$1" 2>/dev/null; do honest; done
	wait "$1" || fail "the storm itself"
}

on client curl -sS -m 400 "http://$VIP/slow/1m" -o undisturbed &
download=$!

step "THOP messages: random octets, random bodies behind a good head, and every field at random"
cat >messages.py <<'PY'
from thop import *
from http_client import request

random_ = random.Random(11)
targets = [os.environ[name] for name in ("SWITCH", "SERVER1", "SERVER2", "SERVER3")]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
get = request("/1k")
# As it would come from one who does not know a handoff: ports and addresses of nobody else.
def party():
    return (f"10.3.{random_.randrange(256)}.{random_.randrange(256)}", random_.randrange(65536))

for n in range(1500):
    target = random_.choice(targets)
    how = n % 3
    if how == 0:
        data = random_.randbytes(random_.choice((0, 1, 7, 8, 24, 47, 48, 60, 100, 1400)))
    elif how == 1:
        data = finish(struct.pack("!HHBBH", random_.randrange(BUNDLE + 2), 0, 1, 0, 0) + random_.randbytes(random_.randrange(120)))
    else:
        handoff = random_.getrandbits(64), random_.getrandbits(64)
        opcode = random_.choice((CREATED, NOTIFYCLS, NOTIFYDROP, CLOSEACK, FORGET, FORGOTTEN, CONFIRM, LATE))
        server = (random_.choice(targets), random_.choice((80, 81)))
        data = message(opcode, handoff, party(), (os.environ["VIP"], 80), server,
                       reason=random_.randrange(1, 9) if opcode == NOTIFYDROP else 0)
        if random_.randrange(3) == 0:
            data = bundle(*[data] * random_.randrange(1, 25))
    try:
        raw.sendto(data, (target, 0))
    except OSError:
        pass
# CREATEs with every field at random, and their deadline such that they are obeyed.
tap = Tap()
clocks = {target: Clock.asked(tap, (target, 80)) for target in targets[1:]}
for n in range(200):
    server = random_.choice(targets[1:])
    create = state(get, isn_client=random_.getrandbits(32), isn_switch=random_.getrandbits(32),
                   ts_recent=random_.getrandbits(32), window=random_.getrandbits(random_.randrange(1, 33)),
                   mss=random_.randrange(65536), snd_wscale=random_.randrange(16), rcv_wscale=random_.randrange(16),
                   options=random_.randrange(64), lease=(lease := random_.randrange(50, 2000)),
                   deadline=clocks[server].ends(lease - 40))
    data = message(CREATE, (random_.getrandbits(64), random_.getrandbits(64)), party(), (os.environ["VIP"], 80),
                   (server, 80), create=create)
    raw.sendto(data, (server, 0))
PY
spawn storm python3 messages.py
during $SPAWNED
for n in 1 2 3; do
	[ "$(counters server$n thop_server malformed)" -ge 50 ] || fail "server $n has seen no storm"
done

step "real messages, mutated, from where they came"
cat >mutate.py <<'PY'
import sys
from thop import *

random_ = random.Random(12)
tap = Tap()
open(sys.argv[1], "w").close()
seen = []
# Servers still ask about the forged handoffs of before, which are many.
while len(seen) < 40 or (len(seen) < 2000 and not any(opcode_of(m) == CREATE for _, _, m in seen)):
    item = tap.next(30)
    if item is None:
        break
    if opcode_of(item[2]) not in (PING, LOAD) or random_.randrange(8) == 0:
        seen.append(item)
assert any(opcode_of(data) == CREATE for _, _, data in seen), "no CREATE came by"
for n in range(800):
    source, destination, data = random_.choice(seen)
    changed = bytearray(data)
    # What names the connection stays, so that it is about one that may still be there; the epoch does
    # not, as a stranger cannot know it.
    changed[8:16] = random_.randbytes(8)
    for _ in range(random_.randrange(1, 4)):
        at = random_.randrange(len(changed))
        changed[at] = random_.randrange(256)
    if random_.randrange(4) == 0:
        changed = changed[:random_.randrange(8, len(changed))]
    changed = bytes(changed)
    send(destination, finish(changed) if random_.randrange(8) else changed, source=source)
PY
spawn server1 python3 mutate.py tapping
mutator=$SPAWNED
wait_for 60 test -e tapping
during $mutator

step "TCP packets of strangers to the service, every field at random"
cat >packets.py <<'PY'
import os, random, socket, struct
from raw_tcp import checksum, ip_packets

random_ = random.Random(13)
vip = os.environ["VIP"]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for n in range(1500):
    source = f"10.3.{random_.randrange(4)}.{random_.randrange(4)}"
    options = random_.randbytes(4 * random_.choice((0, 0, 1, 3, 10)))
    offset = random_.choice((5 + len(options) // 4, 5 + len(options) // 4, random_.randrange(16)))
    head = struct.pack("!HHIIBBHHH", random_.randrange(1, 64), random_.choice((80, 80, 80, 81)), random_.getrandbits(32),
                       random_.getrandbits(32), offset << 4, random_.randrange(256), random_.randrange(65536), 0,
                       random_.randrange(65536)) + options
    data = head + random_.randbytes(random_.choice((0, 0, 1, 100)))
    if random_.randrange(8):
        pseudo = socket.inet_aton(source) + socket.inet_aton(vip) + struct.pack("!HH", 6, len(data))
        data = data[:16] + struct.pack("!H", checksum(pseudo + data)) + data[18:]
    if random_.randrange(16) == 0:
        data = data[:random_.randrange(20)]
    for packet in ip_packets(source, vip, 6, data, options=random_.choice((b"", b"", b"\1\1\1\0")),
                             fragment=random_.choice((0, 0, 0, 16, 24))):
        try:
            raw.sendto(packet, (vip, 0))
        except OSError:
            pass
PY
# received: IP packets that the switch's kernel has seen.
received() { on switch awk '$1 == "Ip:" && $4 ~ /^[0-9]+$/ { print $4 }' /proc/net/snmp; }
before=$(received)
spawn storm python3 packets.py
during $SPAWNED
[ "$(($(received) - before))" -ge 1000 ] || fail "only $(($(received) - before)) packets have come"

step "text to every file: random octets on the switch; configurations, mutated, where they may be taken"
cat >files.py <<'PY'
import errno, glob, os, random, sys

random_ = random.Random(14)
mutated = sys.argv[1] == "mutated"
with open("config", "rb") as f:
    good = f.read()
words = good.split() + [b"0", b"4294967296", b"-1", b"tls", b"max", b"backup", b"#", b"\n", b"\0", b"policy", b"clients"]

def text():
    if not mutated:
        # It begins with an octet that begins no statement and no comment.
        return b"\xff" + random_.randbytes(random_.choice((0, 1, 10, 1000, 5000)))
    how = random_.randrange(4)
    if how == 0:
        data = bytearray(good)
        for _ in range(random_.randrange(1, 4)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        return bytes(data)
    if how == 1:
        return good[:random_.randrange(len(good))]
    if how == 2:
        lines = good.splitlines(keepends=True)
        return b"".join(random_.choice(lines) for _ in range(random_.randrange(12)))
    return b" ".join(random_.choice(words) for _ in range(random_.randrange(40)))

results = {}
files = sorted(f for f in glob.glob("/proc/net/thop_*/*"))
assert len(files) >= 8, files
for name in files:
    for n in range(120):
        try:
            with open(name, "r+b", buffering=0) as f:
                if n % 10 == 0:
                    f.seek(random_.choice((0, 1, 4095, 1 << 40)))
                if n % 4 == 0:
                    f.read(random_.choice((1, 100, 1 << 16)))
                f.write(b"x" * ((1 << 20) + 1) if n == 60 else text())
            result = "taken"
        except OSError as error:
            result = errno.errorcode[error.errno]
        results[name, result] = results.get((name, result), 0) + 1
for (name, result), n in sorted(results.items()):
    print(f"  {name} {result} {n}")
    if result == "taken" and not mutated:
        sys.exit(f"{name} takes random octets")
    # A file that cannot be written has no way to be opened so, even for root.
    # Lines of comments are a text of keys, too: of none.
    if result == "taken" and not name.endswith(("/config", "/servers", "/auth")):
        sys.exit(f"{name} can be written")
PY
on switch cat /proc/net/thop_switch/config >config
cp config before
on storm python3 files.py mutated || fail "mutated configurations"
on switch python3 files.py random >said || { cat said; fail "random octets"; }
same "the configuration" "$(on switch cat /proc/net/thop_switch/config)" "$(cat before)"
for ((i = 0; i < 6; i++)); do honest; done

step "afterwards"
wait $download || fail "the download was disturbed: curl says $?"
cmp undisturbed "$WWW/files/1m"
echo "  $honest honest requests, all answered"
# What was made of forged CREATEs is given up 15 s after its lease.
settled() {
	local n
	for n in 1 2 3; do
		! on "server$n" grep -qE 'unconfirmed|adopting' /proc/net/thop_server/connections || return 1
	done
}
wait_for 90 settled || fail "forged handoffs are left"
