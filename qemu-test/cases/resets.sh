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

# again.py HOW: a client that uses its port again. It was reset before (`reset`), or has forgotten its connection, which its server
# has ended (`ended`) or knows still (`knows`).
cat >again.py <<'PY'
from speaks import *

how = sys.argv[1]


def connection():
    return Client(source=os.environ["CLIENT"], port=5600)


c = connection()
c.ask("/1k", headers=["Connection: close"] if how == "ended" else [])
signal("asked")
if how == "reset":
    try:
        same("after the reset", c.more(), b"")
    except ConnectionResetError:
        pass
    c.close()
else:
    wait_for_file("forget")
    c.reset()
    signal("forgotten")
    wait_for_file("again")
# The SYN is repeated until somebody takes it.
connection().ask("/1k")
PY
# uses_port_again HOW: and has asked the first time.
uses_port_again() {
	rm -f asked forget forgotten again
	before=$(stat_server 1 adopted)
	spawn client python3 again.py "$1"
	wait_for 30 test -e asked
	lost=$(stat_server 1 segments_lost) notices=$(stat_server 1 close_notices)
}
was_handed_over() {
	wait $SPAWNED || fail "the port used again"
	same "connections that were handed over" $(($(stat_server 1 adopted) - before)) 2
}
notices_lost() { drop server1 out "ip protocol 253 @th,384,16 { 3, 13 }"; }
# more COUNTER THAN
more() { [ "$(stat_server 1 "$1")" -gt "$2" ]; }

step "a client that was reset uses its port again, before the switch knows: the SYN is not the server's"
notices_lost
uses_port_again reset
on server1 ss -K dst "$CLIENT" >/dev/null
wait_for 20 more close_notices $((notices + 1))
undrop server1
was_handed_over

step "it does so before the application has let go of the socket"
notices_lost
uses_port_again reset
worker=$(pgrep -P "$(<"$WWW/server1/nginx.pid")")
kill -STOP "$worker"
on server1 ss -K dst "$CLIENT" >/dev/null
# The connection is over for the switch when it is closed, and not only when its application looks: one notice is
# for that, the next for the SYN.
wait_for 20 more close_notices $((notices + 1)) || fail "the SYN was a listener's"
undrop server1
kill -CONT "$worker"
was_handed_over

for how in knows ended; do
	step "a client has forgotten its connection and uses its port again: $how"
	notices_lost
	uses_port_again "$how"
	if [ "$how" = ended ]; then wait_for 20 more close_notices "$notices"; fi
	resets_lost client
	: >forget
	wait_for 20 test -e forgotten
	undrop client
	notices=$(stat_server 1 close_notices)
	: >again
	# Of what it has, a server that knows it reminds the client, who resets it.
	if [ "$how" = ended ]; then wait_for 20 more close_notices "$notices"; fi
	undrop server1
	was_handed_over
done

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
