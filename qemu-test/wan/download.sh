# SPDX-License-Identifier: GPL-2.0
# A large download over a fast line that is long: it takes no longer than directly, whatever controls the server's congestion.
# run: --servers 1 --timeout 900 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

default_configuration >configuration
echo "  congestion control: $(on server1 sysctl -n net.ipv4.tcp_congestion_control)"
cat >download.py <<'PY'
from wide import *

OCTETS = 20_000_000
with open(f"{os.environ['WWW']}/files/100m", "rb") as f:
    wanted = f.read(OCTETS)

def get(to):
    with Client(to) as c:
        got = c.ask("/100m", headers=[f"Range: bytes=0-{OCTETS - 1}", "Connection: close"]).body
        check(got == wanted, "20 MB differ")

# How much the line's queue drops when it is full is chance, and so is what is sent again: time alone is compared.
sys.exit(not beside("20 MB", get, 3, 1.1, nodes=()))
PY

# As long a queue as the line holds.
line 50 rate 100mbit limit 900
bad=
for stamps in 1 0; do
	step "50 ms, 100 Mbit/s, tcp_timestamps=$stamps at the client"
	on client sysctl -qw net.ipv4.tcp_timestamps=$stamps
	on client python3 download.py || bad+=" timestamps=$stamps"
done
[ -z "$bad" ] || fail "slower than directly:$bad"
