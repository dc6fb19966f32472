# SPDX-License-Identifier: GPL-2.0
# A request in its connection's first segment is handed over without a socket of the switch's. Everything else takes
# its usual way, and whatever a client may notice is the same.
# not with first_segment=0: it is about the other way
# run: --servers 2 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"
shield 20000-29999

declare -A BEFORE
remember() { for name; do BEFORE[$name]=$(stat_switch "$name"); done; }
grown() { echo $(($(stat_switch "$1") - BEFORE[$1])); }
COUNTED="requests handoffs handoffs_first_segment first_segments_given_back moved early_segments"
# shellcheck disable=SC2086
watch() { remember $COUNTED; }
# took WHAT REQUESTS FIRST [GIVEN-BACK]: so many requests since watch(), so many of them without a socket, and so many of
# which the segment was given to the stack again.
took() {
	same "$1: requests, without a socket, given back" \
		"$(grown requests) $(grown handoffs_first_segment) $(grown first_segments_given_back)" "$2 $3 ${4:-0}"
}
# cookies Sent, Recv or Failed: of the stack.
cookies() { on switch nstat -asz "TcpExtSyncookies$1" | awk '/Sync/ { print $2 }'; }
sockets() { on switch ss -Htan exclude listening "sport = :80" | wc -l; }

step "what fits a segment needs no socket"
watch
sent=$(cookies Sent) received=$(cookies Recv)
for ((i = 0; i < 10; i++)); do
	on client curl -sS -m 40 -o got "http://$VIP/100k"
	cmp got "$WWW/files/100k"
	on client curl -sS -m 40 -o got -d x=y "http://$VIP/post"
	same "POST" "$(cat got)" "received 3"
	same "sockets at the switch" "$(sockets)" 0
done
took "GET and POST" 20 20
same "cookies sent" $(($(cookies Sent) - sent)) 20
# The first, which says what they mean, and one in 256 of the others.
received=$(($(cookies Recv) - received))
[ "$received" -ge 1 ] && [ "$received" -le 4 ] || fail "the stack has verified $received cookies"
same "bare acknowledgements" "$(grown early_segments)" 20

step "a connection goes on, with everything that was agreed on"
py client <<'PY'
from raw_tcp import *
from http_client import *

small, large = file("1k"), file("1m")

class Server:
    """What the server's kernel says of a connection."""
    def __init__(self, port):
        import subprocess
        self.text = " ".join(subprocess.run(
            ["sh", "-c", f"for n in 1 2; do ip netns exec server$n ss -Htino dport = :{port}; done"],
            capture_output=True, text=True, check=True).stdout.split())

for port, options, wanted, unwanted in (
    (21000, dict(), ("wscale:9,", " ts ", " sack "), ()),
    (21001, dict(sack=False), ("wscale:9,", " ts "), (" sack ",)),
    (21002, dict(wscale=None), (" ts ", " sack "), ("wscale",)),
    (21003, dict(mss=1300), ("mss:1288",), ()),
    (21004, dict(mss=1452), ("mss:1428",), ()),
    (21005, dict(ecn=True), (), ()),
):
    c = RawTcp(port, **{"wscale": 9, **options}).connect()
    for path, body in (("/1k", small), ("/1m", large), ("/1k", small)):
        c.send(request(path))
        check(c.answer().body == body, f"{options}: {path} differs")
    text = Server(port).text
    for word in wanted:
        check(word in text, f"{options}: no '{word}' in {text}")
    for word in unwanted:
        check(word not in text, f"{options}: '{word}' in {text}")
    c.close()
    check(not c.reset_received, f"{options}: reset")
PY
took "options" 26 26

step "what a cookie would cost something has a socket, and loses nothing"
watch
py client <<'PY'
from raw_tcp import *
from http_client import *

small = file("1k")
for port, options in ((21100, dict(timestamps=False)), (21101, dict(mss=8960)), (21102, dict(mss=1220)),
                      (21103, dict(ts_base=9, raw_options=bytes([2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 254, 4, 1, 2])))):
    c = RawTcp(port, **options).connect()
    check(c.peer_scale > 0 or "raw_options" in options, f"{options}: no window scale")
    c.send(request("/1k"))
    check(c.answer().body == small, f"{options}: the answer differs")
    c.close()
