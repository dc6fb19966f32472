# SPDX-License-Identifier: GPL-2.0
# Who is asked, who is out and why, who comes back and how.
# run: --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"

# nginx_signal N SIGNAL: to all of its processes.
nginx_signal() {
	local pid
	pid=$(cat "$WWW/server$1/nginx.pid")
	# shellcheck disable=SC2046
	kill "-$2" "$pid" $(pgrep -P "$pid")
}
# fill_queue N: connections that wait in server N's accept queue, three of them. FILLER.
fill_queue() {
	spawn client python3 -c "
from http_client import *
c = [Client((os.environ['SERVER$1'], 80)) for _ in range(3)]
time.sleep(1000)"
	FILLER=$SPAWNED
	wait_for 20 eval "on server$1 ss -Htln 'sport = :80' | awk '{ exit \$2 < 3 }'"
}

# traffic_begins, traffic_ends: requests all the time, each of which must be answered with 200.
cat >traffic.py <<'PY'
import collections
import threading
from http_client import *

turns, longest = collections.Counter(), 0
end = time.monotonic() + 150


def work():
    global longest
    while not os.path.exists("traffic.stop"):
        if time.monotonic() > end:
            print("nobody has stopped the traffic", file=sys.stderr)
            os._exit(1)
        began = time.monotonic()
        try:
            answer = get("/1k")
            same("the answer", answer.body, file("1k"))
        except BaseException as e:
            print(f"after {time.monotonic() - began:.1f} s: {e!r}", file=sys.stderr)
            os._exit(1)
        longest = max(longest, time.monotonic() - began)
        turns[answer.server] += 1


threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(f"  {sum(turns.values())} requests {dict(sorted(turns.items()))}, the longest took {longest:.1f} s")
PY
traffic_begins() {
	rm -f traffic.stop
	spawn client python3 traffic.py
	TRAFFIC=$SPAWNED
}
traffic_ends() {
	touch traffic.stop
	wait "$TRAFFIC" || fail "a request was not answered as it should"
}

step "servers are up, are asked, and answer"
all_up
same "the pool's servers" "$(pool_is web servers) $(pool_is web up)" "3 3"
pings=$(stat_switch pings)
loads=$(stat_switch loads)
asked_on() { [ "$(stat_switch pings)" -gt $((pings + 6)) ] && [ "$(stat_switch loads)" -gt $((loads + 6)) ]; }
wait_for 20 asked_on || fail "PING and LOAD do not go on"
same "accept queue" "$(server_is web/s1 accept)" "0/511"
same_who 6 "2 200 server1,2 200 server2,2 200 server3"
same "restarts" "$(stat_switch server_restarts)" 0

step "a server is cut off: down within its time, and no client is told"
pool_with "policy wrr slow-start 16s" "weight 2"
all_up
traffic_begins
sleep 0.5
unplug server3
wait_state web/s3 "DOWN no answer for * ms"
silent=$(server_is web/s3 reason | tr -dc 0-9)
echo "  no answer for $silent ms"
[ "$silent" -ge 1000 ] && [ "$silent" -lt 10000 ] || fail "down-after is 1 s, and it was down after $silent ms"
same "weight" "$(server_is web/s3 weight)" 2
same "the pool's servers" "$(pool_is web servers) $(pool_is web up)" "3 2"
offered=$(server_is web/s3 offered)
sleep 1
same "requests offered to a server that is down" $(($(server_is web/s3 offered) - offered)) 0

step "it is on the wire again: up, and slow at first"
plug server3
wait_state web/s3 "UP answers, slow start *"
# What it left unanswered when it was cut off no longer counts.
[[ $(state_of web/s3) != *CREATE* ]] || fail "server 3 is up, and passed over: $(state_of web/s3)"
cat >shares.py <<'PY'
import subprocess
from http_client import *


def step():
    """How many sixteenths of its share server 3 gets now."""
    table = subprocess.run(["on", "switch", "cat", "/proc/net/thop_switch/servers"], capture_output=True, text=True)
    line = next(line for line in table.stdout.splitlines() if line.split()[:2] == ["web", "s3"])
    check(" UP " in line, f"server 3 is not up: {line}")
    return int(line.rpartition(" ")[2].split("/")[0]) if "slow start" in line else 16


