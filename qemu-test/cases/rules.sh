# SPDX-License-Identifier: GPL-2.0
# Routes by what a request says, from one to ten thousand of them: the first that matches wins.
# run: --servers 4 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

# Pool pN is server N. p1 is what no route means.
pools() {
	local n
	for n in 1 2 3 4; do
		echo "pool p$n"
		echo "server s$n pool p$n address $(address server$n):80"
	done
}

step "every kind of condition, in canonical form"
{
	pools
	echo "service hosts address $VIP:80 pool p1"
	echo "route service hosts host exact.example pool p2"
	echo "route service hosts host *.wild.example pool p3"
	echo "route service hosts host deep.wild.example pool p4"
	echo "route service hosts host *.a.wild2.example pool p2"
	echo "route service hosts host *.wild2.example pool p3"
	echo "service paths address $VIP:81 pool p1"
	echo "route service paths path-exact /any/ pool p2"
	echo "route service paths path /any/b pool p3"
	echo "route service paths path-suffix .png pool p4"
	echo "route service paths path /any/deep/ path-suffix /x pool p2"
	echo "service others address $VIP:82 pool p1"
	echo "route service others method PUT,DELETE pool p2"
	echo "route service others header x-kind=blue pool p3"
	echo "route service others header x-kind pool p4"
	echo "route service others cookie user=adam pool p2"
	echo "route service others cookie user pool p3"
	echo "route service others query v=1 pool p4"
	echo "route service others query empty= pool p3"
	echo "route service others query v pool p2"
	echo "service clients address $VIP:83 pool p1"
	echo "route service clients client 10.0.0.64/26 pool p2"
	echo "route service clients client 10.0.0.7 pool p3"
	echo "service several address $VIP:84"
	echo "route service several host a.example path /any/x method GET header x-a=1 header x-b cookie c=1 query q client 10.0.0.0/24 pool p2"
	echo "route service several host a.example path /any/x class second pool p3"
	echo "route service several host a.example class third pool p4"
} >configuration
configure <configuration
on switch cat /proc/net/thop_switch/config | diff - configuration || fail "it is not read back as it was written"
# In another order and notation, the same.
sed -E 's/^(route service \w+) (method \S+) pool (\S+)$/\1   pool \3\t\2 # comment/; s/exact.example/EXACT.example./; s/x-kind/X-Kind/' \
	configuration | configure
on switch cat /proc/net/thop_switch/config | diff - configuration || fail "its canonical form is another"

step "curl: host, path, method, header, cookie, query"
same "by host" "$(fetch /any/ -H 'Host: exact.example')" "200 server2"
same "by path" "$(on client curl -sS "http://$VIP:81/any/big")" "server3 $VIP /any/big"
same "by header" "$(on client curl -sS -H 'x-kind: blue' "http://$VIP:82/any/")" "server3 $VIP /any/"
same "by cookie" "$(on client curl -sS -b 'a=b; user=adam' "http://$VIP:82/any/")" "server2 $VIP /any/"
same "by query" "$(on client curl -sS "http://$VIP:82/any/?u=2&v=1")" "server4 $VIP /any/?u=2&v=1"
same "by method" "$(on client curl -sS -o /dev/null -w '%header{x-server}' -T "$WWW/files/100k" "http://$VIP:82/upload/rules")" server2
cmp "$WWW/server2/upload/rules" "$WWW/files/100k" || fail "the upload differs"

step "what matches, and what only looks like it"
for a in 10.0.0.7 10.0.0.63 10.0.0.64 10.0.0.127 10.0.0.128; do ip -n client address add $a/24 dev eth0; done
py client <<'PY'
from http_client import *


def routed(port, server, what="", path="/any/", host="test", source="", **how):
    with Client((VIP, port), source=source) as c:
        c.send(request(path, host=host, **how))
        answer = c.answer(how.get("method", "GET"), status=None)
        got = answer.server if answer.server else answer.status
        same(f"port {port}: {what or path} of {host} {how}", got, f"server{server}" if server else 503)


for host, server in (
    ("exact.example", 2), ("EXACT.Example", 2), ("exact.example.", 2), ("exact.example:80", 2), ("exact.example.:8080", 2),
    ("xexact.example", 1), ("exact.example.org", 1), ("exact", 1), ("example", 1), ("", 1), (VIP, 1),
    ("a.wild.example", 3), ("A.WILD.EXAMPLE.", 3), ("b.a.wild.example:80", 3), ("wild.example", 1), ("xwild.example", 1),
    # The exact name stands behind the wildcard that has it.
    ("deep.wild.example", 3), ("x.a.wild2.example", 2), ("a.wild2.example", 3), ("x.wild2.example", 3),
):
    routed(80, server, host=host)
