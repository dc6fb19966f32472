# SPDX-License-Identifier: GPL-2.0
# What a server's kernel knows of the way to the client when it accepts a connection: what the handshake took, as if it had been
# with the server, and nothing that is not so.
# run: --servers 1 --timeout 600 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

spawn server1 python3 "$TOOLS/handshake.py" 8000
wait_for 30 eval 'on server1 ss -Htln "sport = :8000" | grep -q .'
{
	default_configuration
	echo "pool told check-interval off"
	echo "server s1 pool told address $SERVER1:8000"
	echo "service told address $VIP:8000 pool told"
} >configuration

cat >told.py <<'PY'
from wide import *

ms, good = int(sys.argv[1]), True

# told(TO, PAUSE, PIECES): RTT, MIN_RTT, RTO of a connection whose request comes after a pause, in so many pieces.
def told(to, pause=0, pieces=1):
    with Client((to, 8000)) as c:
        time.sleep(pause)
        data = request("/")
        for at in range(pieces):
            c.send(data[at * len(data) // pieces:(at + 1) * len(data) // pieces])
            time.sleep(0.01)
        return [float(word) for word in c.answer().body.split()]

for what, how in (("at once", {}), ("after 5 s", {"pause": 5}), ("in two pieces", {"pieces": 2})):
    told(VIP, **how)
    for _ in range(2):
        direct, service = told(DIRECT[0], **how), told(VIP, **how)
        # A tick of the server's clock more or less, and one of a client's time stamps.
        right = all(ms * 0.95 - 4 <= value <= ms * 1.1 + 8 for value in service[:2])
        # After a pause a cookie does not tell any more how long its echo took. Then nothing is known, which is no lie.
        unknown = what == "after 5 s" and service[:2] == [0, 0] and service[2] >= 1000
        near = abs(service[2] - direct[2]) <= 0.1 * direct[2] + 24
        verdict = "" if right and near else " (not known)" if unknown else " <- WRONG"
        good = good and (right and near or unknown)
        print(f"  {ms} ms, request {what}: RTT, least, RTO directly {direct}, by the service {service}{verdict}", flush=True)
sys.exit(not good)
PY

bad=
for mode in 1 0; do
	reload_switch first_segment=$mode
	for stamps in 1 0; do
		step "first_segment=$mode, tcp_timestamps=$stamps at the client"
		on client sysctl -qw net.ipv4.tcp_timestamps=$stamps
		for ms in 20 100 250; do
			line $ms
			on client python3 told.py $ms || bad+=" first_segment=$mode,timestamps=$stamps,$ms"
		done
	done
done
[ -z "$bad" ] || fail "the server is told something else than directly:$bad"
