# SPDX-License-Identifier: GPL-2.0
# Whole transfers by curl: every size, method and version; and what goes which way.
# run: --timeout 360
set -euo pipefail
. "$TOOLS/helpers.sh"

step "GET of 0 octets to 100 MB arrives as it is on the server's disk"
last=
for f in 0 1k 100k 1m 100m; do
	sent=$(on switch cat /sys/class/net/eth0/statistics/tx_bytes)
	: >said
	on client curl -sS -m $((120 * SLOW)) -w '%{stderr}%{http_code} %{remote_ip} %header{x-server}\n' "http://$VIP/$f" 2>said |
		cmp - "$WWW/files/$f" || fail "/$f differs"
	read -r status ip server <said
	same "status of /$f" "$status $ip" "200 $VIP"
	[ -n "$server" ] && [ "$server" != "$last" ] || fail "/$f came from '$server' after '$last': not in turn"
	last=$server
done
# The response does not cross the switch: only acknowledgements do, which are small.
sent=$(($(on switch cat /sys/class/net/eth0/statistics/tx_bytes) - sent))
[ $sent -lt 12000000 ] || fail "the switch sent $sent octets while 100 MB were downloaded"
echo "  the switch sent $sent octets for 100 MB of response"

step "three servers take turns"
for ((i = 0; i < 6; i++)); do fetch /1k; done >turns
same "servers asked in six requests" "$(sort turns | uniq -c | awk '{ print $1, $2, $3 }' | paste -sd,)" \
	"2 200 server1,2 200 server2,2 200 server3"

step "the response comes straight from the server, with the virtual address as its source"
spawn client tcpdump -i eth0 --immediate-mode -U -s 128 -B 16384 -w at-client "tcp port 80" 2>tcpdump.client
at_client=$SPAWNED
spawn switch tcpdump -i eth0 --immediate-mode -U -s 128 -B 16384 -w at-switch "tcp port 80" 2>tcpdump.switch
at_switch=$SPAWNED
wait_for 20 grep -q 'listening on' tcpdump.client
wait_for 20 grep -q 'listening on' tcpdump.switch
read -r status server <<<"$(fetch /1m)"
same "status" "$status" 200
# Until both have written the end down; headers are enough, and whole segments fill the buffer while others have the processor.
over() { [ "$(tcpdump -r "$1" -n "tcp[13] & 1 != 0 and $2" 2>/dev/null | wc -l)" -gt 0 ]; }
wait_for 20 over at-client "src host $CLIENT"
wait_for 20 over at-switch "dst host $(address "$server")"
kill $at_client $at_switch
wait $at_client $at_switch || true
# With payload: longer than its headers.
payload='(ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2)) != 0'
packets=$(tcpdump -r at-client -n "src host $VIP and ether src $(mac "$server") and $payload" 2>/dev/null | wc -l)
[ "$packets" -gt 0 ] || fail "no packet of the response came from $server's network card"
packets=$(tcpdump -r at-client -n "$payload and src port 80 and (src host not $VIP or ether src not $(mac "$server"))" 2>/dev/null | wc -l)
same "packets of the response that came from elsewhere" "$packets" 0
packets=$(tcpdump -r at-switch -n "src port 80 and $payload" 2>/dev/null | wc -l)
same "packets of the response at the switch" "$packets" 0
packets=$(tcpdump -r at-switch -n "dst host $(address "$server") and tcp" 2>/dev/null | wc -l)
[ "$packets" -gt 0 ] || fail "the switch forwarded nothing to $server"

step "HEAD, HTTP/1.0, and a query with odd octets"
same "HEAD" "$(on client curl -sSI "http://$VIP/1m" | tr -d '\r' | awk 'NR == 1 { print $2 } /^Content-Length/ { print $2 }' | paste -sd' ')" "200 1048576"
on client curl -sS0 "http://$VIP/100k" | cmp - "$WWW/files/100k"
same "HTTP/1.0 without Host" "$(on client curl -sS0 -H Host: -o /dev/null -w '%{http_code}' "http://$VIP/1k")" 200
same "a query" "$(on client curl -sSg "http://$VIP/any/%20?a=[b]&c=%00" | cut -d' ' -f3)" '/any/%20?a=[b]&c=%00'

step "uploads are on the server's disk as they were sent"
# upload FILE NAME [CURL_ARGUMENT]...
upload() {
	local file=$1 name=$2 status server
	shift 2
	read -r status server <<<"$(on client curl -sS -m $((120 * SLOW)) -o /dev/null -T "$WWW/files/$file" -w '%{http_code} %header{x-server}' "$@" "http://$VIP/upload/$name")"
	same "status of PUT $name" "$status" 201
	cmp "$WWW/$server/upload/$name" "$WWW/files/$file" || fail "$name differs on $server"
	rm "$WWW/$server/upload/$name"
}
upload 0 zero
upload 1k small -H 'Expect: 100-continue'
upload 100k middle -H 'Expect:'
upload 1m chunked -H 'Transfer-Encoding: chunked'
upload 100m expected -H 'Expect: 100-continue'
upload 100m unexpected -H 'Expect:'
same "POST" "$(on client curl -sS --data-binary "@$WWW/files/1m" "http://$VIP/post")" "received 1048576"
same "POST with Expect" "$(on client curl -sS -H 'Expect: 100-continue' --data-binary "@$WWW/files/100k" "http://$VIP/post")" "received 102400"

step "the server sees the client's own address and port"
read -r _ address port client _ <<<"$(on client curl -sS "http://$VIP/who")"
same "what the server sees" "$address $port $client" "$VIP 80 $CLIENT"

step "the tables tell who is where"
on client curl -sSN -m 60 -D head -o got "http://$VIP/slow/1m" &
download=$!
wait_for 20 test -s got
server=$(tr -d '\r' <head | awk '/^X-Server/ { print $2 }')
on switch awk '$4 == "active" { print $2, $3 }' /proc/net/thop_switch/connections >rows
same "active connections at the switch" "$(cat rows)" "$VIP:80 $(address "$server"):80"
port=$(on switch awk '$4 == "active" { sub(/.*:/, "", $1); print $1 }' /proc/net/thop_switch/connections)
on "$server" awk '$5 == "alive" { print $1, $2, $3, $4 }' /proc/net/thop_server/connections >rows
same "live connections at $server" "$(cat rows)" "$CLIENT:$port $VIP:80 $(address "$server"):80 $SWITCH"
on switch awk -v a="$(address "$server"):80" '$3 == a { print $1, $4, $5, $6 }' /proc/net/thop_switch/servers >rows
same "the server in the switch's table" "$(cat rows)" "web 1 UP 1"
wait $download
for counter in moved unanswered answered_503 answered_504 drop_hold_full table_full; do
	same "$counter" "$(stat_switch $counter)" 0
done
same "requests and handoffs" "$(stat_switch requests)" "$(stat_switch handoffs)"

step "what is no service is not touched"
status=$(on client curl -sS -m 5 -o /dev/null -w '%{exitcode}' "http://$VIP:81/" 2>/dev/null || true)
same "curl's exit status at a port without a service" "$status" 7
same "a server's own address" "$(on client curl -sS -o /dev/null -w '%{http_code} %header{x-server}' "http://$SERVER2/1k")" "200 server2"
