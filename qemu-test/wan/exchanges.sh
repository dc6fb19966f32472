# SPDX-License-Identifier: GPL-2.0
# What clients do far away, in every kind of pieces: it takes as many round trips as directly, and no segment more in vain.
# run: --servers 1 --timeout 900 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

default_configuration >configuration
cat >exchanges.py <<'PY'
from wide import *

small, large = file("1k"), file("1m")
body = octets(1024)

def one(what, *pieces, wanted=None):
    """Sends pieces, one after the other, and checks what is answered to all of them."""
    def exchange(to):
        with Client(to) as c:
            for piece in pieces:
                c.send(piece)
            got = c.answer().body
            check(wanted is None or got == wanted, f"{what}: something else")
    return what, exchange

def keep(to):
    with Client(to) as c:
        for _ in range(8):
            check(c.ask("/1k").body == small, "keep-alive: something else")

def rest(to):
    """As browsers do: connected, then idle, then a request, and another after a pause."""
    with Client(to) as c:
        for _ in range(2):
            time.sleep(2)
            check(c.ask("/100k").body == large[:102400], "after a pause: something else")

long = ["Cookie: " + "c" * 2000]
get, post = request("/1k"), request("/post", "POST", body)
head = len(post) - len(body)
received = b"received 1024\n"
put = request("/upload/x", "PUT", large)
good = True
for what, exchange in (
    one("GET", get, wanted=small),
    one("a head of two segments", request("/1k", headers=long), wanted=small),
    one("a head in two pieces", get[:20], get[20:], wanted=small),
    one("POST, head and body at once", post, wanted=received),
    one("POST, first the head", post[:head], post[head:], wanted=received),
    one("PUT of 1 MB", put),
    one("PUT of 1 MB, first the head", put[:-len(large)], large),
    one("PUT of 1 MB with a head of two segments", request("/upload/x", "PUT", large, headers=long)),
    ("eight requests on a connection", keep),
    ("pauses", rest),
):
    good &= beside(what, exchange, 3)
sys.exit(not good)
PY

line 80 rate 10mbit limit 200
bad=
for mode in 1 0; do
	reload_switch first_segment=$mode
	for stamps in 1 0; do
		step "first_segment=$mode, tcp_timestamps=$stamps at the client"
		on client sysctl -qw net.ipv4.tcp_timestamps=$stamps
		on client python3 exchanges.py || bad+=" first_segment=$mode,timestamps=$stamps"
	done
done
[ -z "$bad" ] || fail "more than directly:$bad"
