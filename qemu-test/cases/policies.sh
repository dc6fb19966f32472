# SPDX-License-Identifier: GPL-2.0
# What each policy promises, seen from outside.
# run: --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

# pool_with "POLICY AND OPTIONS" [WEIGHT]...: servers 1 to 3 in one pool. Without checks (unless CHECKS says how
# often), so that nothing but the requests decides.
pool_with() {
	local policy=$1 n weights=("${@:2}")
	echo "pool web policy $policy check-interval ${CHECKS:-off}"
	for n in 1 2 3; do
		echo "server s$n pool web address $(address server$n):80 weight ${weights[n - 1]:-1}"
	done
	echo "service web address $VIP:80 pool web"
}
# idle: no connection is counted for any server any more.
idle() { awk 'NR > 1 && ($6 != 0 || $12 != 0) { exit 1 }' $TABLE; }
# A process on the switch, through which its files can be reached from anywhere.
spawn switch sleep 1000
export FILES=/proc/$SPAWNED/net/thop_switch
TABLE=$FILES/servers
wait_for 20 grep -q web $TABLE
# begin TEXT POLICY [WEIGHT]...: a step with this policy and idle servers.
begin() {
	step "$1"
	pool_with "${@:2}" | configure
	wait_for 20 idle || { cat $TABLE; fail "connections are left"; }
}
order() { on switch sh -c "echo '$1' >/proc/net/thop_switch/servers"; }

cat >policies.py <<'PY'
from http_client import *


def place(path="/any/", host="test", headers=(), source=""):
    """Which server answers: its number."""
    with Client(source=source) as c:
        c.send(request(path, host=host, headers=["Connection: close", *headers]))
        answer = c.answer()
        c.at_end()
    return int(answer.server[-1])


def hold(path="/any/", **how):
    """The same, and the connection stays."""
    c = Client()
    c.number = int(c.ask(path, **how).server[-1])
    return c


def shares(numbers):
    numbers = list(numbers)
    return [numbers.count(n) for n in (1, 2, 3)]


def configure(policy, weights=(1, 1, 1)):
    """One pool with that policy, and its options."""
    lines = [f"pool web policy {policy} check-interval off"]
    lines += [f"server s{n} pool web address {os.environ[f'SERVER{n}']}:80 weight {w}" for n, w in enumerate(weights, 1)]
    lines += [f"service web address {VIP}:80 pool web"]
    with open(os.environ["FILES"] + "/config", "wb", 0) as f:
        f.write("\n".join(lines + [""]).encode())


def column(n):
    with open(os.environ["FILES"] + "/servers") as f:
        return [int(line.split()[n]) for line in f.readlines()[1:]]


def connections():
    """How many the switch counts for each server."""
    return column(5)


def loads():
    """The same, and what other switches have there, as far as it is known."""
    return column(11)


def settled(*wanted):
    wait_for(30, f"{wanted} connections", lambda: connections() == list(wanted))


def alone(*args, **how):
    """place(), and nothing is left of it."""
    before = connections()
    number = place(*args, **how)
    settled(*before)
    return number
PY

begin "rr: turns" rr
py client <<'PY'
from policies import *

turns = [place() for _ in range(12)]
same("turns", turns[:3] * 4, turns)
same("servers in a turn", sorted(turns[:3]), [1, 2, 3])
PY

begin "wrr: 3:1:1, evenly; and a weight that an operator changes" wrr 3 1 1
py client <<'PY'
from policies import *

turns = [place() for _ in range(50)]
same("shares of 50", shares(turns), [30, 10, 10])
for n in range(len(turns) - 4):
    same(f"shares in the five turns from {n} on", shares(turns[n:n + 5]), [3, 1, 1])
check("1, 1, 1, 1" not in str(turns) and "2, 3" not in str(turns) and "3, 2" not in str(turns), f"not even: {turns}")
PY
order 'web/s2 weight 2'
py client <<'PY'
from policies import *

# The policy learns of it a moment later.
wait_for(30, "shares of 3:2:1", lambda: shares(place() for _ in range(12)) == [6, 4, 2])
PY
order 'web/s2 weight 1'

