# SPDX-License-Identifier: GPL-2.0
# What is limited is full: the table of the switch, those of the servers, and the accept queues of all
# servers. Clients get a 503, those who are served go on, and all is well as soon as there is room.
# run: --timeout 480 --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

# fill COUNT PORT: a program that has so many connections open, each served and with more to ask for.
# Its file `ready` appears when they are, and when `go` does each asks again.
cat >fill.py <<'PY'
from http_client import *

clients = [Client() for _ in range(int(sys.argv[1]))]
for c in clients:
    same("served", c.ask("/1k").body, file("1k"))
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.05)
for c in clients:
    same("served again", c.ask("/1k").body, file("1k"))
    c.close()
PY
fill() {
	rm -f ready go
	spawn client python3 fill.py "$1"
	filler=$SPAWNED
	wait_for 120 test -e ready || fail "$1 clients are not served"
}
release() {
	touch go
	wait $filler || fail "those who were served do not go on"
}

# served: requests are answered again.
served() { [ "$(fetch /1k | cut -c1-3)" = 200 ]; }

# refused HOW COUNT: so many clients get a 503 each.
refused() {
	local i
	for ((i = 0; i < $2; i++)); do same "a client while $1" "$(fetch /1k | cut -c1-3)" 503; done
}

step "the switch's table is full"
unload_modules
load_modules "$SWITCH_ARGS connections=20"
default_configuration | configure
all_up
fill 20
same "elements" "$(stat_switch connections)" 20
refused "the table is full" 5
same "table_full" "$(stat_switch table_full)" 5
same "503" "$(stat_switch answered_503)" 5
same "elements" "$(stat_switch connections)" 20
release
wait_for 60 served || fail "nobody is served when there is room again"
wait_for 60 tables_empty || fail "elements are left"

step "the tables of all servers are full"
unload_modules
load_modules "$SWITCH_ARGS" "$SERVER_ARGS connections=5"
default_configuration | configure
all_up
fill 15
for n in 1 2 3; do same "elements at server $n" "$(stat_server $n connections)" 5; done
refused "the servers' tables are full" 3
for n in 1 2 3; do
	[ "$(stat_server $n refused_out_of_memory)" -ge 1 ] || fail "server $n has not refused"
	same "elements at server $n" "$(stat_server $n connections)" 5
done
release
wait_for 60 served || fail "nobody is served when there is room again"
wait_for 60 tables_empty || fail "elements are left"

step "the accept queues of all servers are full"
unload_modules
load_modules
for n in 1 2 3; do
	stop_nginx $n
	start_nginx $n "80 backlog=1"
done
# It is requests that find out, and not the load monitor before them.
default_configuration | unchecked | configure
served || fail "nobody is served"
# stop SIGNAL: what every server's processes get.
signal() {
	local n pid
	for n in 1 2 3; do
		for pid in $(pgrep -P "$(cat "$WWW/server$n/nginx.pid")"); do kill "-$1" "$pid"; done
	done
}
signal STOP
# One more than the backlog is let in.
cat >patient.py <<'PY'
from http_client import *

clients = []
for n in range(6):
    clients.append(Client(timeout=200))
    clients[-1].send(request("/1k"))
open("ready", "w").close()
for c in clients:
    same("in the end", c.answer().body, file("1k"))
    c.close()
PY
rm -f ready
spawn client python3 patient.py
patient=$SPAWNED
wait_for 60 test -e ready
all_taken() { [ "$(for n in 1 2 3; do stat_server $n alive; done | paste -sd ' ')" = "2 2 2" ]; }
wait_for 60 all_taken || fail "not all accept queues are full"
refused "the accept queues are full" 3
for n in 1 2 3; do
	[ "$(stat_server $n refused_accept_queue_full)" -ge 1 ] || fail "server $n has not refused"
done
same "a POST while they are full" "$(fetch /post -d x=y | cut -c1-3)" 503
signal CONT
wait $patient || fail "those in the accept queues are not served"
wait_for 60 served || fail "nobody is served when there is room again"
for ((i = 0; i < 6; i++)); do same "afterwards" "$(fetch /1k | cut -c1-3)" 200; done
wait_for 60 tables_empty || fail "elements are left"
