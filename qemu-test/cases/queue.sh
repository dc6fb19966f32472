# SPDX-License-Identifier: GPL-2.0
# The limit of a server's connections, and the requests that wait for one.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

step "never more than two connections for each server, and everybody is answered"
pool_with "policy rr queue-timeout 10m" "max 2"
py client <<'PY'
from waiting import *

# At 100 KB/s; long enough that a slow machine sees them while they last.
LENGTH = min(250_000 * int(os.environ.get("SLOW", 1)), 1_000_000)
queued, results, most, seen_waiting = counter("queued"), [], 0, 0


wanted = file("1m")[:LENGTH]


def work():
    with Client() as c:
        c.send(request("/slow/1m", headers=["Connection: close", f"Range: bytes=0-{LENGTH - 1}"]))
        results.append(c.answer().body == wanted)


threads = [threading.Thread(target=work) for _ in range(20)]
for t in threads:
    t.start()
while any(t.is_alive() for t in threads):
    now = connections()
    check(max(now.values()) <= 2, f"connections: {now}")
    seen_waiting = max(seen_waiting, waiting())
    for n in "123":
        # Not those that have been closed by the server.
        there = on(f"server{n}", "ss", "-Htn", "state", "established", "sport = :80").count("\n")
        check(there <= 2, f"server {n} has {there} connections")
        most = max(most, there)
same("right answers", results, [True] * 20)
same("the greatest number of connections", most, 2)
queued = counter("queued") - queued
print(f"  {queued} waited, {seen_waiting} of them at once")
check(8 <= queued <= 14 and seen_waiting >= 6, "of 20 requests 14 should have waited")
over()
PY

step "first come, first served"
py client <<'PY'
from waiting import *

configure(pool(servers="1", server_options="max 1"))
held = holding(1)
clients = [queue(1, f"/any/turn{n}")[0] for n in range(6)]
same("connections", connections(), {"s1": 1})
for c in clients:
    quiet(c)
held[0].close()
for c in clients:
    c.answer()
    c.at_end()
over()
PY
same "the order" "$(grep -o '/any/turn[0-9]' "$LOGDIR/server1.access.log" | paste -sd ' ')" \
	"/any/turn0 /any/turn1 /any/turn2 /any/turn3 /any/turn4 /any/turn5"

step "nobody is overtaken by who comes later, however short the queue"
py client <<'PY'
from waiting import *

configure(pool(servers="1", server_options="max 1"))
times, ended = {}, {}


def work(k):
    n = 0
    while time.monotonic() < end:
        name, began = f"/any/in-{k}-{n}", time.monotonic()
        with Client() as c:
            c.send(request(name, headers=["Connection: close"]))
            c.acknowledged()
            times[name] = began, time.monotonic()
            c.answer()
            c.at_end()
            ended[name] = time.monotonic()
        n += 1