PY
took "other options" 4 0

step "what is not a whole request in a segment of its own gets a socket when it comes"
watch
py client <<'PY'
from raw_tcp import *
from http_client import *

small = file("1k")
# In two segments.
c = RawTcp(21200).connect()
data = request("/1k")
c.send(data[:20])
c.sent()
c.send(data[20:])
check(c.answer().body == small, "two segments: the answer differs")
c.close()
# With the FIN.
c = RawTcp(21201).connect()
c.emit(ACK | PSH | FIN, c.nxt, data)
c.unsent, c.nxt, c.fin_sent, c.fin_wanted = data, (c.nxt + len(data) + 1) & MASK, True, True
c.nxt_ = c.nxt
check(c.answer().body == small, "with FIN: the answer differs")
c.pump(lambda: c.fin_received, 10, "FIN")
c.forget()
# Nothing that can be dispatched.
c = RawTcp(21202).connect()
c.send(b"GET  /\r\n\r\n")
same("a bad request", c.answer(status=400).status, 400)
c.pump(lambda: c.fin_received, 10, "FIN")
c.close()
# Closed without a word.
c = RawTcp(21203).connect()
c.close()
check(not c.reset_received, "closed without a word: reset")
# Nobody's segments are reset, as ever.
c = RawTcp(21204)
c.irs, c.rcv, c.una, c.nxt = 5, 6, c.isn + 1, c.isn + 1
c.emit(ACK, c.nxt)
c.pump(lambda: c.last is not None, 10, "a reset")
check(c.last[0] & RST, "an acknowledgement of nothing was not reset")
c.forget()
PY
took "pieces" 2 0
# The acknowledgement of the last FIN has the same distance to what it acknowledges as one that ends a handshake.
ended() { [ "$(on switch ss -Htan exclude listening exclude time-wait "sport = :80" | wc -l)" = 0 ]; }
wait_for 10 ended || { on switch ss -tan; fail "sockets are left"; }

step "a client that has not asked yet may acknowledge and probe; and repeat its request"
watch
py client <<'PY'
from raw_tcp import *
from http_client import *

small = file("1k")
c = RawTcp(21300).connect()
for n in range(5):
    c.emit(ACK, c.nxt)
    c.emit(ACK, c.nxt - 1)
    c.emit(ACK, c.nxt - 1, b"\0")
end = time.monotonic() + 0.5
c.pump(lambda: time.monotonic() > end, 10, "nothing")
check(not c.reset_received, "reset for a probe")
data = request("/1k?again")
c.unsent, first = data, c.nxt
c.nxt = (c.nxt + len(data)) & MASK
for n in range(8):
    c.emit(ACK | PSH, first, data)
check(c.answer().body == small, "repeated: the answer differs")
c.close()
PY
took "repeated" 1 1
same "requests that a server has seen" "$(log_lines '/1k?again')" 1

step "the first octets are lost, or overtaken by others"
watch
py client <<'PY'
from raw_tcp import *
from http_client import *

small = file("1k")
body = octets(3000)
for port, data in ((21350, request("/1k", headers=["X: " + "x" * 4000])), (21351, request("/post", "POST", body))):
    # What follows, twice; then nothing, until the client repeats all of it.
    c = RawTcp(port).connect()
    c.unsent, first = data, c.nxt
    for at in (1400, 1400, 2800):
        c.emit(ACK | PSH, first + at, data[at:at + 1400])
    c.emit(ACK, first + len(data))
    time.sleep(0.3)
    while (packet := c.wire.receive(0.1)) is not None:
        check(not packet or packet[9] != 6, "an answer to what follows a lost segment")
    c.nxt = first
    c.send(b"")
    got = c.answer().body
    check(got == (small if port == 21350 else b"received 3000\n"), "the answer differs")
    c.close()
    check(not c.reset_received, "reset")
PY
took "lost" 2 1

step "a packet filter sees what is new"
on switch nft -f - <<-NFT
	table ip guard {
		chain input {
			type filter hook input priority 0;
			ct state established,related accept
			ip saddr $CLIENT tcp dport 80 ct state new counter accept
			ct state invalid counter drop
		}
		chain output {
			type filter hook output priority 0;
			ct state invalid counter drop
		}
	}
