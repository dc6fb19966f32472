# SPDX-License-Identifier: GPL-2.0
# CREATE is long under way: a server never speaks to a client that the switch may have given to another.
# run: --servers 2 --timeout 240
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"
accounting_begins

# fresh: servers under new names, as one that was silent is passed over for a while; and no checks, so
# that it is a request that finds out. Server 1 gets the first of a hundred and one.
FRESH=0
fresh() {
	FRESH=$((FRESH + 1))
	{
		echo "pool web policy wrr"
		echo "server f${FRESH}x1 pool web address $SERVER1:80 weight 100"
		echo "server f${FRESH}x2 pool web address $SERVER2:80 weight 1"
		echo "service web address $VIP:80 pool web"
	} | unchecked | configure
}
# before NAME... and grown NAME: by how much a counter of server 1 has grown since.
declare -A BEFORE
before() {
	local name
	for name; do BEFORE[$name]=$(stat_server 1 "$name"); done
}
grown() { echo $(($(stat_server 1 "$1") - BEFORE[$1])); }

step "a server whose clock is not known tells it, and gets CREATE at once"
fresh
asked=$(stat_switch creates_overdue)
before creates_overdue adopted
same "the first request" "$(fetch /1k)" "200 server1"
same "and the next" "$(fetch /1k)" "200 server1"
same "LATE at the switch" "$(($(stat_switch creates_overdue) - asked))" 1
same "CREATE without a lease" "$(grown creates_overdue)" 1
same "handoffs" "$(grown adopted)" 2

step "CREATE comes after 0.3 s: its server has the rest of the lease"
messages_suffer switch "$SERVER1" delay 300ms
before adopted
same "a request" "$(fetch /1k)" "200 server1"
messages_suffer switch off
same "handoffs" "$(grown adopted)" 1

step "CREATE comes after 1 s, CREATED does not, and the response is slow: it is silenced, another answers"
# It would come while the switch asks the client, or when it has gone to server 2.
messages_suffer switch "$SERVER1" delay 1000ms
drop server1 out "ip protocol 253"
before adopted silenced
same "who answers" "$(fetch /do/0.4/late)" "200 server2"
sleep 3
same "handoffs to server 1" "$(grown adopted)" 1
[ "$(grown silenced)" -gt 0 ] || fail "server 1 was not silenced"
undrop server1
messages_suffer switch off

step "CREATE comes when its lease is over: it is not obeyed"
for wanted in "GET 200 server2" "POST 504"; do
	read -r method answer <<<"$wanted"
	fresh
	same "before" "$(fetch /1k)" "200 server1"
	messages_suffer switch "$SERVER1" delay 1300ms
	before adopted creates_overdue
	got=$(fetch /post -X "$method")
	same "$method" "${got% }" "$answer"
	# The last repetition, and FORGET, come after that.
	sleep 3
	same "handoffs to server 1" "$(grown adopted)" 0
	[ "$(grown creates_overdue)" -gt 0 ] || fail "no CREATE was overdue"
	messages_suffer switch off
done

step "the server begins anew, and its clock with it"
fresh
same "before" "$(fetch /1k)" "200 server1"
unload_module thop_server
load_server
same "the first request" "$(fetch /1k)" "200 server1"
same "handoffs" "$(stat_server 1 adopted)" 1