routed(80, 2, path="http://exact.example/any/", host="other.example")
routed(80, 1, path="http://other.example/any/", host="exact.example")
for path, server in (
    ("/any/", 2), ("/any/?x", 2), ("/any/a", 1), ("/any/b", 3), ("/any/bc", 3), ("/any/b?x", 3), ("/any/b.png", 3),
    ("/any/a.png", 4), ("/any/a.png?b", 4), ("/any/a.pngx", 1), ("/any/a.PNG", 1), ("/any/?.png", 2), ("/any/%62", 1),
    ("/any/deep/x", 2), ("/any/deep/y/x", 2), ("/any/deep/xx", 1), ("/any/deep/x.png", 4), ("/any//b", 1),
):
    routed(81, server, path=path)
for server, how in (
    (1, {}), (2, dict(method="PUT", path="/upload/r", body=b"x")), (2, dict(method="DELETE")), (1, dict(method="HEAD")),
    (3, dict(headers=["X-Kind: blue"])), (3, dict(headers=["x-kIND:   blue  "])), (3, dict(headers=["X-Kind: red", "X-Kind: blue"])),
    (4, dict(headers=["X-Kind: Blue"])), (4, dict(headers=["X-Kind:"])), (4, dict(headers=["X-Kind: blue, red"])),
    (1, dict(headers=["X-Kinds: blue"])), (1, dict(headers=["X: X-Kind: blue"])),
    (2, dict(headers=["Cookie: user=adam"])), (2, dict(headers=["Cookie: a=1; user=adam; b=2"])),
    (2, dict(headers=["Cookie: a=1", "Cookie: user=adam"])), (3, dict(headers=["Cookie: user=eve; user=adam"])),
    (3, dict(headers=["Cookie: user=Adam"])), (3, dict(headers=["Cookie: user="])), (1, dict(headers=["Cookie: xuser=adam"])),
    (1, dict(headers=["Cookie: User=adam"])), (1, dict(headers=["X-Cookie: user=adam"])),
    (4, dict(path="/any/?v=1")), (4, dict(path="/any/?a&v=1&b")), (4, dict(path="/any/?v=2&v=1")), (2, dict(path="/any/?v=2")),
    (2, dict(path="/any/?v")), (3, dict(path="/any/?empty")), (3, dict(path="/any/?empty=")), (1, dict(path="/any/?empty=1")),
    (1, dict(path="/any/?V=1")), (1, dict(path="/any/?xv=1")), (1, dict(path="/any/v=1")),
    # The first route of those that match, whatever they look at.
    (3, dict(path="/any/?v=1", headers=["Cookie: user=adam", "X-Kind: blue"])), (2, dict(path="/any/?v=1", headers=["Cookie: user=adam"])),
):
    routed(82, server, **how)
for source, server in (("10.0.0.7", 3), ("10.0.0.63", 1), ("10.0.0.64", 2), ("10.0.0.127", 2), ("10.0.0.128", 1), (os.environ["CLIENT"], 1)):
    routed(83, server, what=source, source=source)

# All conditions hold, or all but one.
whole = dict(path="/any/xy?q=1", host="a.example", headers=["X-A: 1", "X-B: anything", "Cookie: c=1"])
routed(84, 2, **whole)
routed(84, 3, **{**whole, "method": "POST"})
for n in range(3):
    routed(84, 3, **{**whole, "headers": whole["headers"][:n] + whole["headers"][n + 1:]})
routed(84, 3, **{**whole, "path": "/any/xy?p=1"})
routed(84, 4, **{**whole, "path": "/any/y?q=1"})
routed(84, None, **{**whole, "host": "b.example"})

# What decides comes last, and in pieces.
with Client((VIP, 82)) as c:
    data = request("/any/last", headers=["X-Filler: " + "x" * 3000, "X-Kind: blue"])
    for at in range(0, len(data) - 30, 100):
        c.send(data[at:min(at + 100, len(data) - 30)])
    for at in range(len(data) - 30, len(data)):
        time.sleep(0.002)
        c.send(data[at:at + 1])
    same("a head in pieces", c.answer().server, "server3")
    # A connection is dispatched once.
    same("the next request there", c.ask("/any/").server, "server3")
PY