for policy in lc wlc; do
	begin "$policy: who has connections gets no more of them" $policy 3 1 1
	py client $policy <<'PY'
from policies import *

weighted = sys.argv[1] == "wlc"
held = [hold() for _ in range(15)]
same("connections", shares(c.number for c in held), [9, 3, 3] if weighted else [5, 5, 5])
settled(*shares(c.number for c in held))
# Only the first server keeps its connections.
for c in held:
    if c.number != 1:
        c.close()
settled(9 if weighted else 5, 0, 0)
same("servers that are asked", shares(alone() for _ in range(4))[0], 0)
more = [hold() for _ in range(6)]
same("more connections", shares(c.number for c in more), [0, 3, 3])
for c in held + more:
    c.close()
settled(0, 0, 0)
# When none has any: one turn each, or the heaviest.
same("single requests", shares(alone() for _ in range(6)), [6, 0, 0] if weighted else [2, 2, 2])
PY
done

CHECKS=50ms begin "lc: another switch's connections count" lc
# Server 3 is a switch, too, for server 1.
other=10.0.0.101
ip -n server3 address add $other/32 dev lo
configure server3 <<-END
	pool p
	server s1 pool p address $SERVER1:80
	service s address $other:8000 pool p
END
cat >elsewhere.py <<'PY'
from policies import *

held = [Client((sys.argv[1], 8000)) for _ in range(8)]
same("server behind the other switch", {c.ask("/any/").server for c in held}, {"server1"})
wait_for(30, "a report of 8 connections", lambda: loads() == [8, 0, 0])
same("connections of this switch", connections(), [0, 0, 0])
mine = [hold() for _ in range(8)]
same("servers that are asked", shares(c.number for c in mine), [0, 4, 4])
for c in mine:
    c.close()
