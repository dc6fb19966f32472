# SPDX-License-Identifier: GPL-2.0
# Clients whose connection the switch closes itself, and who do not hear it, or have gone.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

# As for any server it decides how long an unacknowledged FIN is repeated.
on switch sysctl -qw net.ipv4.tcp_orphan_retries=3

at_switch() { on switch ss -Htna "sport = :80" | grep -v LISTEN; }
none_left() { ! at_switch | grep -v TIME-WAIT; }

# clients_fall_silent: twenty clients, of which half have been answered and half have asked for nothing yet, and then no packet
# of theirs or for them gets through.
cat >idle.py <<'PY'
from http_client import *

clients = [Client() for _ in range(20)]
for c in clients[:10]:
    c.send(b"nonsense\r\n\r\n")
open("connected", "w").close()
time.sleep(600)
PY
clients_fall_silent() {
	rm -f connected
	spawn client python3 idle.py
	wait_for 30 test -e connected
	drop client in "ip saddr $VIP"
	drop client out "ip daddr $VIP"
}

step "the FIN of the switch's is lost: it is repeated"
rm -f connected deaf
spawn client python3 - <<'PY'
from http_client import *

c = Client()
open("connected", "w").close()
wait_for(60, "deaf", lambda: os.path.exists("deaf"))
# It closes without having asked for anything.
c.close()
PY
wait_for 30 test -e connected
drop client in "ip saddr $VIP"
: >deaf
wait $SPAWNED
closing() { at_switch | grep -q LAST-ACK; }
wait_for 20 closing || { on switch ss -tna; fail "the switch has not closed"; }
undrop client
wait_for 60 none_left >/dev/null || { on switch ss -tnao; on client ss -tnao; fail "a FIN that was lost is not repeated"; }
client_closed() { ! on client ss -Htna "dport = :80" | grep -v TIME-WAIT; }
wait_for 20 client_closed >/dev/null || { on client ss -tnao; fail "the client has never heard FIN"; }

step "clients that are not there any more: nothing is kept for them"
rm -f connected deaf
spawn client python3 - <<'PY'
from http_client import *

clients = [Client() for _ in range(30)]
for c in clients[:10]:
    c.send(b"nonsense\r\n\r\n")
    c.answer(status=400)
# What the switch still has to say to these is nothing; to the next, an answer; to the last, FIN.
for c in clients[10:20]:
    c.send(b"GET ")
open("connected", "w").close()
wait_for(60, "deaf", lambda: os.path.exists("deaf"))
for c in clients[10:20]:
    c.send(b"nonsense\r\n\r\n")
for c in clients[20:]:
    c.close()
time.sleep(2)
os._exit(0)
PY
wait_for 30 test -e connected
drop client in "ip saddr $VIP"
: >deaf
wait $SPAWNED
drop client out "ip daddr $VIP"
[ "$(at_switch | wc -l)" -ge 20 ] || { on switch ss -tna; fail "there is nobody to wait for"; }
wait_for 120 none_left >/dev/null || { on switch ss -tnao; fail "sockets of clients that have gone stay for ever"; }
undrop client
same "a request" "$(fetch /1k | cut -c1-3)" 200

step "they are in all states when the module goes, and it waits for none"
clients_fall_silent
unload_module thop_switch 20
wait_for 120 none_left >/dev/null || { on switch ss -tnao; fail "sockets have outlived the module for ever"; }
undrop client
kill $SPAWNED
wait $SPAWNED || true
load_switch
default_configuration | configure

step "and when the namespace goes"
# What follows this test ends all processes and namespaces, and wants them to be gone soon.
clients_fall_silent