def share(steps):
    """Of three servers that have the same weight."""
    return steps / (32 + steps)


seen, asked, served, least, most = [step()], 0, 0, 0, 0
while seen[-1] < 16:
    served += sum(get("/1k").server == "server3" for _ in range(10))
    seen.append(step())
    asked += 10
    least += 10 * share(seen[-2])
    most += 10 * share(seen[-1])
print(f"  steps {seen}: {served} of {asked} requests, {least:.0f} to {most:.0f} are due")
same("steps in order", seen, sorted(seen))
check(least / 2 - 2 <= served <= most * 1.25 + 2, f"server 3 got {served} of {asked} requests")
turns = [get("/1k").server for _ in range(30)]
check(9 <= turns.count("server3") <= 11, f"server 3 has not got its whole share: {turns}")
PY
traffic_ends
on client python3 shares.py
same "state" "$(state_of web/s3)" "UP answers"

step "other times: down-after, up-after, no slow start"
pool_with "check-interval 40ms down-after 300ms up-after 5 slow-start 0s"
all_up
# More than once, as a machine that is busy may be late.
for try in 1 2 3 4; do
	unplug server3
	wait_state web/s3 "DOWN no answer for * ms"
	silent=$(server_is web/s3 reason | tr -dc 0-9)
	plug server3
	wait_state web/s3 "UP *"
	same "state" "$(state_of web/s3)" "UP answers"
	[ "$silent" -ge 300 ] || fail "down-after is 300 ms, and it was down after $silent ms"
	[ "$silent" -ge 1000 ] || break
done
[ "$silent" -lt 1000 ] || fail "down-after is 300 ms, and it was down after $silent ms"

step "nobody listens: down, and no client is told"
default_configuration | configure
all_up
stop_nginx 3
same "status" "$(who 9 | awk '{ print $2 }' | sort -u)" 200
wait_state web/s3 "DOWN no listener"
same_who 4 "2 200 server1,2 200 server2"
start_nginx 3
wait_state web/s3 "UP answers*"

step "the accept queue is full: others take over; then it gets its whole share at once"
stop_nginx 3
start_nginx 3 "80 backlog=2"
accepts() { [ "$(server_is web/s3 accept)" = "$1" ]; }
wait_for 10 accepts 0/2
# As if it had never been down.
pool_with "slow-start 0s"
wait_state web/s3 "UP answers"
default_configuration | configure
nginx_signal 3 STOP
fill_queue 3
wait_state web/s3 "DOWN accept queue full"
wait_for 10 accepts 3/2
same_who 4 "2 200 server1,2 200 server2"
nginx_signal 3 CONT
wait_state web/s3 "UP *"
same "state" "$(state_of web/s3)" "UP answers"
kill "$FILLER"
wait "$FILLER" || true
same_who 6 "2 200 server1,2 200 server2,2 200 server3"

step "a refused connection tells, too, and sooner than the next question"
pool_with "check-interval 1m down-after 10m"
# Those that were sent before have been answered.
sleep 0.5
nginx_signal 3 STOP
fill_queue 3
same "state" "$(state_of web/s3)" "UP answers"
same "status" "$(who 3 | awk '{ print $2 }' | sort -u)" 200
same "state" "$(state_of web/s3)" "DOWN accept queue full"
[ "$(server_is web/s3 refused)" -gt 0 ] || fail "server 3 did not refuse"
nginx_signal 3 CONT
kill "$FILLER"
wait "$FILLER" || true
# A shorter interval counts at once.
default_configuration | configure
wait_state web/s3 "UP answers"
stop_nginx 3
start_nginx 3

step "all are down: 503, until the first is back"
default_configuration | configure
all_up
for n in 1 2 3; do stop_nginx $n; done
for n in 1 2 3; do wait_state web/s$n "DOWN no listener"; done
same_who 2 "2 503 -"
same "the pool's servers" "$(pool_is web servers) $(pool_is web up)" "3 0"
for n in 1 2 3; do start_nginx $n; done
all_up
same_who 6 "2 200 server1,2 200 server2,2 200 server3"

