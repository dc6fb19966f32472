# SPDX-License-Identifier: GPL-2.0
# What operators order, the states and weights of servers; and backup pools.
set -euo pipefail
. "$TOOLS/helpers.sh"
servers=/proc/net/thop_switch/servers

weights() {
	local n
	for n in 1 2 3; do server_is web/s$n weight; done | paste -sd ' '
}

step "drain, maint, ready"
spawn client python3 - <<'PY'
from http_client import *

clients = [Client() for _ in range(3)]
servers = [c.ask("/1k").server for c in clients]
c = clients[servers.index("server1")]
open("kept", "w").close()
for word in "drain", "maint":
    wait_for(60, word, lambda: os.path.exists(word))
    same("the server of a connection that lives on", c.ask("/1k").server, "server1")
    open(word + ".done", "w").close()
PY
clients=$SPAWNED
wait_for 20 test -e kept
for state in drain maint; do
	order "web/s1 $state"
	same "state" "$(state_of web/s1)" "${state^^} set by operator"
	same_who 4 "2 200 server2,2 200 server3"
	touch $state
	wait_for 20 test -e $state.done
done
wait "$clients"
same "the pool's servers" "$(pool_is web servers) $(pool_is web up)" "3 2"
order "web/s1 ready"
same "state" "$(state_of web/s1)" "UP answers"
same_who 6 "2 200 server1,2 200 server2,2 200 server3"

step "weights"
pool_with "policy wrr"
order "web/s1 weight 3
	web/s2   weight 0"
same "weights" "$(weights)" "3 0 1"
same "state" "$(state_of web/s2)" "DRAIN weight 0"
same_who 8 "6 200 server1,2 200 server3"

step "orders outlive a configuration that leaves the server alone"
order "web/s3 drain"
pool_with "policy wrr queue 77"
same "queue" "$(pool_is web queue)" 77
same "weights" "$(weights)" "3 0 1"
same "state" "$(state_of web/s2)" "DRAIN weight 0"
same "state" "$(state_of web/s3)" "DRAIN set by operator"
same_who 2 "2 200 server1"
pool_with "policy wrr" "weight 2"
same "weights that the configuration has changed" "$(weights)" "2 2 2"
same "state" "$(state_of web/s2)" "UP answers"
same "state" "$(state_of web/s3)" "DRAIN set by operator"
same_who 4 "2 200 server1,2 200 server2"
# A server that leaves takes the orders for it along.
pool_of 1 2 | configure
default_configuration | configure
wait_state web/s3 "UP answers"
same "weights" "$(weights)" "1 1 1"

step "what is no order"
py switch <<'PY'
import errno
from http_client import *


def write(text):
    fd = os.open("/proc/net/thop_switch/servers", os.O_WRONLY)
    try:
        same("octets taken", os.write(fd, text.encode()), len(text))
        return "0"
    except OSError as e:
        return errno.errorcode[e.errno]
    finally:
        os.close(fd)


for text, wanted in (
    ("web/s9 drain", "ENOENT"), ("other/s1 drain", "ENOENT"), ("web/ drain", "ENOENT"),
    ("web/s1 sleep", "EINVAL"), ("web/s1", "EINVAL"), ("s1 drain", "EINVAL"),
    ("web/s1 weight 65536", "EINVAL"), ("web/s1 weight -1", "EINVAL"), ("web/s1 drain maint", "EINVAL"),
    # Nothing of a text with one bad line is done.
    ("web/s1 drain\nweb/s2 nonsense\n", "EINVAL"), ("web/s1 weight 7\nweb/s9 maint\n", "ENOENT"),
    ("web/s1 drain\0", "EINVAL"), ("\n \n", "0"),
):
    same(f"error number for {text!r}", write(text), wanted)
PY
for n in 1 2 3; do same "state" "$(state_of web/s$n)" "UP answers"; done
same "weights" "$(weights)" "1 1 1"

step "who may give orders"
as_user() { on switch setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
as_user cat $servers | grep -q s1 || fail "a user may not read the table"
! as_user sh -c "echo web/s1 drain >$servers" 2>/dev/null || fail "a user gave an order"
! echo "web/s1 drain" | on switch setpriv --bounding-set=-net_admin --inh-caps=-net_admin dd status=none of=$servers 2>error ||
	fail "root without CAP_NET_ADMIN gave an order"
grep -q 'not permitted' error || { cat error; fail "another error than EPERM"; }
! on switch unshare -U --map-root-user sh -c "echo web/s1 drain >$servers" 2>/dev/null ||
	fail "root of a user namespace gave an order"
same "state" "$(state_of web/s1)" "UP answers"

step "backup pools: two, one behind the other, until those before them are back"
{
	for n in 3 2 1; do
		echo "pool p$n $([ $n = 3 ] || echo "backup p$((n + 1))")"
		echo "server s pool p$n address $(address server$n):80"
	done
	echo "service web address $VIP:80 pool p1"
} | configure
for n in 1 2 3; do wait_state p$n/s "UP answers"; done
same "backup pools" "$(pool_is p1 backup) $(pool_is p2 backup) $(pool_is p3 backup)" "p2 p3 -"
same_who 2 "2 200 server1"
order "p1/s maint"
same_who 2 "2 200 server2"
stop_nginx 2
wait_state p2/s "DOWN no listener"
same_who 2 "2 200 server3"
order "p3/s drain"
same_who 2 "2 503 -"
order "p1/s ready"
same_who 2 "2 200 server1"
order "p1/s weight 0
p3/s ready"
same_who 2 "2 200 server3"
start_nginx 2
wait_state p2/s "UP answers*"
same_who 2 "2 200 server2"
