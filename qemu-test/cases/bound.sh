# SPDX-License-Identifier: GPL-2.0
# A listener that is bound to a device: what is handed over to it is watched as elsewhere.
# run: --servers 2 --timeout 180
set -euo pipefail
. "$TOOLS/helpers.sh"

# application [DEVICE]: the server program at server 1.
application() {
	spawn server1 python3 "$TOOLS/http_server.py" server1 "$@"
	APPLICATION=$SPAWNED
	wait_for 20 eval 'on server1 ss -Htln "sport = :80" | grep -q .' || fail "no application"
}
# watched: a connection to server 1 lives, and is known to.
watched() {
	local adopted gone closed
	pool_of 1 | unchecked | configure
	acquaint
	wait_for 20 none_alive || fail "connections that are over live"
	adopted=$(stat_server 1 adopted) gone=$(stat_server 1 adopted_gone) closed=$(stat_server 1 closed)
	rm -f asked go
	spawn client python3 - <<-'PY'
		from http_client import *

		with Client() as c:
		    c.ask("/x")
		    open("asked", "w").close()
		    wait = time.monotonic() + 60
		    while not os.path.exists("go"):
		        check(time.monotonic() < wait, "nobody says go")
		        time.sleep(0.05)
		    c.ask("/x")
	PY
	wait_for 20 test -e asked || fail "no answer"
	same "sockets adopted, and gone at once" \
		"$(($(stat_server 1 adopted) - adopted)) $(($(stat_server 1 adopted_gone) - gone))" "1 0"
	same "alive" "$(stat_server 1 alive)" 1
	# The switch's word for it may still be on its way.
	confirmed() { [ "$(on server1 grep -cw alive /proc/net/thop_server/connections)" = 1 ]; }
	wait_for 5 confirmed || { on server1 cat /proc/net/thop_server/connections; fail "it is not known to live"; }
	same "connections of server 1, at the switch" "$(server_is web/s1 connections)" 1
	: >go
	wait $SPAWNED || fail "the second answer"
	wait_for 20 none_alive || fail "it lives for ever"
	same "closed" "$(($(stat_server 1 closed) - closed))" 1
}
none_alive() { [ "$(stat_server 1 alive)" = 0 ]; }

# limited: `max` holds.
limited() {
	py client <<-'PY'
		from waiting import *

		configure(pool(options="queue-timeout 10m check-interval off", servers="1", server_options="max 2"))
		wait_for(20, "the end of what was before", lambda: not any(connections().values()))
		held = holding(2)
		third, = queue(1)
		same("connections", connections(), {"s1": 2})
		time.sleep(0.5)
		quiet(third)
		held[0].close()
		same("the third's answer", third.answer().server, "server1")
		third.close()
		held[1].close()
		over()
	PY
}

# taken_back: the switch gives a handoff up whose answer it has not heard, and the server, told so, ends the connection.
taken_back() {
	local forgotten
	pool_of 1 2 | sed "s/^server s/server $1/" | unchecked | configure
	acquaint
	forgotten=$(stat_server 1 forgotten)
	drop server1 out "ip protocol { tcp, 253 }"
	same "requests that server 1 cannot answer" "$(for n in 1 2; do fetch /1k; done | sort | uniq -c | awk '{ print $1, $2, $3 }')" \
		"2 200 server2"
	has_forgotten() { [ "$(stat_server 1 forgotten)" -gt "$forgotten" ]; }
	wait_for 20 has_forgotten || fail "nothing was taken back"
	no_sockets() { ! on server1 ss -Htn state established src "$VIP" | grep -q .; }
	wait_for 5 no_sockets || { on server1 ss -tno; fail "a socket that was taken back lives"; }
	undrop server1
}

# told: the client is reset when the module goes.
told() {
	rm -f asked
	pool_of 1 | unchecked | configure
	acquaint
	spawn client python3 - <<-'PY'
		from http_client import *

		c = Client(timeout=20)
		c.ask("/x")
		open("asked", "w").close()
		try:
		    same("the end", c.more(), "a reset")
		except ConnectionResetError:
		    pass
	PY
	wait_for 20 test -e asked || fail "no answer"
	unload_module thop_server 20
	wait $SPAWNED || fail "the client was not reset"
	same "sockets that are left" "$(on server1 ss -Htn state established src "$VIP")" ""
	load_server
}

step "bound to its network card"
stop_nginx 1
application eth0
watched
step "a limit of connections"
limited
step "a connection that is taken back"
taken_back device
step "the module goes"
told
kill $APPLICATION
wait $APPLICATION || true
