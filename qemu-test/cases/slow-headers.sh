# SPDX-License-Identifier: GPL-2.0
# More than a thousand clients that send their request's head an octet at a time and never finish it:
# each is told so when its time is over, or when there are too many; others are served meanwhile; and
# all that they took is freed.
# run: --timeout 600 --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

# All of them are one process.
ulimit -n 8192
CRAWLING=1200
MANY=1000
MOST=200
HONEST=5

{
	default_configuration
	echo "service slow address $VIP:81 pool web head-timeout 30s"
	echo "service small address $VIP:82 pool web head-timeout 60m clients $MOST"
} | configure

cat >slow.py <<'PY'
# COUNT clients of PORT send an octet each, in turn, until all but KEEP have been answered, of which up to
# HONEST may go for honest clients. Prints how often which status came. With KEEP it then waits to be killed.
import collections, selectors
from http_client import *

port, count, keep, honest = (int(a) for a in sys.argv[1:])
head = b"GET /1k HTTP/1.1\r\nHost: test\r\nX-Slow: "
selector = selectors.DefaultSelector()
answers, left, statuses = {}, [], collections.Counter()

def look(seconds):
    """Reads what has come."""
    for key, _ in selector.select(seconds):
        s = key.fileobj
        try:
            data = s.recv(4096)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            data = b""
        answers[s] += data
        if not data:
            selector.unregister(s)
            left.remove(s)
            statuses[answers[s][9:12].decode() or "none"] += 1
            s.close()

for n in range(count):
    s = socket.create_connection((VIP, port), timeout=60)
    s.setblocking(False)
    answers[s] = b""
    left.append(s)
    selector.register(s, selectors.EVENT_READ)
    look(0)
print("open", flush=True)
at = 0
while len(left) > keep:
    for s in list(left):
        try:
            s.send(head[at:at + 1] or b"x")
        except (BrokenPipeError, ConnectionResetError, BlockingIOError, OSError):
            # What it has been told comes with the next look.
            pass
    at += 1
    look(0.2)
print("answers", *(f"{status}:{n}" for status, n in sorted(statuses.items())), flush=True)
if keep:
    # Nobody else may go, but one for each honest client at most.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        look(0.5)
    check(keep - honest <= len(left) <= keep, f"{len(left)} clients are left, of {keep}")
    print("kept", flush=True)
    time.sleep(1000)
PY

# at_port PORT: the switch's sockets of that service, but those that TCP keeps for a minute.
at_port() { on switch ss -Htan "sport = :$1" | awk '$1 != "LISTEN" && $1 != "TIME-WAIT"' | wc -l; }
# said FILE WORD: the line of the slow clients that begins with it.
said() { grep -q "^$2" "$1"; }

step "$CRAWLING clients that are too slow, each told so after head-timeout; others are served meanwhile"
spawn client python3 slow.py 81 $CRAWLING 0 0 >first
first=$SPAWNED
honest=0 most=0
while kill -0 $first 2>/dev/null; do
	same "an honest client of the same service" "$(fetch :81/1k | cut -c1-3)" 200
	honest=$((honest + 1))
	now=$(at_port 81)
	[ "$now" -le $most ] || most=$now
done
wait $first || { cat first; fail "the slow clients"; }
grep answers first
echo "  $honest honest requests meanwhile; most sockets seen: $most"
same "answers" "$(grep answers first)" "answers 408:$CRAWLING"
same "counter" "$(stat_switch answered_408)" $CRAWLING
same "crowded out" "$(stat_switch crowded_out)" 0
none_left() { [ "$(at_port "$1")" = 0 ]; }
wait_for 60 none_left 81 || fail "$(at_port 81) sockets are left"

step "$MANY clients where $MOST may be: the oldest go, and a new one is served"
spawn client python3 slow.py 82 $MANY $MOST $HONEST >second
second=$SPAWNED
for ((n = 0; n < HONEST; n++)); do
	same "an honest client of the same service" "$(fetch :82/1k | cut -c1-3)" 200
done
wait_for 200 said second kept || { cat second; fail "not $MOST clients are left"; }
grep answers second
answers=$(sed -n "s/^answers //p" second)
case $answers in 408:[0-9]*) got=${answers#408:} ;; *) fail "answers: $answers" ;; esac
[ "$got" -ge $((MANY - MOST)) ] && [ "$got" -le $((MANY - MOST + HONEST)) ] || fail "$got were told to go"
# Every one of ours, and maybe one for each honest one.
gone=$(stat_switch crowded_out)
[ "$gone" -ge $((MANY - MOST)) ] && [ "$gone" -le $((MANY - MOST + HONEST)) ] || fail "crowded out: $gone"
[ "$(at_port 82)" -le $((MOST + HONEST)) ] || fail "$(at_port 82) sockets"

step "while as many wait as may, a client that is quick is served; and all is freed"
same "an honest client" "$(fetch :82/1k | cut -c1-3)" 200
kill $second
wait $second || true
wait_for 60 none_left 82 || fail "$(at_port 82) sockets are left"
wait_for 60 tables_empty || fail "elements are left"
