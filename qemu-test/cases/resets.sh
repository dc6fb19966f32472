# SPDX-License-Identifier: GPL-2.0
# A server resets a connection and its reset does not get through: the client hears of it when it speaks again.
set -euo pipefail
. "$TOOLS/helpers.sh"

# resets_lost NODE: what the node sends with RST goes nowhere.
resets_lost() { drop "$1" out "tcp flags & rst == rst"; }

cat >speaks.py <<'PY'
from http_client import *

# The longest that a client speaks, or listens, before somebody must have told it.
PATIENCE = 20 * int(os.environ["SLOW"])


def signal(name):
    open(name, "w").close()


def wait_for_file(name):
    wait_for(60, name, lambda: os.path.exists(name))
PY
# speaker COUNT: clients that are idle until there is a file `killed`, and then say an octet now and then until they are reset.
cat >speaker.py <<'PY'
from speaks import *

clients = [Client() for _ in range(int(sys.argv[1]))]
for c in clients:
    c.ask("/1k")
signal("asked")
wait_for_file("killed")
end = time.monotonic() + PATIENCE
while clients:
    check(time.monotonic() < end, f"{len(clients)} clients speak to nobody, and are not told")
    time.sleep(0.1)
    for c in clients[:]:
        try:
            c.send(b"x")
        except (ConnectionResetError, BrokenPipeError):
            clients.remove(c)
PY
speaker() {
	rm -f asked killed
	spawn client python3 speaker.py "$1"
	wait_for 30 test -e asked
}

for case in "80 is_gone" "8081 stays" "80 stays"; do
	read -r port nginx <<<"$case"
	step "the socket at port $port ends without its reset, and nginx $nginx"
	stop_nginx 1
	start_nginx 1 "$port"
	pool_of 1 | sed "/^server/s/:80\$/:$port/" | unchecked | configure
	acquaint
	resets=$(stat_server 1 resets)
	speaker 3
	resets_lost server1
	on server1 ss -K dst "$CLIENT" >/dev/null
	[ "$nginx" = stays ] || stop_nginx 1
	undrop server1
	: >killed
	wait $SPAWNED || fail "port $port, nginx $nginx"
	[ "$(stat_server 1 resets)" -ge $((resets + 3)) ] || fail "it was not the module that has answered"
done

step "a reset that overtakes octets is not believed, and repeated with the right number"
rm -f asked lost
spawn client python3 - <<'PY'
from speaks import *

c = Client(timeout=PATIENCE)
c.ask("/1k")
signal("asked")
wait_for_file("lost")
c.send(request("/100k"))
try:
    c.answer()
    fail("there is an answer that was lost")
except ConnectionResetError:
    pass
except TimeoutError:
    fail("the client waits for ever")
PY
wait_for 30 test -e asked
drop server1 out "ip saddr $VIP tcp flags & rst != rst"
: >lost
lost() { [ "$(on server1 ss -Htn state established dst "$CLIENT" | awk '{ print $2 }')" -gt 0 ]; }
wait_for 20 lost || fail "the response was not lost"
on server1 ss -K dst "$CLIENT" >/dev/null
undrop server1
wait $SPAWNED || fail "a reset that overtakes"

step "a client that was reset uses its port again, before the switch knows: the SYN is not the server's"
drop server1 out "ip protocol 253 @th,384,16 { 3, 13 }"
handed=$(stat_server 1 adopted)
rm -f asked
spawn client python3 - <<'PY'
from speaks import *

def connection():
    return Client(source=os.environ["CLIENT"], port=5600)

c = connection()
c.ask("/1k")
signal("asked")
try:
    same("after the reset", c.more(), b"")
except ConnectionResetError:
    pass
c.close()
# The SYN is repeated meanwhile.
connection().ask("/1k")
PY
wait_for 30 test -e asked
notices=$(stat_server 1 close_notices)
on server1 ss -K dst "$CLIENT" >/dev/null
repeated() { [ "$(stat_server 1 close_notices)" -ge $((notices + 2)) ]; }
wait_for 20 repeated
undrop server1
wait $SPAWNED || fail "the port used again"
same "connections that were handed over" $(($(stat_server 1 adopted) - handed)) 2

step "the module goes, and its resets are lost"
speaker 20
resets_lost server1
unload_module thop_server 20
undrop server1
: >killed
wait $SPAWNED || fail "the module is gone"
load_server
stop_nginx 1
start_nginx 1
default_configuration | configure
all_up
for ((n = 0; n < 3; n++)); do same "a request" "$(fetch /1k | cut -c1-3)" 200; done
