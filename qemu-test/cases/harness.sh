# SPDX-License-Identifier: GPL-2.0
# run: --no-modules --servers 2 --timeout 120
# The test harness itself, without the modules: every node reaches every other, and the Web servers
# serve what the other cases rely on.
set -eu

same 'nodes' "$NODES" 'client switch server1 server2'
[ -z "$MODULES" ] || fail 'modules are there'
! (SLOW=1200) 2>/dev/null || fail "a script can set what is the harness's"
for n in switch server1 server2; do
	on client ping -qc 1 -W 5 "$(address "$n")" >/dev/null || fail "no way to $n"
done
on client ping -qc 1 -W 5 "$VIP" >/dev/null || fail 'nobody answers for VIP'
same 'who has VIP' "$(on client ip neighbour show "$VIP" | cut -d' ' -f5)" "$(mac switch)"

for n in 1 2; do
	server=$(address server$n)
	while read -r name size; do
		on client curl -sS -D head -o body "http://$server/$name"
		same "size of /$name" "$(stat -c %s body)" "$size"
		cmp body "$WWW/files/$name"
		grep -qi "^x-server: server$n"$'\r' head || fail "no X-Server: $(cat head)"
	done <<-END
		0 0
		1k 1024
		100k 102400
		1m 1048576
		100m 104857600
	END

	same 'PUT' "$(on client curl -sS -T "$WWW/files/1m" -o /dev/null -w '%{http_code}' "http://$server/upload/mine")" 201
	cmp "$WWW/files/1m" "$WWW/server$n/upload/mine"
	same 'POST' "$(on client curl -sS --data-binary "@$WWW/files/1m" "http://$server/post")" 'received 1048576'
	# shellcheck disable=SC2046
	set -- $(on client curl -sS "http://$server/who")
	same 'who' "$1 $2 $3 $4" "server$n $server 80 $CLIENT"
	grep -q '"GET /1k HTTP/1.1" 200 1024' "$LOGDIR/server$n.access.log" || fail 'no access log'
done
[ ! -e "$WWW/server2/upload/other" ] || fail 'uploads are mixed'

# Names longer than a header buffer of nginx's default.
cookie=$(head -c 12000 /dev/zero | tr '\0' c)
same '12 KB of cookies' "$(on client curl -sS -H "Cookie: $cookie" -o /dev/null -w '%{http_code}' "http://$SERVER1/1k")" 200

# Another port, several workers, and a stop.
stop_nginx 1
! on client curl -sS -m 5 "http://$SERVER1/0" 2>/dev/null || fail 'nginx still runs'
NGINX_WORKERS=3 start_nginx 1 '8080 reuseport'
same 'port 8080' "$(on client curl -sS -o /dev/null -w '%{http_code}' "http://$SERVER1:8080/1k")" 200

# The wire can be disturbed, and calmed.
netem client delay 100ms
ms=$(on client curl -sS -o /dev/null -w '%{time_connect}' "http://$SERVER2/0")
netem client off
awk -v t="$ms" 'BEGIN { exit !(t > 0.2) }' || fail "connecting took $ms s, in spite of netem"
unplug server2
! timeout 10 on client ping -qc 1 -W 1 "$SERVER2" >/dev/null || fail 'an unplugged server answers'
plug server2
wait_for 10 on client ping -qc 1 -W 1 "$SERVER2"
