# SPDX-License-Identifier: GPL-2.0
# Servers, pools, services and modules that come and go while requests wait.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

step "orders and weights while requests wait"
py client <<'PY'
from waiting import *

configure(pool("queue-timeout 10m", servers="12", server_options="max 1"))
order("web/s2 maint")
held = holding(1)
clients = queue(3)
order("web/s2 ready")
same("served by", [served(c) for c in clients], ["server2"] * 3)
# Full servers count as servers; those that are drained do not.
order("web/s2 drain")
clients = queue(2)
order("web/s1 drain")
for c in clients:
    refused(c)
# What has been handed over stays.
same("connections", connections(), {"s1": 1, "s2": 0})
held[0].ask("/1k")
held[0].close()
over()
order("web/s1 ready")
order("web/s2 ready")
PY

step "configurations while requests wait"
py client <<'PY'
from waiting import *

settings = "queue-timeout 10m"
configure(pool(settings, servers="1", server_options="max 1"))
held = holding(1)
# More room at the server.
clients = queue(2)
configure(pool(settings, servers="1", server_options="max 2"))
for c in clients:
    served(c)
# Another server.
configure(pool(settings, servers="1", server_options="max 1"))
clients = queue(2)
configure(pool(settings, servers="12", server_options="max 1"))
same("served by", [served(c) for c in clients], ["server2"] * 2)
configure(pool(settings, servers="1", server_options="max 1"))
# Less room in the queue.
clients = queue(3)
configure(pool(f"{settings} queue 1", servers="1", server_options="max 1"))
for c in clients[1:]:
    refused(c)
quiet(clients[0])
same("waiting", waiting(), 1)
# A shorter time.
configure(pool("queue-timeout 100ms", servers="1", server_options="max 1"))
refused(clients[0])
configure(pool(settings, servers="1", server_options="max 1"))
# Another pool for the service, and the old one is gone.
clients = queue(2)
configure(f"pool other\nserver s3 pool other address {os.environ['SERVER3']}:80\n"
          f"service web address {VIP}:80 pool other\n")
same("served by", [served(c) for c in clients], ["server3"] * 2)
# No pool for the service any more, though it is still there; and not there at all.
for more in pool(settings, server_options="max 1", service=""), f"service web address {VIP}:80\n":
    configure(pool(settings, servers="1", server_options="max 1"))
    more_held = holding(1)
    clients = queue(2)
    configure(more)
    for c in clients:
        refused(c)
    more_held[0].ask("/1k")
    more_held[0].close()
# No service.
configure(pool(settings, servers="1", server_options="max 1"))
more_held = holding(1)
clients = queue(2)
configure(pool(settings, servers="1", server_options="max 1", service=None))
for c in clients:
    try:
        fail(f"has got {c.socket.recv(100)!r}")
    except ConnectionResetError:
        pass
more_held[0].ask("/1k")
for c in more_held + held:
    c.close()
over()
PY

step "servers that go and come while requests wait, and a backup pool"
backup() {
	cat <<-CONF
		pool sorry queue-timeout 10m
		server s3 pool sorry address $SERVER3:80 max 1
		pool web backup sorry queue-timeout 10m slow-start 0s
		server s1 pool web address $SERVER1:80 max 1
		server s2 pool web address $SERVER2:80 max 1
		service web address $VIP:80 pool web
	CONF
}
backup | configure
wait_state web/s1 "UP answers"
stop_nginx 2
wait_state web/s2 "DOWN no listener"
spawn client python3 - <<'PY'
from waiting import *

held = holding(1)
clients = queue(2)
open("two", "w").close()
# Server 2 is started.
same("served by", [served(c) for c in clients], ["server2"] * 2)
open("served", "w").close()
wait_for(60, "the end of server 2", lambda: os.path.exists("down"))
clients = queue(2)
same("connections", connections(), {"s1": 1, "s2": 0, "s3": 0})
order("web/s1 maint")
same("served by", [served(c) for c in clients], ["server3"] * 2)
# In the backup pool they wait, too.
held += holding(1)
same("connections", connections(), {"s1": 1, "s2": 0, "s3": 1})
clients = [Client() for _ in range(2)]
for n, c in enumerate(clients):
    c.send(request("/1k", headers=["Connection: close"]))
    wait_for(20, f"request {n} in the queue", lambda: waiting("sorry") == n + 1)
held[1].close()
same("served by", [served(c) for c in clients], ["server3"] * 2)
held[0].close()
over()
order("web/s1 ready")
PY
clients=$SPAWNED
wait_for 30 test -e two
start_nginx 2
wait_for 40 test -e served
stop_nginx 2
wait_state web/s2 "DOWN no listener"
touch down
wait "$clients" || fail "the clients of pools of which servers go"
start_nginx 2

step "the switch's module goes while fifty requests wait"
pool_with "queue-timeout 10m" "max 1"
spawn client python3 - <<'PY'
from waiting import *

held, clients = holding(3), []
for _ in range(50):
    clients.append(Client())
    clients[-1].send(request("/1k"))
wait_for(20, "fifty in the queue", lambda: waiting() == 50)
open("fifty", "w").close()
for c in clients + held:
    try:
        same("what came", c.socket.recv(100), b"")
    except ConnectionResetError:
        pass
PY
clients=$SPAWNED
wait_for 30 test -e fifty
unload_module thop_switch
wait "$clients" || fail "the end of those who waited"
load_switch
default_configuration | configure
same_who 3 "1 200 server1,1 200 server2,1 200 server3"
