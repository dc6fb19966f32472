# SPDX-License-Identifier: GPL-2.0
# The load monitor and the life of modules: who has lost what, whose answers are believed, and that
# checks end with what they belong to.
# run: --timeout 240 --switch-args insecure=1 --server-args insecure=1
set -euo pipefail
. "$TOOLS/helpers.sh"

step "the servers' module is loaded anew: what they have lost is reset, in the service's name"
pool_with "slow-start 0s"
all_up
spawn client python3 - <<'PY'
from http_client import *

clients = [Client() for _ in range(6)]
servers = [c.ask("/1k").server for c in clients]
open("six", "w").close()
wait_for(60, "the word to go on", lambda: os.path.exists("anew"))
ended = 0
for c, server in zip(clients, servers):
    c.socket.settimeout(20)
    if server == "server1":
        # This one has heard nothing yet.
        c.socket.setblocking(False)
        try:
            fail(f"heard {c.socket.recv(1)!r}")
        except BlockingIOError:
            pass
        c.socket.settimeout(20)
        c.send(request("/1k"))
    try:
        fail(f"heard {c.socket.recv(1)!r}")
    except ConnectionResetError:
        ended += server == "server1"
same("connections that were reset when they spoke", ended, 2)
PY
clients=$SPAWNED
wait_for 20 test -e six
drop server1 out "tcp flags & rst == rst"
drop server1 out "tcp flags & fin == fin"
drop server1 out "ip protocol 253"
unload_module thop_server
undrop server1
restarts=$(stat_switch server_restarts)
load_server
restarted() { [ "$(stat_switch server_restarts)" = $((restarts + 3)) ]; }
wait_for 20 restarted || fail "restarts: $restarts, and then $(stat_switch server_restarts)"
purged() { [ "$(stat_switch purged)" -ge 2 ]; }
wait_for 20 purged || { on switch cat /proc/net/thop_switch/connections; fail "purged: $(stat_switch purged)"; }
touch anew
wait "$clients" || fail "the clients of a server that has begun anew"
all_up
for n in 1 2 3; do same "connections of server $n" "$(server_is web/s$n connections)" 0; done
same_who 6 "2 200 server1,2 200 server2,2 200 server3"
same "restarts" "$(stat_switch server_restarts)" $((restarts + 3))

step "no checks: nobody is asked, and all are up"
stop_nginx 3
wait_state web/s3 "DOWN no listener"
pool_with "check-interval off"
for n in 1 2 3; do wait_state web/s$n "UP not checked yet*"; done
pings=$(stat_switch pings)
unplug server2
same "servers that answer" "$(who 6 | cut -d' ' -f2- | paste -sd,)" "200 server1"
for n in 1 2 3; do wait_state web/s$n "UP not checked yet*"; done
same "questions" "$(stat_switch pings)" "$pings"
plug server2
start_nginx 3
default_configuration | configure
all_up

step "LOAD that is forged, late, or comes twice"
rm -f listening heard
# New names make new servers: asked at once, and then not for a minute.
spawn switch python3 - <<'PY'
from thop import *
from http_client import *

tap, first, asked, heard = Tap(), None, {}, {}
open("listening", "w").close()
while len(heard) < 2 or len(asked) < 3:
    source, destination, data = tap.next(60)
    _, sequence = handoff_of(data)
    # The numbers of new servers are greater than those of all before.
    if opcode_of(data) == PING and sequence & 0xFFFFFFFF == 1:
        asked[destination] = data
    elif opcode_of(data) == LOAD and source in asked and data[8:24] == asked[source][8:24]:
        heard[source] = data
with open("heard.part", "wb") as f:
    f.write(heard[os.environ["SERVER1"]] + asked[os.environ["SERVER3"]])
os.rename("heard.part", "heard")
PY
tap=$SPAWNED
wait_for 20 test -e listening
# What server 3 says does not arrive.
drop server3 out "ip protocol 253"
pool_with "check-interval 1m down-after 10m" && default_configuration |
	sed 's/^pool web.*/& check-interval 1m down-after 10m/; s/^server s/server f/' | configure
wait "$tap" || fail "no LOAD was heard"
wait_state web/f1 "UP answers"
wait_state web/f3 "UP not checked yet"
loads=$(stat_switch loads)
foreign=$(stat_switch foreign_messages)
restarts=$(stat_switch server_restarts)
py server2 <<'PY'
from thop import *
from http_client import *

# From another node, which even has the right address: only what no outsider knows is left.
me, other, switch = (os.environ["SERVER1"], 80), (os.environ["SERVER2"], 80), os.environ["SWITCH"]
with open("heard", "rb") as f:
    data = f.read()
good = read_load(data[:72])
same("the LOAD that was heard", (good.server, good.listening), (me, 1))


def forge(source=me[0], server=me, epoch=good.epoch, sequence=good.sequence + 1):
    send(switch, load(server, epoch, sequence, good.boot, flags=0), source)


# Foreign: five of them.
forge(epoch=good.epoch ^ 1)
forge(server=other)
forge(server=(me[0], 81))
forge(source="10.0.0.77")
forge(sequence=good.sequence + (1000 << 32))
# Not foreign, but old, or the answer to nothing that was asked.
send(switch, data[:72], me[0])
send(switch, load(me, good.epoch, good.sequence, good.boot, flags=0), me[0])
for sequence in good.sequence + 1, good.sequence - 1, good.sequence + (1 << 31):
    forge(sequence=sequence)
# The only one that is believed: server 3 was asked, and the switch has not heard it.
epoch, sequence = handoff_of(data[72:])
send(switch, load((os.environ["SERVER3"], 80), epoch, sequence, flags=0), os.environ["SERVER3"])
PY
wait_state web/f3 "DOWN no listener"
undrop server3
for n in 1 2; do same "state of server $n" "$(state_of web/f$n)" "UP answers"; done
same "LOADs that were believed" $(($(stat_switch loads) - loads)) 1
same "foreign messages" $(($(stat_switch foreign_messages) - foreign)) 5
same "restarts" "$(stat_switch server_restarts)" "$restarts"

step "a switch and a server in one network namespace, which goes while it asks"
ip netns add both
ip -n both link set lo up
configure both <<-CONF
	pool web check-interval 20ms
	server s1 pool web address 127.0.0.1:80
	service web address 127.0.0.2:80 pool web
CONF
finds() { on both grep -q "$2" "$1"; }
wait_for 20 finds /proc/net/thop_switch/servers "DOWN.* no listener" || {
	on both cat /proc/net/thop_switch/servers
	fail "the server beside the switch"
}
ip netns del both
# In the middle of asking.
ip netns add both
configure both <<-CONF
	pool web check-interval 20ms
	server s1 pool web address 127.0.0.1:80
CONF
ip netns del both

step "the switch's module goes while it asks, twenty times"
for ((i = 0; i < 20; i++)); do
	pool_with "check-interval 20ms down-after 100ms"
	[ $((i % 2)) = 0 ] || sleep 0.0$((i % 10))
	unload_module thop_switch
	load_switch
done
default_configuration | configure
all_up
same_who 3 "1 200 server1,1 200 server2,1 200 server3"
