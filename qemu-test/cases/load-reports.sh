# SPDX-License-Identifier: GPL-2.0
# What a server answers to PING: LOAD, with figures that are true.
# run: --servers 2 --switch-args insecure=1 --server-args insecure=1 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

# total NODE MODULE PATTERN: the sum of all counters whose name matches.
total() { on "$1" awk -v p="$3" '$1 ~ p { sum += $2 } END { print sum + 0 }' "/proc/net/$2/stats"; }

# report [PORT]: what server 1 says of its listener there, `name value` a line.
cat >report.py <<'PY'
import sys
from thop import *

load = ask(Tap(), (os.environ["SERVER1"], int(sys.argv[1])))
if load is None:
    sys.exit("no LOAD")
for item in load._asdict().items():
    print(*item)
PY
report() { on switch python3 report.py "${1:-80}"; }

# reports PORT NAME VALUE: whether it says that now.
reports() { [ "$(report "$1" | stat_of LOAD "$2")" = "$3" ]; }

# queues PORT: connections in the accept queues there and room in them, as the kernel tells.
queues() { on server1 ss -Htln "sport = :$1" | awk '{ queue += $2; limit += $3 } END { print queue + 0, limit + 0 }'; }

# nginx_signal SIGNAL: to all of server 1's processes.
nginx_signal() {
	local pid
	pid=$(cat "$WWW/server1/nginx.pid")
	# shellcheck disable=SC2046
	kill "-$1" "$pid" $(pgrep -P "$pid")
}

# holding COUNT: opens COUNT connections with a request on each, and keeps them until `release`.
holding() {
	rm -f go held
	spawn client python3 - "$1" <<-'PY'
		from http_client import *

		clients = [Client() for _ in range(int(sys.argv[1]))]
		for c in clients:
		    c.send(request("/1k"))
		open("held", "w").close()
		wait_for(100, "the word to go on", lambda: os.path.exists("go"))
	PY
	HOLDER=$SPAWNED
	wait_for 20 test -e held
}
release() {
	touch go
	wait "$HOLDER"
}

step "the question comes back, from the address that was asked, and the boot epoch stays"
on server1 ip address add 10.0.0.33/24 dev eth0
# From here on nobody asks but we.
pool_of 1 | unchecked | configure
sleep 0.5
pings1=$(stat_server 1 pings) pings2=$(stat_server 2 pings)
boot=$(stat_server 1 boot)
[ "$boot" != 0 ] || fail "the boot epoch is 0"
py switch "$boot" <<'PY'
from thop import *
from http_client import *

tap, boot = Tap(), int(sys.argv[1])
last = (1 << 64) - 1
for server in (os.environ["SERVER1"], 80), ("10.0.0.33", 80), (os.environ["SERVER1"], 65535):
    for epoch, sequence in (0, 0), (1, 2), (last, last), (0x0123456789ABCDEF, 0xFEDCBA9876543210):
        # ask() looks for both in the answer.
        load = ask(tap, server, epoch=epoch, sequence=sequence)
        check(load is not None, f"no answer to {epoch}, {sequence}")
        same("the server", load.server, server)
        same("boot", load.boot, boot)
        same("listening", load.listening, int(server[1] == 80))
        same("figures of an idle server", (load.drops, load.connections, load.queue), (0, 0, 0))
        check(load.cpu <= 1000, f"cpu is {load.cpu}")
load = ask(tap, (os.environ["SERVER2"], 80))
check(load.boot != boot, "two servers have the same boot epoch")
PY
same "pings" "$(($(stat_server 1 pings) - pings1))" 12
same "server 2's pings" "$(($(stat_server 2 pings) - pings2))" 1

step "connections: those that live, at each listener"
stop_nginx 1
start_nginx 1 80 8080
{
	echo "pool web"
	echo "server a pool web address $SERVER1:80"
	echo "server b pool web address $SERVER1:8080"
	echo "service web address $VIP:80 pool web"
} | unchecked | configure
py client <<'PY' &
from http_client import *

clients = [Client() for _ in range(7)]
for c in clients:
    c.ask("/1k")
open("seven", "w").close()
wait_for(60, "the word to go on", lambda: os.path.exists("three"))
for c in clients[3:]:
    c.close()
