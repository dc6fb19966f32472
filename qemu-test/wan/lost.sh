# SPDX-License-Identifier: GPL-2.0
# The only segment of a small response is lost: it comes again as soon as it would directly.
# run: --servers 1 --timeout 600 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

default_configuration >configuration
# The first segment with data that comes to each port of the client.
on client nft -f - <<-NFT
	table netdev once {
		set seen { type inet_service; flags dynamic, timeout; timeout 10m; }
		chain c {
			type filter hook ingress device "eth0" priority -400;
			tcp sport 80 ip length > 500 tcp dport != @seen add @seen { tcp dport } counter drop
		}
	}
NFT
cat >lost.py <<'PY'
from wide import *

body = file("1k")
ports = iter(range(int(sys.argv[2]), int(sys.argv[2]) + 100))

def get(to):
    with Client(to, source=os.environ["CLIENT"], port=next(ports)) as c:
        check(c.ask("/1k").body == body, "/1k differs")

sys.exit(not beside(f"{sys.argv[1]} ms", get, 5, 1.1, 0.025, nodes=()))
PY

bad=
port=20000
for mode in 1 0; do
	reload_switch first_segment=$mode
	for stamps in 1 0; do
		step "first_segment=$mode, tcp_timestamps=$stamps at the client"
		on client sysctl -qw net.ipv4.tcp_timestamps=$stamps
		for ms in 40 150; do
			line $ms
			on client python3 lost.py $ms $port || bad+=" first_segment=$mode,timestamps=$stamps,$ms"
			port=$((port + 100))
		done
	done
done
lost=$(on client nft list table netdev once | sed -nE 's/.*counter packets ([0-9]+).*/\1/p')
same "segments lost" "$lost" 96
[ -z "$bad" ] || fail "repeated later than directly:$bad"
