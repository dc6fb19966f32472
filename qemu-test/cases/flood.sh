# SPDX-License-Identifier: GPL-2.0
# A flood of SYNs with forged source addresses: the kernel's cookies take over, connections go on, new
# clients are served, and nothing is left of it.
# run: --timeout 480 --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

SYNS=20000
# Who floods, with addresses of a network that ends at him, where nobody answers.
FLOODER=10.0.0.66
NETWORK=10.2.0.0/16
add_node flooder $FLOODER
on switch ip route add $NETWORK via $FLOODER
# So that what the kernel has not finished is over in seconds instead of a minute, and cookies begin
# early, however slow the flooder is. A listener has the limit that held when it was made.
LIMIT=256
on switch sysctl -qw net.ipv4.tcp_synack_retries=2 net.core.somaxconn=$LIMIT
echo '# nothing' | configure
default_configuration | configure
all_up

# tcp_counter NAME: of the switch's kernel.
tcp_counter() {
	on switch awk -v name="$1" '
		$1 == "TcpExt:" && !n { n = split($0, names); next }
		$1 == "TcpExt:" { for (i = 1; i <= n; i++) if (names[i] == name) { print $i; exit } }' /proc/net/netstat
}
half_open() { on switch ss -Htn state syn-recv | wc -l; }

cat >flood.py <<'PY'
import random, socket, struct, sys
from raw_tcp import checksum

vip, count = sys.argv[1], int(sys.argv[2])
random_ = random.Random(7)
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
destination = socket.inet_aton(vip)
lost = 0
for n in range(count):
    source = struct.pack("!I", 0x0A020000 | n & 0xFFFF)
    tcp = struct.pack("!HHIIHHHH", random_.randrange(1024, 65536), 80, random_.getrandbits(32), 0, 0x5002, 65535, 0, 0)
    sum_ = checksum(source + destination + struct.pack("!HH", 6, 20) + tcp)
    tcp = tcp[:16] + struct.pack("!H", sum_) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, n & 0xFFFF, 0, 64, 6, 0) + source + destination
    try:
        s.sendto(ip + tcp, (vip, 0))
    except OSError:
        lost += 1
print(f"  {count - lost} SYNs sent")
PY

# honest: a request of a new client is answered.
honest=0
honest() {
	same "a new client" "$(fetch /1k | cut -c1-3)" 200
	honest=$((honest + 1))
}

step "before"
honest
same "half-open connections" "$(half_open)" 0
before=$(active_objects)
on client curl -sS -m 200 "http://$VIP/slow/1m" -o undisturbed &
download=$!

step "a flood, clients that are served meanwhile, and a download that goes on"
spawn flooder python3 flood.py $VIP $SYNS
flooder=$SPAWNED
most=0
while kill -0 $flooder 2>/dev/null; do
	honest
	now=$(half_open)
	[ "$now" -le $most ] || most=$now
done
wait $flooder || fail "the flooder"
echo "  $honest honest requests while it lasted; most half-open connections seen: $most"
# The queue of half-open connections is still full, and new ones come by cookies.
for ((i = 0; i < 10; i++)); do honest; done
sent=$(tcp_counter SyncookiesSent) got=$(tcp_counter SyncookiesRecv) failed=$(tcp_counter SyncookiesFailed)
echo "  cookies sent $sent, come back $got, wrong $failed; $honest honest requests, all answered"
[ "$sent" -ge $((SYNS / 4)) ] || fail "only $sent cookies were sent"
[ "$got" -ge 1 ] || fail "no client came by a cookie"
# Not more than the kernel's own bound, but for those that came on another processor just then.
[ "$most" -ge 1 ] && [ "$most" -le $((LIMIT + 8)) ] || fail "$most half-open connections"
# The switch knows of none of these: no element, no socket.
[ "$(stat_switch connections)" -le $((honest + 2)) ] || fail "$(stat_switch connections) elements"
wait $download || fail "the download was disturbed: curl says $?"
cmp undisturbed "$WWW/files/1m"

step "afterwards all is as before"
over() { [ "$(half_open)" = 0 ] && tables_empty; }
wait_for 120 over || fail "$(half_open) half-open connections are left"
honest
wait_for 60 tables_empty || fail "elements are left"
echo "  objects before: $(paste -sd ' ' <<<"$before"), after: $(active_objects | paste -sd ' ')"
same "sockets of the service" "$(on switch ss -Htan "sport = :80" | awk '$1 != "LISTEN" && $1 != "TIME-WAIT"' | wc -l)" 0
