# SPDX-License-Identifier: GPL-2.0
# How connections end at the server: it closes, it dies, and the switch hears of it late.
# run: --timeout 180 --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

step "whoever closes first, the tables are empty after the linger time"
py client <<'PY'
from http_client import *

get("/1k")                          # the server does
with Client() as c:                 # the client does
    c.ask("/1k")
c = Client()                        # the client, without a word
c.ask("/1k")
c.reset()
with Client() as c:                 # both at once
    c.send(request("/1k", headers=["Connection: close"]))
    time.sleep(0.2)
PY
[ "$(total=0; for n in 1 2 3; do total=$((total + $(stat_server $n closed))); done; echo $total)" -ge 1 ] || fail "no server noticed a close"
wait_for 40 tables_empty || {
	on switch cat /proc/net/thop_switch/connections
	for n in 1 2 3; do on server$n cat /proc/net/thop_server/connections; done
	fail "connections are left in the tables"
}

step "nginx is killed in mid-transfer: the client hears of it, and so does the switch"
pool_of 1 | configure
for signal in KILL TERM; do
	rm -f got.*
	pids=()
	for i in 1 2 3; do
		on client curl -sSN -m 60 "http://$VIP/slow/1m" -o got.$i 2>/dev/null &
		pids+=($!)
	done
	for i in 1 2 3; do wait_for 20 test -s got.$i; done
	[ "$(rows switch thop_switch/connections)" -ge 3 ] || fail "the switch does not show the connections"
	pid=$(cat "$WWW/server1/nginx.pid")
	kill -$signal $(pgrep -P "$pid") "$pid"
	for pid in "${pids[@]}"; do
		status=0
		wait "$pid" || status=$?
		case $status in 18 | 52 | 56) ;; *) fail "curl's exit status after nginx got SIG$signal: $status" ;; esac
	done
	wait_for 40 tables_empty || {
		on switch cat /proc/net/thop_switch/connections
		on server1 cat /proc/net/thop_server/connections
		fail "the connections of a dead nginx are left in the tables"
	}
	rm -f "$WWW/server1/nginx.pid" "$WWW/server1/post.sock"
	same "without it" "$(fetch /1k | cut -c1-3)" 503
	start_nginx 1
done

step "NOTIFYCLS is lost for a while, and then repeated until it is acknowledged"
drop server1 out "ip protocol 253 @th,384,16 {3, 13}"
py client <<'PY'
from http_client import *

for n in range(3):
    get("/1k")
PY
sleep 0.5
[ "$(rows server1 thop_server/connections)" = 3 ] || { on server1 cat /proc/net/thop_server/connections; fail "the server has forgotten what it has to report"; }
undrop server1
wait_for 40 tables_empty || {
	on switch cat /proc/net/thop_switch/connections
	on server1 cat /proc/net/thop_server/connections
	fail "connections are left in the tables"
}
[ "$(stat_server 1 close_notices)" -gt "$(stat_server 1 closed)" ] || fail "no NOTIFYCLS was repeated"

step "its acknowledgement is lost"
drop server1 in "ip protocol 253 @th,384,16 {5, 13}"
fetch /1k >/dev/null
sleep 0.5
undrop server1
wait_for 40 tables_empty || fail "connections are left in the tables"

step "dead elements age out, and elements of clients that vanish too"
unload_module thop_switch
load_switch "linger_ms=500 closed_ms=1500 idle_ms=3000"
pool_of 1 | configure
py client <<'PY'
import subprocess
from http_client import *

clients = [Client() for _ in range(3)]
for c in clients:
    c.ask("/1k")
ports = ", ".join(str(c.port) for c in clients)
chain = f'type filter hook egress device "eth0" priority -400; tcp sport {{ {ports} }} drop'
subprocess.run(["nft", f"table netdev gone {{ chain c {{ {chain}; }}; }}"], check=True)
# And one that is busy is not taken for dead.
with Client() as c:
    for n in range(8):
        c.ask("/1k")
        time.sleep(0.5)
    for n in range(3):
        c.ask("/1k")
os._exit(0)
PY
[ "$(stat_switch expired)" -ge 3 ] || { on switch cat /proc/net/thop_switch/connections; fail "elements of clients that vanished do not age"; }
wait_for 30 eval '[ "$(rows switch thop_switch/connections)" = 0 ]' || fail "elements do not age"

step "a server that comes back without its memory: its module was loaded anew meanwhile"
default_configuration | configure
rm got.1
on client curl -sSN -m 60 "http://$VIP/slow/1m" -o got.1 2>/dev/null &
download=$!
wait_for 20 test -s got.1
unload_module thop_server 20
load_server linger_ms=1000
status=0
wait $download || status=$?
case $status in 18 | 52 | 56) ;; *) fail "curl's exit status: $status" ;; esac
# While nobody answered, the servers may have been found DOWN.
all_up
for ((i = 0; i < 3; i++)); do same "a request" "$(fetch /1k | cut -c1-3)" 200; done
