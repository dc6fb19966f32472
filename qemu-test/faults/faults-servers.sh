# SPDX-License-Identifier: GPL-2.0
# Servers fail under load: machines without power, Web servers that are reloaded, restarted and killed,
# namespaces that go. What each client sees is counted, and what servers carry out.
# run: --timeout 900 --switch-args "linger_ms=1000 closed_ms=3000" --server-args "linger_ms=1000 closed_ms=3000"
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"
accounting_begins

# A server's processes end, and its kernel with all it knows of connections; `power_off` without a word
# to anybody.
namespace_goes() {
	local pids
	pids=$(ip netns pids "$1")
	# shellcheck disable=SC2086
	kill -KILL $pids
	rm -f "$WWW/$1/nginx.pid" "$WWW/$1/post.sock"
	# Sockets that still have something to send would keep the namespace for minutes.
	on "$1" ss -KHtn state connected >/dev/null 2>&1
	ip netns del "$1"
	wait_for 60 eval "! ip -n wire link show $1"
}
power_off() {
	unplug "$1"
	namespace_goes "$1"
}
power_on() {
	local n=${1#server}
	ip netns add "$1"
	ip netns set "$1" auto
	ip -n wire link add "$1" type veth peer name eth0 address "02:00:00:00:00:$(printf %02x $((n + 2)))" netns "$1"
	ip -n wire link set "$1" master wire up
	ip -n "$1" link set lo up
	ip -n "$1" link set eth0 up
	ip -n "$1" address add "$(address "$1")/24" dev eth0
	key | authorise "$1" thop_server
	start_accounting "$n"
}
# asked NAME SERVER: it has carried out something of it.
asked() { [ "$(carried_out "$1" "$2")" -gt 0 ]; }
some() { for _ in 1 2 3 4 5 6; do echo "$@"; done; }

step "no power before CREATE, and nobody has noticed yet: 504 for POST, which nobody has carried out"
pool_of 1 2 | unchecked | configure
unplug server1
# shellcheck disable=SC2046
ask before $(some "POST:/do/0/{}" "GET:/do/0/{}" "PUT:/do/0/{}")
only before "(GET|PUT) whole|POST (whole|504)"
[ "$(outcomes before "POST 504")" -gt 0 ] || fail "server 1 was not asked"
same "what server 1 has carried out" "$(carried_out before server1)" 0
plug server1
default_configuration | configure
works_again before

step "no power between CREATE and CREATED, the request begun: idempotent ones survive, POST gets 504"
pool_of 1 2 | unchecked | configure
drop server1 out "meta protocol ip"
# shellcheck disable=SC2046
ask_begins between $(some "POST:/do/1/{}" "GET:/do/1/{}" "PUT:/do/1/{}")
wait_for 20 asked between server1
power_off server1
ask_ends
only between "(GET|PUT) whole|POST (whole|504)"
same "answers of server 1" "$(awk '$4 == "server1"' between.seen)" ""
[ "$(outcomes between "POST 504")" -ge "$(grep -c "^server1 POST between-" book || true)" ] || fail "a POST was carried out by server 1, and answered by another"
power_on server1
default_configuration | configure
works_again between

step "no power during the response: nothing more comes; once the server is back, whoever speaks is reset"
pool_of 1 | configure
PATIENCE=15 ask_begins silent "GET:/own/slower/300k?{}" "GET:/do/100/{}" "POST:/do/100/{}"
silent=$ASKING
PATIENCE=300 KEEPALIVE=1 ask_begins during "GET:/own/slower/300k?{}" "GET:/do/100/{}" "POST:/do/100/{}"
handed_over() { [ "$(rows server1 thop_server/connections)" -ge 6 ] && [ "$(grep -c '^server1 .* \(silent\|during\)-' book)" = 4 ]; }
wait_for 30 handed_over
# CREATED is at the switch.
confirmed() { ! on switch grep -q handoff /proc/net/thop_switch/connections; }
wait_for 20 confirmed
power_off server1
wait_state web/s1 "DOWN no answer*"
same "while it is away" "$(fetch /own/10k | cut -c1-3)" 503
wait "$silent" || fail "silent: a client saw what it must not see"
only silent "(GET|POST) silent"
power_on server1
ask_ends
only during "(GET|POST) reset"
default_configuration | configure
works_again during

step "no power, under load, and back, three times"
PATIENCE=10 load_begins power
for n in 1 2 3; do
	sleep 2
	power_off server$n
	wait_state web/s$n "DOWN no answer*"
	sleep 1
	power_on server$n
	all_up
done
load_ends
# Six clients, each of which can have met each failure with one request.
only power "GET (whole|silent|reset)|PUT (whole|silent|reset)|POST (whole|504|silent|reset)"
works_again power

step "a namespace goes while it serves, and comes back, twice"
load_begins namespace
for n in 1 2; do
	sleep 2
	namespace_goes server$n
	wait_state web/s$n "DOWN no answer*"
	power_on server$n
	all_up
done
load_ends
only namespace "(GET|PUT) (whole|reset|cut)|POST (whole|504|reset|cut)"
works_again namespace

# signal N SIGNAL: to nginx's master, which is all that knows it.
signal() { kill "-$2" "$(cat "$WWW/server$1/nginx.pid")"; }
workers() { pgrep -P "$(cat "$WWW/server$1/nginx.pid")" | sort | paste -sd ' '; }

step "nginx is reloaded under load, six times: nobody notices"
load_begins reload
for n in 1 2 3 1 2 3; do
	# shellcheck disable=SC2034 # It is used below, in what `eval` gets.
	before=$(workers $n)
	signal $n HUP
	wait_for 20 eval '[ "$(workers $n | cut -d" " -f1)" != "${before%% *}" ]'
	sleep 0.5
done
load_ends
only reload "(GET|PUT|POST) whole"
works_again reload

step "nginx is restarted under load: who was being served is reset, the others go elsewhere"
load_begins restart
for n in 1 2 3; do
	sleep 1
	stop_nginx $n
	sleep 1
	start_accounting $n
	all_up
done
load_ends
only restart "(GET|PUT|POST) (whole|reset|cut)"
works_again restart

step "nginx is killed under load, and started again"
load_begins killed
for n in 1 2 3; do
	sleep 1
	pid=$(cat "$WWW/server$n/nginx.pid")
	# shellcheck disable=SC2046
	kill -KILL "$pid" $(pgrep -P "$pid")
	rm -f "$WWW/server$n/nginx.pid" "$WWW/server$n/post.sock"
	sleep 1
	start_accounting $n
	all_up
done
load_ends
only killed "(GET|PUT|POST) (whole|reset|cut)"
works_again killed
