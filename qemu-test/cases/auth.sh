# SPDX-License-Identifier: GPL-2.0
# Who may speak THOP: keys, and no message twice. Whatever is not believed is dropped, counted under
# its reason, and makes no socket.
# run: --timeout 600
set -euo pipefail
. "$TOOLS/helpers.sh"

KEY=$(key)
export KEY

# counted MODULE NODE NAME: a counter's value.
counted() { on "$2" cat "/proc/net/$1/stats" | stat_of "$1/stats" "$3"; }
works() { same "requests $1" "$(fetch /1k; fetch /1k; fetch /1k)" "200 200 200 "; }
fetch() { on client curl -sS -m 20 -o /dev/null -w '%{http_code} ' "http://$VIP$1"; }

step "the file of keys: for root, and not to be read back"
for file in thop_switch thop_server; do
	same "its mode" "$(on switch stat -c '%a %U' "/proc/net/$file/auth")" "600 root"
	same "what it shows" "$(on switch cat "/proc/net/$file/auth")" "key 1 (secret)
send 1"
	! on switch setpriv --reuid 65534 --clear-groups cat "/proc/net/$file/auth" 2>/dev/null || fail "anybody reads it"
	! on switch setpriv --reuid 65534 --clear-groups sh -c "echo >/proc/net/$file/auth" 2>/dev/null || fail "anybody writes it"
