# SPDX-License-Identifier: GPL-2.0
# Every kind of listener, and two switches with the same servers.
set -euo pipefail
. "$TOOLS/helpers.sh"

default_configuration | unchecked | configure

step "SO_REUSEPORT workers behind another port, a listener bound to an address, and a wildcard"
stop_nginx 1
NGINX_WORKERS=4 start_nginx 1 "8080 reuseport"
stop_nginx 2
start_nginx 2 "$SERVER2:80"
{
	echo "pool web"
	echo "server s1 pool web address $SERVER1:8080"
	echo "server s2 pool web address $SERVER2:80"
	echo "server s3 pool web address $SERVER3:80"
	# Those who connect first are asked last.
	echo "service web address $VIP:80 pool web head-timeout 1m"
} | unchecked | configure
for ((i = 0; i < 6; i++)); do fetch /1k; done | sort | uniq -c >turns
same "turns" "$(awk '{ print $1, $2, $3 }' turns | paste -sd,)" "2 200 server1,2 200 server2,2 200 server3"
# All of its workers have their share: the log does not say who, so ask for connections at the same time.
py client <<'PY'
from http_client import *

clients = [Client() for _ in range(60)]
for c in clients:
    same("octets", c.ask("/100k").body, file("100k"))
for c in clients:
    c.send(request("/upload/x", "PUT", octets(3000)))
for c in clients:
    check(c.answer(status=None).status in (201, 204), "PUT")
PY
workers=$(pgrep -P "$(cat "$WWW/server1/nginx.pid")" | while read -r pid; do
	# A worker that has had connections has used its time.
	awk '{ print ($14 + $15 > 0) }' "/proc/$pid/stat"
done | grep -c 1 || true)
[ "$workers" -ge 2 ] || fail "$workers of the 4 workers have done anything"

step "a listener on another address of the server, and on none that fits"
on server3 ip address add 10.0.0.33/24 dev eth0
stop_nginx 3
start_nginx 3 10.0.0.33:80
printf '%s\n' "pool web" "server s3 pool web address 10.0.0.33:80" "service web address $VIP:80 pool web" | unchecked | configure
same "the server's other address" "$(fetch /1k)" "200 server3"
pool_of 3 | unchecked | configure
same "no listener on this address" "$(fetch /1k | cut -c1-3)" 503

step "an IPv6 wildcard, which takes IPv4 too"
stop_nginx 3
start_nginx 3 "[::]:80 ipv6only=off"
same "a dual-stack listener" "$(fetch /1k)" "200 server3"
on client curl -sS "http://$VIP/100k" | cmp - "$WWW/files/100k"

step "a listener with all kinds of options"
stop_nginx 3
start_nginx 3 "80 deferred fastopen=16 backlog=7 rcvbuf=32k sndbuf=64k so_keepalive=on"
same "such a listener" "$(fetch /1k)" "200 server3"
on client curl -sS "http://$VIP/100k" | cmp - "$WWW/files/100k"
same "a POST to such a listener" "$(on client curl -sS --data-binary "@$WWW/files/1m" "http://$VIP/post")" "received 1048576"

step "a listener that speaks MPTCP is refused, with that reason"
stop_nginx 3
on server3 sysctl -qw net.mptcp.enabled=1
spawn server3 python3 - <<'PY'
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 80))
s.listen(10)
time.sleep(1000)
PY
mptcp=$SPAWNED
wait_for 20 eval 'on server3 ss -Htln "sport = :80" | grep -q .'
same "only an MPTCP listener" "$(fetch /1k | cut -c1-3)" 503
[ "$(stat_server 3 refused_listener_speaks_mptcp)" -gt 0 ] || fail "not refused for that reason"
pool_of 3 2 | unchecked | configure
for ((i = 0; i < 4; i++)); do same "with another server" "$(fetch /1k)" "200 server2"; done
kill $mptcp
wait $mptcp || true
start_nginx 3

step "two switches with the same servers"
add_node switch2 10.0.0.20
ip -n switch2 address add 10.0.0.200/32 dev lo
stop_nginx 1
start_nginx 1
stop_nginx 2
start_nginx 2
default_configuration | unchecked | configure
key | authorise switch2 thop_switch
default_configuration | sed "s/$VIP/10.0.0.200/" | unchecked | configure switch2
py client <<'PY'
from http_client import *

first = [Client(source=os.environ["CLIENT"], port=6000 + n) for n in range(6)]
second = [Client(("10.0.0.200", 80), source=os.environ["CLIENT"], port=6000 + n) for n in range(6)]
for round in range(3):
    for c in first + second:
        check(c.ask("/100k").body == file("100k"), "differs")
for c in first:
    same("address", c.ask("/who").body.split()[1], VIP.encode())
for c in second:
    same("address", c.ask("/who").body.split()[1], b"10.0.0.200")
for c in first:
    c.close()
for c in second:
    check(c.ask("/1k").body == file("1k"), "differs after the others are closed")
PY
ip netns del switch2
same "the first switch without the second" "$(fetch /1k | cut -c1-3)" 200