wait_for(60, "the word to go on", lambda: os.path.exists("none"))
PY
seven=$!
wait_for 20 test -e seven
same "alive" "$(stat_server 1 alive)" 7
same "both listeners" "$(for p in 80 8080; do report $p | stat_of LOAD connections; done | sort | paste -sd ' ')" "3 4"
same "a port where nobody listens" "$(report 81 | stat_of LOAD connections)" 0
touch three
three_left() { [ "$(stat_server 1 alive)" = 3 ]; }
wait_for 20 three_left || fail "alive is $(stat_server 1 alive)"
same "both listeners" "$(for p in 80 8080; do report $p | stat_of LOAD connections; done | paste -sd+ | bc)" 3
touch none
wait $seven
wait_for 20 reports 80 connections 0 || fail "connections are left at port 80"
wait_for 20 reports 8080 connections 0 || fail "connections are left at port 8080"
same "alive" "$(stat_server 1 alive)" 0

step "the accept queue of a server that does not accept, until it is full"
stop_nginx 1
start_nginx 1 "80 backlog=7"
pool_of 1 | unchecked | configure
reports 80 queue_limit 7 || fail "another limit than the listener's"
nginx_signal STOP
holding 5
wait_for 20 reports 80 queue 5 || fail "queue: $(report)"
same "queue and limit" "$(queues 80)" "5 7"
same "connections" "$(report | stat_of LOAD connections)" 5
same "drops" "$(report | stat_of LOAD drops)" 0
first=$HOLDER
spawn client python3 - <<'PY'
import select
from http_client import *

clients = [Client() for _ in range(9)]
for c in clients:
    c.send(request("/1k"))
# Linux lets one more in than the limit says: three of these.
refused = []
while len(refused) < 6:
    wait_for(20, "refusals", lambda: select.select([c.socket for c in clients], [], [], 0)[0])
    for c in clients[:]:
        if select.select([c.socket], [], [], 0)[0]:
            same("the answer of a server whose queue is full", c.answer(status=None).status, 503)
            clients.remove(c)
            refused.append(c)
open("refused", "w").close()
wait_for(60, "the word to go on", lambda: os.path.exists("go"))
PY
second=$SPAWNED
wait_for 40 test -e refused
report >full
same "queue" "$(stat_of LOAD queue <full)" 8
same "connections" "$(stat_of LOAD connections <full)" 8
same "drops" "$(stat_of LOAD drops <full)" 6
same "drops by reason" "$(total server1 thop_server ^refused)" 6
nginx_signal CONT
HOLDER=$first
release
wait "$second"
wait_for 20 reports 80 queue 0 || fail "queue: $(report)"

step "a group of listeners (SO_REUSEPORT): the sum"
stop_nginx 1
NGINX_WORKERS=3 start_nginx 1 "80 reuseport backlog=50"
wait_for 10 reports 80 queue_limit 150 || fail "limit: $(report)"
nginx_signal STOP
holding 9
wait_for 20 reports 80 queue 9 || fail "queue: $(report)"
same "queue and limit" "$(queues 80)" "9 150"
nginx_signal CONT
release
wait_for 20 reports 80 queue 0 || fail "queue: $(report)"

step "who cannot be handed anything does not listen"
stop_nginx 1
reports 80 listening 0 || fail "nobody listens, but: $(report)"
on server1 sysctl -qw net.mptcp.enabled=1
spawn server1 python3 - <<'PY'
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 80))
s.listen(10)
time.sleep(1000)
PY
mptcp=$SPAWNED
wait_for 20 eval 'on server1 ss -Htln "sport = :80" | grep -q .'
reports 80 listening 0 || fail "Multipath TCP listens, but: $(report)"
kill $mptcp
wait $mptcp || true
start_nginx 1
reports 80 listening 1 || fail "nginx listens again, but: $(report)"
on server1 sysctl -qw net.ipv4.tcp_syncookies=0
reports 80 listening 0 || fail "no SYN cookies, but: $(report)"
on server1 sysctl -qw net.ipv4.tcp_syncookies=1
reports 80 listening 1 || fail "SYN cookies again, but: $(report)"

step "busy processors, and idle ones"
# One program, as starting one is work.
py switch "$(nproc)" <<'PY'
import subprocess
from thop import *
from http_client import *

tap, server = Tap(), (os.environ["SERVER1"], 80)