settled(0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
for c in held:
    c.close()
PY
mkfifo end
on client python3 elsewhere.py $other <end >elsewhere &
elsewhere=$!
exec 9>end
ready() { grep -q ready elsewhere || ! kill -0 $elsewhere; }
wait_for 60 ready
# Without checks nobody would say when they are over, so they do not count.
pool_with lc | configure
py client <<'PY'
from policies import *

wait_for(30, "a load without reports", lambda: loads() == [0, 0, 0])
same("servers that are asked then", shares(alone() for _ in range(6)), [2, 2, 2])
PY
exec 9>&-
wait $elsewhere || fail "the other switch's connections"
echo | configure server3
ip -n server3 address del $other/32 dev lo

begin "lard: a path stays where it is, and paths are spread" lard
py client <<'PY'
from policies import *

first = [place(f"/any/{n}") for n in range(30)]
check(min(shares(first)) >= 5, f"paths of each server: {shares(first)}")
for _ in range(2):
    same("the same paths again", [place(f"/any/{n}") for n in range(30)], first)
same("with other queries", [place(f"/any/{n}?{n * 7}") for n in range(30)], first)
# In another order, so that turns do not lead to the same servers.
other = [place(f"/any/{n}", host="other") for n in reversed(range(30))]
check(other[::-1] != first, "the host does not matter")
PY

begin "lard: a path leaves a server that is overloaded" "lard low 1 high 2"
py client <<'PY'
from policies import *

home = alone("/any/hot")
held = [hold("/any/hot") for _ in range(3)]
same("servers of the first", {c.number for c in held}, {home})
# Three are more than `high`, and others have less than `low`.
fourth = hold("/any/hot")
check(fourth.number != home, "it has not moved")
held.append(fourth)
same("from then on", [alone("/any/hot") for _ in range(4)], [fourth.number] * 4)
for c in held:
    c.close()
settled(0, 0, 0)
same("later", [alone("/any/hot") for _ in range(4)], [fourth.number] * 4)
PY

begin "lard/r: another server joins, and leaves after a while" "lard/r low 1 high 2 decay 5m"
py client <<'PY'
from policies import *

home = alone("/any/hot")
held = [hold("/any/hot") for _ in range(3)]
same("servers of the first", {c.number for c in held}, {home})
fourth = hold("/any/hot")
check(fourth.number != home, "nobody has joined")
# The less loaded of the two, which two do not overload.
more = [hold("/any/hot") for _ in range(2)]
same("the next two", [c.number for c in more], [fourth.number] * 2)
for c in held:
    c.close()
settled(*[3 if n == fourth.number else 0 for n in (1, 2, 3)])
same("the first is still one of them", alone("/any/hot"), home)
for c in (fourth, *more):
    c.close()
settled(0, 0, 0)
# As many as there are get one each.
both = [hold("/any/hot") for _ in range(2)]
same("two have it", {c.number for c in both}, {home, fourth.number})
for c in both:
    c.close()
settled(0, 0, 0)
PY
# The same policy goes on.
pool_with "lard/r low 1 high 2 decay 100ms" | configure
py client <<'PY'
from policies import *

time.sleep(0.2)
# After this one of them leaves.
alone("/any/hot")
both = [hold("/any/hot") for _ in range(2)]
same("servers that have it after the decay", len({c.number for c in both}), 1)
for c in both:
    c.close()
PY

step "cap: turns within each class"
{
	pool_with cap
	for class in disk cpu; do echo "route service web path /any/$class class $class pool web"; done
} | configure
py client <<'PY'
from policies import *

turns = {kind: [] for kind in ("disk", "cpu", "")}
# However they come, each kind takes turns of its own.
for n in range(12):
    for kind, count in (("disk", n % 3), ("cpu", 1), ("", n % 2)):
        turns[kind] += [place(f"/any/{kind}") for _ in range(count)]
for kind, numbers in turns.items():
    check(len(numbers) >= 6, "too few")
    same(f"turns of class {kind!r}", numbers, (numbers[:3] * 9)[:len(numbers)])
    same(f"servers of class {kind!r}", sorted(numbers[:3]), [1, 2, 3])
PY

step "maglev: what is hashed"
for a in 10.0.0.{120..149}; do echo "address add $a/24 dev eth0"; done | ip -n client -batch -
py client <<'PY'
from policies import *

KEYS = 24


def ask(key, n, noise=0):
    """A request with that key, and otherwise different every time."""
    def part(kind):
        return n if kind == key else noise
    return place(
        f"/any/{n if key in ('path', 'uri') else noise}?{part('uri')}",
        host=f"h{part('host')}.example",
        headers=[f"X-Key: {part('header:X-Key')}", f"Cookie: a=b; ID={part('cookie:ID')}"],
        source=f"10.0.0.{120 + part('client')}")


for key in "client", "host", "path", "uri", "header:X-Key", "cookie:ID":
    configure(f"maglev key {key}")
    first = [ask(key, n) for n in range(KEYS)]
    check(min(shares(first)) >= 2, f"keys of each server with {key}: {shares(first)}")
    same(f"the same keys again with {key}", [ask(key, n, n % 7 + 1) for n in range(KEYS)], first)
    if ":" in key:
        # Without it: the client's.
        same(f"servers of requests without {key}", len({place(f"/any/{n}") for n in range(6)}), 1)
PY

begin "maglev: only the keys of a server that is drained move, and they come back" "maglev key path"
cat >moves.py <<'PY'
from policies import *

KEYS = 60


def places():
    return [place(f"/any/{n}") for n in range(KEYS)]


def load():
    with open("places") as f:
        return [int(word) for word in f.read().split()]
PY
py client <<'PY'
from moves import *

with open("places", "w") as f:
    print(*places(), file=f)
PY
order 'web/s2 drain'
py client <<'PY'
from moves import *

before, now = load(), places()
check(before.count(2) >= 10, f"server2 had {before.count(2)} keys")
same("requests to a server that is drained", now.count(2), 0)
moved = sum(a != b for a, b in zip(before, now) if a != 2)
print(f"  of {KEYS - before.count(2)} keys of the other servers, {moved} have moved")
# Of the table's 65,537 places some move besides: in the paper about one in a hundred.
check(moved <= 4, "too many")
PY
order 'web/s2 ready'
py client <<'PY'
from moves import *

wait_for(30, "the old places", lambda: places() == load())
PY

begin "sticky: the cookie names the server" "sticky cookie APP fallback rr"
py client <<'PY'
from policies import *

for n in (1, 2, 3, 3, 2, 1):
    same("server", place(headers=[f"Cookie: x=y; APP=s{n}"]), n)
for cookies in [], ["Cookie: APP=s9"], ["Cookie: APP="], ["Cookie: app=s1"], ["Cookie: APP=S1"], ["Cookie: SERVER=s1"]:
    same(f"others take turns: {cookies}", sorted(place(headers=cookies) for _ in range(3)), [1, 2, 3])
PY
order 'web/s2 drain'
py client <<'PY'
from policies import *

same("named while it drains", [place(headers=["Cookie: APP=s2"]) for _ in range(3)], [2, 2, 2])
same("not named", 2 in [place() for _ in range(6)], False)
PY
order 'web/s2 maint'
py client <<'PY'
from policies import *

same("named while in maintenance", 2 in [place(headers=["Cookie: APP=s2"]) for _ in range(6)], False)
PY
order 'web/s2 ready'
# DOWN, as its checks find.
CHECKS=100ms pool_with "sticky cookie APP fallback rr" | configure
stop_nginx 3
down() { awk '$2 == "s3" { exit $5 != "DOWN" }' $TABLE; }
wait_for 30 down || fail "server3 is not DOWN"
py client <<'PY'
from policies import *

same("named while DOWN", sorted(place(headers=["Cookie: APP=s3"]) for _ in range(4)), [1, 1, 2, 2])
same("named, the other", place(headers=["Cookie: APP=s2"]), 2)
PY
start_nginx 3
up() { ! down; }
wait_for 30 up || fail "server3 stays DOWN"
py client <<'PY'
from policies import *

same("named when it is back", [place(headers=["Cookie: APP=s3"]) for _ in range(2)], [3, 3])
PY

begin "wrr: slow start ends with the checks" wrr 1 1 2
py client <<'PY'
from policies import *

wait_for(30, "whole shares", lambda: shares(place() for _ in range(12)) == [3, 3, 6])
PY

step "weight 0: nothing, with any policy; all 0: 503"
py client <<'PY'
from policies import *

for policy in "rr", "wrr", "lc", "wlc", "lard", "lard/r", "cap", "maglev key path", "sticky":
    configure(policy, (2, 0, 1))
    same(f"requests to a server of weight 0 with {policy}", shares(place(f"/any/{n}") for n in range(9))[1], 0)
    configure(policy, (0, 0, 0))
    with Client() as c:
        c.send(request())
        same(f"all servers of weight 0, with {policy}", c.answer(status=None).status, 503)
PY
pool_with sticky 0 0 0 | configure
same "one of them, named by a cookie" "$(fetch /1k -b SERVER=s2)" "200 server2"

step "the policy is changed again and again under load"
py client <<'PY'
import threading
from policies import *

POLICIES = ("wrr", "lc", "maglev key path", "wlc", "lard", "sticky fallback lc", "lard/r", "cap", "rr",
            "lard low 1 high 2", "maglev key cookie:SERVER")
over = threading.Event()
problems, counts = [], []


def work():
    count = 0
    while not over.is_set() and not problems:
        try:
            with Client() as c:
                c.send(request("/1k", headers=["Connection: close"]))
                if c.answer(status=None).body != file("1k"):
                    raise ValueError("not the file")
            with Client() as c:
                for n in range(3):
                    c.send(request(f"/any/{count}", headers=[f"Cookie: SERVER=s{n}"]))
                    if c.answer(status=None).status != 200:
                        raise ValueError("no answer")
            count += 1
        # fail() in a thread ends the thread only.
        except (Exception, SystemExit) as e:
            problems.append(repr(e))
    counts.append(count)


configure("rr")
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for n in range(2 * len(POLICIES)):
    configure(POLICIES[n % len(POLICIES)], (n % 3, 1, 2))
    time.sleep(0.1)
over.set()
for t in threads:
    t.join()
same("problems", problems, [])
print(f"  {sum(counts)} times two connections")
check(sum(counts) > 20, "there was no load")
PY
same "answered_503" "$(stat_switch answered_503)" 9
for counter in moved unanswered answered_504 table_full; do
	same "$counter" "$(stat_switch $counter)" 0
done
wait_for 20 idle || { cat $TABLE; fail "connections are left"; }