done
secret=${KEY##* }
for node in switch server1; do
	! on "$node" grep -rqs "$secret" /proc/net/thop_switch /proc/net/thop_server /sys/module/thop_switch/parameters || fail "the secret is shown"
done

step "a text that is not understood changes nothing, and is not repeated"
! printf '%s\nkey 2 %s0\n' "$KEY" "$secret" | authorise switch thop_switch 2>/dev/null || fail "half an octet is taken"
same "why" "$(on switch head -n 1 /proc/net/thop_switch/auth)" "# the last text was rejected: line 2: a key has 32 to 128 hexadecimal digits"
works "with the keys as before"
key | authorise switch thop_switch
same "afterwards" "$(on switch head -n 1 /proc/net/thop_switch/auth)" "key 1 (secret)"

step "messages to a server that nobody with the key has made, or not now, or not for it"
cat >attack.py <<'PY'
from thop import *
from http_client import *

here, there, other, switch = (os.environ[name] for name in ("CLIENT", "SERVER1", "SERVER2", "SWITCH"))
key = key_of(os.environ["KEY"])
tap = Tap()


clock = None


def create(ident, port):
    get = request("/1k")
    # For as long as a slow kernel takes to look at all that is sent until it is meant.
    lease = dict(lease=30_000, deadline=clock.ends(29_000)) if clock else dict(lease=0)
    return message(CREATE, (77, ident), (here, port), (VIP, 80), (there, 80), create=state(get, **lease))


class Expect:
    """That of all reasons only these are counted, so often; and what comes into being."""

    def __init__(self, what, adopted=0, node="server1", **reasons):
        self.what, self.adopted, self.node, self.reasons = what, adopted, node, reasons

    def __enter__(self):
        self.before = counters(self.node, "thop_server")

    def __exit__(self, kind, *_):
        if kind:
            return
        end = time.monotonic() + 20
        while True:
            now = counters(self.node, "thop_server")
            grown = {name: now[name] - self.before[name] for name in now
                     if name.startswith(("denied_", "malformed_", "foreign_")) and now[name] != self.before[name]}
            if grown == self.reasons and now["adopted"] - self.before["adopted"] == self.adopted:
                print(f"    {self.what}: {grown or 'believed'}, adopted {self.adopted}")
                return
            if time.monotonic() > end:
                raise SystemExit(f"FAIL: {self.what}: {grown}, adopted {now['adopted'] - self.before['adopted']}; "
                                 f"expected {self.reasons}, adopted {self.adopted}")
            time.sleep(0.1)


peer = Peer(key, here, there)
with Expect("an epoch that is not known", denied_epoch=1):
    peer.greet(tap, create(1, 20001))
with Expect("one who asks for the time"):
    clock = Clock.asked(tap, (there, 80), lambda: peer.say(create(1, 20001)))
# All else is worth nothing if this is not believed.
with Expect("a switch", adopted=1):
    good = peer.say(create(2, 20002))
with Expect("no seal", denied_unsealed=1):
    send(there, create(3, 20003))
with Expect("a code that is made up", denied_mac=1):
    peer.say(create(4, 20004), mac=random.randbytes(16))
with Expect("another key", denied_mac=1):
    Peer((key[0], bytes(32)), here, there).say(create(5, 20005))
with Expect("a key that is not known", denied_unknown_key=1):
    Peer((key[0] + 1, key[1]), here, there).say(create(6, 20006))
with Expect("a repetition, once and again", denied_replayed=3):
    for _ in range(3):
        send(there, good)
with Expect("a repetition from another address", denied_mac=1):
    send(there, good, source=switch)
with Expect("what was for another server", node="server2", denied_mac=1):
    send(other, good)

# Too short for a seal, too short for what the seal says, and with the length made right.
with Expect("cut short", malformed_checksum=2, malformed_message_too_short=6 + 40,
            malformed_wrong_length=len(good) - 8, denied_mac=len(good) - 48):
    for length in range(len(good)):
        send(there, good[:length])
    for length in range(8, len(good)):
        cut = good[:6] + struct.pack("!H", length) + good[8:length]
        send(there, repair(cut[:48]) + cut[48:] if length >= 48 else repair(cut))

# Every bit of the message: with the seal's checksum made right again, where there is one.
fresh = peer.sealed(create(7, 20007))
# One of these bits makes CREATE a message for a switch, which may live there, too: its module sees messages first, and denies that one.
with Expect("one bit flipped behind the seal", denied_mac=8 * (len(fresh) - 48) - 1):
    for bit in range(8 * 48, 8 * len(fresh)):
        send(there, fresh[:bit // 8] + bytes([fresh[bit // 8] ^ 1 << bit % 8]) + fresh[bit // 8 + 1:])
fields = [bit for bit in range(8 * 8, 8 * 48)]
with Expect("one bit flipped in the seal, its checksum right", denied_mac=len(fields)):
    for bit in fields:
        flipped = fresh[:bit // 8] + bytes([fresh[bit // 8] ^ 1 << bit % 8]) + fresh[bit // 8 + 1:]
        send(there, repair(flipped[:48]) + flipped[48:])
with Expect("one bit flipped in the seal, its checksum wrong", malformed_checksum=len(fields)):
    for bit in fields:
        send(there, fresh[:bit // 8] + bytes([fresh[bit // 8] ^ 1 << bit % 8]) + fresh[bit // 8 + 1:])
with Expect("the same unharmed, after all that", adopted=1):
    send(there, fresh)

late = [peer.sealed(create(100 + n, 20100 + n)) for n in range(8)]
with Expect("out of order", adopted=7):
    for n in (3, 0, 7, 5, 1, 2, 6):
        send(there, late[n])
with Expect("far out of order", adopted=1, denied_late=1):
    peer.sequence += 5000
    peer.say(create(200, 20200))
    send(there, late[4])

# Reflected: what the server itself has said, to itself and to the switch it did not say it to.
said = peer.say(ping((there, 80)))
while item := tap.next():
    source, destination, data = item
    if (source, destination) == (there, here) and data[48:50] == b"\0\x0a":
        break
# A switch's, as well.
with Expect("its own words"):
    send(there, data)
    send(there, data, source=switch)

open("recorded", "wb").write(b"".join(struct.pack("!H", len(m)) + m for m in [good, fresh, said, *late]))
PY
py client <attack.py

step "messages to the switch that none of its servers has made"
py client <<'PY'
from thop import *
from http_client import *

here, switch = os.environ["CLIENT"], os.environ["SWITCH"]
key = key_of(os.environ["KEY"])


def counter(name):
    return counters("switch", "thop_switch")[name]


def expect(what, name, data, **how):
    before = counter(name)
    send(switch, data, **how)
    end = time.monotonic() + 20
    while counter(name) != before + 1:
        if time.monotonic() > end:
            raise SystemExit(f"FAIL: {what}: {name} went from {before} to {counter(name)}")
        time.sleep(0.1)
    print(f"    {what}: {name}")


lie = message(CREATED, (1, 1), (here, 1), (VIP, 80), (os.environ["SERVER1"], 80))
peer = Peer(key, here, switch)
expect("unsealed", "denied_unsealed", lie)
expect("a server's epoch it does not know", "denied_epoch", peer.sealed(lie))
expect("made up", "denied_mac", peer.sealed(lie, mac=bytes(range(16))))
peer.greet(Tap(), lie)
# One who has the key, but is not that server.
expect("from the wrong address", "foreign_messages", peer.sealed(lie))
PY
works "after all that"

step "a real handoff, recorded, and sent again: to whom it was for, and back to whom it came from"
py switch <<'PY'
import subprocess
import sys
from thop import *

switch, there = os.environ["SWITCH"], os.environ["SERVER1"]
node = {switch: "switch", there: "server1"}
tap, heard = Tap(), []
client = subprocess.Popen(["ip", "netns", "exec", "client", "sh", "-c",
                           'for n in 1 2 3; do curl -sS -m 20 -o /dev/null -d data "$0/post"; done', "http://" + os.environ["VIP"]])
kinds, wanted = set(), {CREATE, CREATED, NOTIFYCLS, CLOSEACK, PING, LOAD}
end = time.monotonic() + 60 * int(os.environ["SLOW"])
while not wanted <= kinds:
    assert time.monotonic() < end, [NAMES[kind] for kind in kinds]
    # One at a time: PINGs never cease, and of these a few are enough.
    item = tap.next(0.5)
    if item and {item[0], item[1]} == {switch, there} and len(item[2]) > 48:
        new = {opcode_of(one) for one in messages_of(item[2][48:])}
        if len(heard) < 100 or not new <= kinds:
            kinds |= new
            heard.append(item)
assert client.wait() == 0


# The one sees first what is for the other.
BOTH = "thop_switch", "thop_server"


def expect(what, node, count, *names):
    end = time.monotonic() + 20
    while True:
        now = counters(node, *BOTH)
        grown = {name: now[name] - before[node][name] for name in names}
        if sum(grown.values()) >= count:
            break
        assert time.monotonic() < end, f"{what}: {count} messages to {node}, {grown}"
        time.sleep(0.1)
    for name in ("creates", "creates_again", "created", "adopted", "forgotten", "close_acks"):
        assert now[name] == before[node][name], f"{what}: {name} at {node} has grown"
    print(f"    {what} {node}: {count} messages, {grown}")


SEND = """
import sys
from thop import *
for source, to, data in map(str.split, sys.stdin):
    send(to, bytes.fromhex(data), source=source)
"""
for what, names in (("replayed to", ["denied_replayed"]), ("reflected to", ["denied_mac"])):
    before = {name: counters(name, *BOTH) for name in node.values()}
    back = what == "reflected to"
    again = [(to, source, data.hex()) if back else (source, to, data.hex()) for source, to, data in heard]
    sent = collections.Counter(node[to] for _, to, _ in again)
    # From a third node: these two would take a packet of their own address for a forgery.
    subprocess.run(["ip", "netns", "exec", "client", sys.executable, "-c", SEND], check=True, text=True,
                   input="".join(" ".join(line) + "\n" for line in again))
    for name, count in sent.items():
        expect(what, name, count, *names)
PY
works "after all that"

step "what was recorded is worth nothing to a module that has begun anew"
unload_module thop_server
load_server
wait_state web/s1 "UP*"
py client <<'PY'
from thop import *

there, data, count = os.environ["SERVER1"], open("recorded", "rb").read(), 0


before = counters("server1", "thop_server")
while data:
    (length,) = struct.unpack("!H", data[:2])
    send(there, data[2:2 + length])
    data, count = data[2 + length:], count + 1
end = time.monotonic() + 20
while (now := counters("server1", "thop_server"))["denied_epoch"] - before["denied_epoch"] < count:
    assert time.monotonic() < end, f"{now['denied_epoch'] - before['denied_epoch']} of {count}"
    time.sleep(0.1)
assert now["adopted"] == before["adopted"], "a recorded message has made a socket"
print(f"    {count} of {count} are of an old epoch")
PY
works "with the module that has begun anew"

step "keys are exchanged under load, and nothing is lost"
new=$(random_key 2)
exchange() {
	local node
	for node in switch server1 server2 server3; do
		printf '%s\n' "$@" | authorise "$node" "thop_$([ "$node" = switch ] && echo switch || echo server)"
		sleep 0.3
	done
}
# How many messages no node has believed.
denied() {
	local node
	for node in switch server1 server2 server3; do
		on $node sh -c "awk '/^denied_/ { n += \$2 } END { print n }' /proc/net/thop_*/stats"
	done
}
before=$(denied)
spawn client ab -q -r -n 100000 -t $((40 * SLOW)) -c 4 "http://$VIP/1k" >ab.out 2>&1
ab=$SPAWNED
sleep 1
exchange "$KEY" "$new"
exchange "$KEY" "$new" "send 2"
exchange "$new"
sleep 1
kill -INT $ab
wait $ab || true
grep -q '^Failed requests: *0$' ab.out || { cat ab.out; fail "requests were lost"; }
echo "    $(awk '/^Complete requests/ { print $3 }' ab.out) requests, none failed"
same "the key that is left" "$(on server2 cat /proc/net/thop_server/auth)" "key 2 (secret)
send 2"
same "messages denied meanwhile" "$(denied)" "$before"

step "networks that may speak"
printf '%s\nfrom 192.0.2.0/24\n' "$new" | authorise server1 thop_server
wait_state web/s1 "DOWN*"
[ "$(counted thop_server server1 denied_network)" -gt 0 ] || fail "nothing was denied for its network"
works "without that server"
printf '%s\nfrom 192.0.2.0/24\nfrom %s\n' "$new" "$SWITCH" | authorise server1 thop_server
wait_state web/s1 "UP*"
same "what it shows" "$(on server1 cat /proc/net/thop_server/auth)" "key 2 (secret)
send 2
from 192.0.2.0/24
from $SWITCH"

step "more peers than are remembered: each is told the new epoch, and memory stays bounded"
unload_modules
load_modules "" "peers=4"
default_configuration | configure
wait_state web/s1 "UP*"
py client <<'PY'
from thop import *

here, there = os.environ["CLIENT"], os.environ["SERVER1"]
tap, told = Tap(), 0
for n in range(12):
    peer = Peer(key_of(os.environ["KEY"]), here, there)
    for _ in range(3):
        peer.greet(tap, ping((there, 80)))
        peer.say(ping((there, 80), sequence=n))
        while item := tap.next(2):
            source, destination, data = item
            if (source, destination) == (there, here) and data[48:50] == b"\0\x0a":
                told += 1
                break
        else:
            continue
        break
assert told == 12, f"{told} of 12 peers were answered"
PY
works "with peers that come and go"

step "without a key nothing is done, and it is said why"
unload_modules
insmod "$MODULES/thop-switch.ko"
insmod "$MODULES/thop-server.ko"
! default_configuration | configure 2>why || fail "a switch without a key is configured"
grep -q 'no key: write one to /proc/net/thop_switch/auth' why || { cat why; fail "it does not say why"; }
same "what the file shows" "$(on switch cat /proc/net/thop_switch/auth)" "# no key: nobody may speak"
py client <<'PY'
from thop import *

there = os.environ["SERVER1"]
send(there, ping((there, 80)))
Peer((1, bytes(32)), os.environ["CLIENT"], there).say(ping((there, 80)))
PY
refused() { [ "$(counted thop_server server1 denied_no_key)" -ge 2 ]; }
wait_for 20 refused || fail "denied_no_key $(counted thop_server server1 denied_no_key)"
for node in switch server1 server2 server3; do
	for file in thop_switch thop_server; do key | authorise $node $file; done
done
default_configuration | configure
wait_state web/s1 "UP*"
works "when they have keys"