def busy():
    """The kernel's own account, thousandths of all processors' time, since the last call."""
    global before
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, f.readline().split()[1:])
    now = time.monotonic(), (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") / int(sys.argv[1])
    (then, was), before = before, now
    return 1000 * (now[1] - was) / (now[0] - then)


before = 0, 0


def settles(what, low, high):
    """What the server says, once it agrees with that account over the same time, and is in these bounds."""
    ask(tap, server), busy()
    seen = []
    for _ in range(40):
        time.sleep(0.5)
        seen.append((ask(tap, server).cpu, round(busy())))
        # The first are about the change, too.
        cpu, account = seen[-1]
        # A kernel so slow that it is given less than it wants of the host is busy by its account alone.
        right = low <= cpu <= high or int(os.environ["SLOW"]) > 1
        if len(seen) > 2 and abs(cpu - account) <= 100 and right:
            print(f"  {what}: cpu, and as the kernel has it:", *seen)
            return cpu
    fail(f"{what}: cpu, and as the kernel has it: {seen}")


loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(int(sys.argv[1]))]
every = settles("all processors are busy", 800, 1000)
loops.pop().kill()
fewer = settles("all but one are busy", 200, 799)
for loop in loops:
    loop.kill()
none = settles("nothing runs", 0, 199)
check(every > fewer > none, f"cpu: {every}, {fewer}, {none}")
# A second question within a quarter of a second gets the same answer: nothing is counted anew.
for _ in range(20):
    began = time.monotonic()
    first, second = ask(tap, server), ask(tap, server)
    if time.monotonic() - began < 0.2:
        same("cpu of two questions at a time", second.cpu, first.cpu)
        break
PY
[ "$(stat_server 1 cpu)" -le 1000 ] || fail "cpu is $(stat_server 1 cpu)"

step "not for this address, not a question, and not well-formed"
foreign=$(stat_server 1 foreign_messages)
pings=$(stat_server 1 pings)
# Here both modules are in every namespace; one of them looks at a message first.
malformed() { echo $(($(total server1 thop_switch ^malformed) + $(total server1 thop_server ^malformed))); }
before=$(malformed)
py switch >sent <<'PY'
from thop import *
from http_client import *

tap = Tap()
me, other = (os.environ["SERVER1"], 80), (os.environ["SERVER2"], 80)
# Another's address, though it is asked here; the answer that nobody wants.
send(me[0], ping(other))
send(me[0], ping(("10.0.0.77", 80)))
send(me[0], load(me))
good, answer, sent = ping(me), load(me), 0
for message in (
    *(good[:n] for n in range(len(good))),
    *(finish(good[:n]) for n in range(8, len(good))),
    *(finish(answer[:n]) for n in range(8, len(answer))),
    good + b"\0", finish(good + b"\0"), finish(answer + b"\0"),
    *(ping(me, **wrong) for wrong in (
        dict(version=1), dict(reserved=1), dict(family=0), dict(family=6), dict(length=35), dict(length=37))),
    # Reserved octets, one after the other.
    *(finish(good[:n] + b"\1" + good[n + 1:]) for n in (25, 26, 27, 30, 31)),
    ping((me[0], 0)), load((me[0], 0)),
    load(me, boot=0), load(me, cpu=1001), load(me, flags=2), load(me, flags=0x8000),
    # The checksum is wrong.
    *(good[:n] + bytes([good[n] ^ 0x10]) + good[n + 1:] for n in range(len(good))),
):
    send(me[0], message)
    sent += 1
# All is looked at by the time when this is answered; and nothing else is.
check(ask(tap, me, sequence=99), "no answer after all that")
print(sent)
PY
# LOAD is the switch's to judge, which sees a message first.
same "foreign messages" $(($(stat_server 1 foreign_messages) - foreign)) 2
same "pings" $(($(stat_server 1 pings) - pings)) 1
same "malformed messages" $(($(malformed) - before)) "$(cat sent)"

step "another life of the module has another boot epoch, and begins at zero"
unload_module thop_server
load_server
report >anew
[ "$(stat_of LOAD boot <anew)" != "$boot" ] || fail "the boot epoch has survived"
same "boot" "$(stat_of LOAD boot <anew)" "$(stat_server 1 boot)"
same "drops" "$(stat_of LOAD drops <anew)" 0
same "a request" "$(fetch /1k)" "200 server1"
