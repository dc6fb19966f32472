# SPDX-License-Identifier: GPL-2.0
# Far clients get no segment twice: where nothing is lost, a server sends nothing again and probes for nothing that it would not
# probe for if the client had connected to it directly.
# run: --servers 1 --timeout 900 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

default_configuration >configuration
cat >flights.py <<'PY'
from wide import *

ms, good = int(sys.argv[1]), True

def get(path, pause=0):
    body = file(path[1:])
    def exchange(to):
        with Client(to) as c:
            time.sleep(pause)
            check(c.ask(path).body == body, f"{path} differs")
    return exchange

for what, exchange, times in (("1 KB", get("/1k"), 8), ("100 KB", get("/100k"), 4), ("1 KB, connected 5 s before", get("/1k", 5), 3)):
    good &= beside(f"{ms} ms, {what}", exchange, times)
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
			on client python3 flights.py $ms || bad+=" first_segment=$mode,timestamps=$stamps,$ms"
		done
	done
done
[ -z "$bad" ] || fail "more than directly:$bad"