step "bad rules are refused, with line and reason"
# refused LINE REASON TEXT: the text behind a good beginning of nine lines.
refused() {
	! { pools; echo "service web address $VIP:80 pool p1"; echo "$3"; } | configure 2>error || fail "accepted: $3"
	[[ $(cat error) == "line $1: "*"$2"* ]] || fail "$3: the reason is $(cat error), and should name line $1 and '$2'"
}
refused 10 "needs a condition" "route service web pool p1"
refused 10 "unknown word" "route service web agent x pool p1"
refused 10 "no host" "route service web host a.*.example pool p1"
refused 10 "no path" "route service web path-exact x pool p1"
refused 10 "no method" "route service web method GET,,PUT pool p1"
refused 10 "no network" "route service web client 10.0.0.0/33 pool p1"
refused 10 "given twice" "route service web path /a path /b pool p1"
refused 10 "header" "route service web header =x pool p1"
refused 10 "alpn" "route service web alpn h2 pool p1"
refused 10 "8 conditions" "route service web$(printf ' header X-%d' {1..9}) pool p1"
refused 10 "unknown pool" "route service web path / pool nowhere"
refused 11 "path" "service t address $VIP:443 protocol tls"$'\n'"route service t path / pool p1"
refused 10 "h2" "service t address $VIP:443 protocol tls h2 p1"
on switch cat /proc/net/thop_switch/config | cmp -s - configuration || fail "a refused configuration has changed the running one"

step "10,000 routes"
# many SHIFT: routes by host, by path, by header and by client; those whose number is a multiple of 10 lead to
# the same server whatever SHIFT is.
many() {
	pools
	awk -v vip="$VIP" -v shift="$1" 'BEGIN {
		print "service web address " vip ":80 pool p1"
		for (n = 0; n < 10000; n++) {
			pool = n % 10 ? 2 + (n + shift) % 3 : 2 + n / 10 % 3
			if (n < 4000) c = "host h" n ".example.com"
			else if (n < 6000) c = "host one.example path /any/p" n "/"
			else if (n < 8000) c = "header x-key=k" n
			else c = "client 10." 64 + int(n / 250) ".0." n % 250
			print "route service web " c " pool p" pool
		}
	}'
}
many 0 >many.0
many 1 >many.1
same "routes" "$(grep -c '^route' many.0)" 10000
configure <many.0
on switch cat /proc/net/thop_switch/config | cmp - many.0 || fail "they are not read back as they were written"
cat >routes.py <<'PY'
from http_client import *


def ask(n, shifts):
    """A request for route n; the server must be that of one of these configurations."""
    how = dict(path="/any/", host="none.example")
    if n < 4000:
        how["host"] = f"h{n}.example.com"
    elif n < 6000:
        how.update(host="one.example", path=f"/any/p{n}/x")
    elif n < 8000:
        how["headers"] = [f"X-Key: k{n}"]
    with Client() as c:
        c.send(request(**how))
        answer = c.answer()
    if n >= 8000:
        # Another client's.
        wanted = {"server1"}
    elif n % 10 == 0:
        wanted = {f"server{2 + n // 10 % 3}"}
    else:
        wanted = {f"server{2 + (n + s) % 3}" for s in shifts}
    check(answer.server in wanted, f"route {n}: {answer.server}, not {wanted}")
PY
py client <<'PY'
from routes import *

for n in 0, 1, 2, 10, 1999, 2000, 3999, 4000, 4001, 5000, 5999, 6000, 6001, 7777, 7999, 9999:
    ask(n, [0])
PY
# The last ones are by client: the very last is this one's neighbour.
last=10.103.0.249
same "the last route" "$(tail -n 1 many.0)" "route service web client $last pool p2"
ip -n client address add $last/32 dev lo
for n in 2 4; do on server$n ip route add $last/32 via "$CLIENT"; done
on switch ip route add $last/32 via "$CLIENT"
same "the last route's client" "$(fetch /any/ --interface $last)" "200 server2"
same "the first route" "$(fetch /any/ -H 'Host: h0.example.com')" "200 server2"
same "a middle route" "$(fetch /any/p5000/ -H 'Host: one.example')" "200 server4"
same "no route" "$(fetch /any/ -H 'Host: h10000.example.com')" "200 server1"

step "replaced 20 times under load"
py client >traffic 2>&1 <<'PY' &
import threading
from routes import *

count = [0]

def work(seed):
    n = seed
    while not os.path.exists("enough"):
        n = (n + 1237) % 8000
        try:
            ask(n, [0, 1])
        except BaseException as e:
            print(f"route {n}: {e!r}")
            os._exit(1)
        count[0] += 1

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(count[0])
PY
traffic=$!
for ((i = 0; i < 20; i++)); do
	configure <many.$((i % 2))
	kill -0 $traffic 2>/dev/null || break
done
touch enough
wait $traffic || { cat traffic; fail "a request failed while the configuration was replaced ($i times)"; }
same "times replaced" $i 20
echo "  $(cat traffic) requests"
[ "$(cat traffic)" -gt 20 ] || fail "there was no load"
on switch cat /proc/net/thop_switch/config | cmp - many.1 || fail "the last configuration is not the running one"
for counter in moved unanswered answered_504 table_full; do
	same "$counter" "$(stat_switch $counter)" 0
done
# The one that no route of `several` meant.
same "answered_503" "$(stat_switch answered_503)" 1
