# SPDX-License-Identifier: GPL-2.0
# Servers that refuse, are silent or are down: requests go elsewhere, and nothing is done twice.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

# from_others N COUNT [CURL_ARGUMENT]...: so many requests, none answered by server N.
from_others() {
	local n=$1 count=$2 i status server
	shift 2
	for ((i = 0; i < count; i++)); do
		read -r status server <<<"$(fetch "/any/$RANDOM" "$@")"
		same "status" "$status" 200
		[ "$server" != "server$n" ] || fail "server$n answered, who cannot"
	done
}

default_configuration | unchecked | configure

step "nobody listens on server 1"
stop_nginx 1
from_others 1 6
from_others 1 3 -X POST -d x=y
[ "$(stat_server 1 refused_no_listener)" -gt 0 ] || fail "server 1 did not refuse"
start_nginx 1

step "the accept queue of server 2 is full"
stop_nginx 2
spawn server2 python3 - <<'PY'
import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 80))
s.listen(1)
time.sleep(1000)
PY
listener=$SPAWNED
wait_for 20 eval 'on server2 ss -Htln "sport = :80" | grep -q .'
# Two connections of its own fill it: one more than the backlog.
spawn client python3 - <<'PY'
import os, socket, time
a = [socket.create_connection((os.environ["SERVER2"], 80)) for _ in range(2)]
time.sleep(1000)
PY
filler=$SPAWNED
wait_for 20 eval 'on server2 ss -Htln "sport = :80" | awk "{ exit \$2 < 2 }"'
from_others 2 6
from_others 2 3 -X POST -d x=y
[ "$(stat_server 2 refused_accept_queue_full)" -gt 0 ] || fail "server 2 did not refuse"
kill $filler $listener
wait $filler $listener || true
# The queue's connections are reset; the port is free then.
start_nginx 2

step "all three refuse: 503, and the connection is closed"
for n in 1 2 3; do stop_nginx $n; done
for method in GET POST PUT; do
	same "$method without any server" "$(fetch /1k -X $method | cut -c1-3)" 503
done
for n in 1 2 3; do start_nginx $n; done
same "as soon as they are back" "$(fetch /1k | cut -c1-3)" 200

step "server 1 cannot, as SYN cookies are switched off there"
on server1 sysctl -qw net.ipv4.tcp_syncookies=0
from_others 1 3
on server1 sysctl -qw net.ipv4.tcp_syncookies=1
[ "$(stat_server 1 refused_not_supported)" -gt 0 ] || fail "server 1 did not refuse"

step "server 3 is silent, as if the module were not loaded: idempotent requests move"
drop server3 in "ip protocol 253"
from_others 3 3
from_others 3 3 -X PUT -d x=y
undrop server3

step "server 3 is off the wire"
unplug server3
from_others 3 3
plug server3

step "all are silent: 504 or 503, in bounded time"
for n in 1 2 3; do drop "server$n" in "ip protocol 253"; done
# On all at once, as each waits.
for method in GET POST; do fetch /any/silence -X $method >"silent.$method" & done
wait
case $(cat silent.GET) in 50[34]*) ;; *) fail "GET with all servers silent: $(cat silent.GET)" ;; esac
same "POST with all servers silent" "$(cut -c1-3 silent.POST)" 504
for n in 1 2 3; do undrop "server$n"; done
# No server may have learnt of it afterwards, from a CREATE that was still on its way.
sleep 1
same "requests that a silent server has run" "$(log_lines /any/silence)" 0

step "POST to a silent server: 504, and not done"
pool_of 1 | unchecked | configure
drop server1 in "ip protocol 253"
same "POST" "$(fetch /post -d x=y | cut -c1-3)" 504
undrop server1
same "POSTs in the logs" "$(log_lines 'POST /post')" 0

step "the answers of server 1 are lost: what its client acknowledges proves that it has taken over"
# unheard PREFIX SERVER...: a pool of these servers, of which what server 1 answers is lost. They have a name of
# their own, as those that were silent are passed over for a while.
unheard() {
	undrop server1
	pool_of "${@:2}" | sed "s/^server s/server $1/" | unchecked | configure
	acquaint
	drop server1 out "ip protocol 253"
}
unheard t 1 2
for ((i = 0; i < 4; i++)); do
	on client curl -sS -m 40 -D head -o got "http://$VIP/100k?lost=$i"
	cmp got "$WWW/files/100k"
	same "servers that ran request $i" "$(log_lines "lost=$i ")" 1
done
[ "$(grep -c 'lost=' "$LOGDIR/server1.access.log")" -gt 0 ] || fail "server 1 was never asked"
unheard u 1
for ((i = 0; i < 2; i++)); do
	same "POST $i" "$(on client curl -sS -m 40 -d x=y "http://$VIP/post?lost=p$i")" "received 3"
	same "servers that ran POST $i" "$(log_lines "lost=p$i ")" 1
done

step "and a PUT that is longer than what CREATE can hold"
for how in 'Expect:' 'Expect: 100-continue'; do
	unheard "${how##*[: ]}x" 1 2
	for ((i = 0; i < 2; i++)); do
		read -r status server <<<"$(fetch "/upload/lost" -T "$WWW/files/1m" -H "$how")"
		same "PUT ($how)" "$status" 201
		cmp "$WWW/$server/upload/lost" "$WWW/files/1m" || fail "the upload differs"
		rm "$WWW/$server/upload/lost"
		[ ! -e "$WWW"/server1/upload/lost ] && [ ! -e "$WWW"/server2/upload/lost ] || fail "another server has it, too"
	done
done
undrop server1

step "everything is well again"
default_configuration | unchecked | configure
for ((i = 0; i < 6; i++)); do fetch /1k; done | sort | uniq -c >turns
same "servers that answer" "$(awk '$2 == 200' turns | wc -l)" 3