for clients in range(2, 4):
    end = time.monotonic() + 4 * int(os.environ.get("SLOW", 1))
    threads = [threading.Thread(target=work, args=[f"{clients}{k}"]) for k in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
over()
with open(f"{os.environ['LOGDIR']}/server1.access.log") as f:
    served = [name for line in f if (name := line.split('"')[1].split()[1]) in times]
same("requests that were served", len(served), len(times))

# Whoever was acknowledged before another began to connect was first. What was only sent may still be on its way, to another
# processor than the one that is faster.
def first(one, other):
    return times[one][1] < times[other][0]


overtaken = [name for at, name in enumerate(served) if any(first(other, name) for other in served[at + 1:at + 20])]
# Both were waiting for a third to end.
pairs = sum(first(one, other) and times[other][1] < ended[third] for third, one, other in zip(served, served[1:], served[2:]))
print(f"  {len(served)} requests, {pairs} times two waited, {len(overtaken)} overtook others")
check(pairs >= 20, "too few to tell")
same("requests that have overtaken earlier ones", overtaken, [])
PY

step "keep-alive connections count until they end"
py client <<'PY'
from waiting import *

configure(pool(servers="12", server_options="max 1"))
held = holding(2)
same("connections", connections(), {"s1": 1, "s2": 1})
clients = queue(2)
for c in held:
    c.ask("/1k")
for c in clients:
    quiet(c)
server = held[1].ask("/1k").server
held[1].close()
same("served by", [served(c) for c in clients], [server] * 2)
held[0].ask("/1k")
held[0].close()
over()
PY

step "the queue is full, or there is none: 503 at once"
py client <<'PY'
from waiting import *

configure(pool("queue 3 queue-timeout 10m", servers="1", server_options="max 1"))
held, full = holding(1), counter("queue_full")
clients = queue(3)
for n in range(2):
    c = Client()
    c.send(request("/1k"))
    refused(c)
same("queue_full", counter("queue_full") - full, 2)
same("waiting", waiting(), 3)
for c in clients:
    quiet(c)
held[0].close()
for c in clients:
    served(c)
over()

configure(pool("queue 0 queue-timeout 10m", servers="1", server_options="max 1"))
held = holding(1)
c = Client()
c.send(request("/1k"))
refused(c)
same("queue_full", counter("queue_full") - full, 3)
held[0].close()
over()
get("/1k")
over()
PY

step "who has waited for too long gets 503"
py client <<'PY'
from waiting import *

configure(pool("queue-timeout 700ms", servers="1", server_options="max 1"))
held, late = holding(1), counter("queue_timeouts")
took = []
for n in range(3):
    began = time.monotonic()
    c = Client()
    c.send(request("/1k"))
    refused(c)
    took.append(time.monotonic() - began)
print("  after", *(f"{t:.2f} s" for t in took))
check(min(took) >= 0.7 and min(took) < 5, f"they took {took} s")
same("queue_timeouts", counter("queue_timeouts") - late, 3)
held[0].close()
over()
PY

step "clients that give up make room; one that closes its half is served"
py client <<'PY'
from waiting import *

configure(pool("queue 3 queue-timeout 10m", servers="1", server_options="max 1"))
held = holding(1)
clients = queue(3)
clients[1].reset()
clients[2].half_close()
time.sleep(0.2)
held[0].close()
served(clients[0])
served(clients[2])
over()

held = holding(1)
for c in queue(3):
    c.reset()
    # So that the switch looks at the queue in between.
    time.sleep(0.2)
# Their places are free, before any connection has ended.
wait_for(20, "the places of those who are gone", lambda: waiting() == 0)
clients = queue(3)
held[0].close()
for c in clients:
    served(c)
over()
wait_for(20, "the end of all sockets", lambda: on("switch", "ss", "-Htn") == "")
PY

step "a body that arrives meanwhile"
py client <<'PY'
from waiting import *

configure(pool(servers="1", server_options="max 1"))
held = holding(1)
bodies = {name: octets(length, length) for name, length in (("short", 30_000), ("half", 30_001), ("long", 300_000), ("fine", 100_000))}
clients = {}
for n, (name, body) in enumerate(bodies.items()):
    c = clients[name] = Client()
    c.send(request(f"/upload/{name}", "PUT", headers=["Connection: close", f"Content-Length: {len(body)}"]))
    wait_for(20, f"request {n} in the queue", lambda: waiting() == n + 1)


def send(name, part, step=1000):
    for at in range(0, len(part), step):
        clients[name].send(part[at:at + step])
        time.sleep(0.005)


# More than the switch can hand over.
rest = [threading.Thread(target=send, args=["long", bodies["long"]]),
        threading.Thread(target=send, args=["fine", bodies["fine"], 200])]
for t in rest:
    t.start()
send("short", bodies["short"])
send("half", bodies["half"][:15_000])
# Until no window is left to them.
time.sleep(2)
for name, c in clients.items():
    quiet(c)
# All at once: what did not fit is repeated by the clients' clocks, which are slower each time.
configure(pool(servers="1", server_options="max 5"))
clients["short"].answer()
send("half", bodies["half"][15_000:])
clients["half"].answer()
for t in rest:
    t.join()
clients["long"].answer()
clients["fine"].answer()
for name, body in bodies.items():
    clients[name].at_end()
    check(uploaded("server1", name) == body, f"the upload {name} differs")
held[0].close()
over()
PY