NFT
watch
for ((i = 0; i < 3; i++)); do same "through a packet filter" "$(fetch /1k | cut -c1-3)" 200; done
took "through a packet filter" 3 3
on switch nft -f - <<-NFT
	flush chain ip guard input
	add rule ip guard input ip saddr $CLIENT tcp dport 80 ct state new drop
NFT
status=0
on client curl -sS -m 2 -o /dev/null "http://$VIP/1k" || status=$?
same "curl's status for a client that is shut out" $status 28
on switch nft delete table ip guard

step "a server refuses: the next has it; all refuse: 503, from a socket"
stop_nginx 1
default_configuration | unchecked | configure
acquaint
watch
same "one refuses" "$(fetch /1k) $(fetch /1k)" "200 server2 200 server2"
took "one refuses" 2 2
[ "$(grown moved)" -gt 0 ] || fail "none was offered to the server that refuses"
stop_nginx 2
watch
same "all refuse" "$(fetch /1k | cut -c1-3)" 503
took "all refuse" 1 1 1
same "offers" "$(grown handoffs) $(grown moved)" "1 1"
start_nginx 1
start_nginx 2

step "a server is silent: GET moves, POST does not"
default_configuration | sed 's/^server s/server t/' | unchecked | configure
acquaint
drop server1 in "ip protocol 253"
watch
same "GET" "$(fetch /1k) $(fetch /1k)" "200 server2 200 server2"
took "GET, one silent" 2 2
undrop server1
{
	echo 'pool web'
	echo "server u1 pool web address $SERVER1:80"
	# That the server is silent is known later; but not who asks was too slow.
	echo "service web address $VIP:80 pool web head-timeout 500ms"
} | unchecked | configure
acquaint
drop server1 in "ip protocol 253"
watch
same "POST" "$(fetch /post?silent -d x=y | cut -c1-3)" 504
took "POST to a silent server" 1 1 1
undrop server1
same "POSTs that were run" "$(log_lines 'post?silent')" 0

step "a server is lost that nobody has heard: what its client repeats is not carried out again"
{
	echo 'pool web check-interval 200ms'
	echo "server v1 pool web address $SERVER1:80"
	echo "service web address $VIP:80 pool web"
} | configure
wait_state web/v1 "UP answers*"
drop server1 out "tcp sport 80"
on client curl -sS -m 40 -o /dev/null -w '%{http_code}' -d x=y "http://$VIP/post?lost" >status &
CURL=$!
has_run() { [ "$(log_lines 'post?lost')" = 1 ]; }
wait_for 20 has_run
# The sockets that it had go with the module.
unload_module thop_server
load_server
wait_for 20 eval '[ "$(stat_switch server_restarts)" -gt 0 ]'
undrop server1
wait $CURL || true
case $(cat status) in 504 | 408) ;; *) fail "POST to a server that was lost: $(cat status)" ;; esac
same "POSTs that were run" "$(log_lines 'post?lost')" 1

step "whoever takes too long to ask is told so; what must not be done twice has to come before it could be forgotten"
unload_modules
load_modules "linger_ms=1000"
default_configuration | sed 's/^service .*/& head-timeout 4s/' | configure
py client <<'PY'
from raw_tcp import *
from http_client import *

def after_(port, seconds, data, status):
    c = RawTcp(port).connect()
    end = time.monotonic() + seconds
    c.pump(lambda: time.monotonic() > end, 60, "nothing")
    c.send(data)
    got = c.answer(status=None).status
    same(f"{data[:8]} after {seconds} s", got, status)
    c.fin()
    c.forget()

after_(21400, 2, request("/1k"), 200)
after_(21401, 2, request("/post?late", "POST", b"x=y"), 408)
after_(21402, 6, request("/1k"), 408)
PY
same "POSTs that were run" "$(log_lines 'post?late')" 0

step "switched off"
unload_modules
load_modules "first_segment=0"
default_configuration | configure
watch
before=$(cookies Sent)
for ((i = 0; i < 3; i++)); do same "switched off" "$(fetch /1k | cut -c1-3)" 200; done
took "switched off" 3 0
same "cookies" "$(($(cookies Sent) - before)) $(grown early_segments)" "0 0"
