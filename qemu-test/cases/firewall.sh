# SPDX-License-Identifier: GPL-2.0
# With the firewall that most machines have: connection tracking, and nothing that it calls invalid.
set -euo pipefail
. "$TOOLS/helpers.sh"

for node in switch server1 server2 server3; do
	on $node nft -f - <<-NFT
		table ip firewall {
			chain input {
				type filter hook input priority 0; policy drop;
				ct state invalid counter drop
				ct state established,related accept
				ip protocol { icmp, 253 } accept
				tcp dport 80 ct state new accept
			}
			chain output {
				type filter hook output priority 0; policy drop;
				ct state invalid counter drop
				ct state established,related,new accept
			}
		}
	NFT
	on $node sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
done

step "requests, downloads, uploads"
for ((i = 0; i < 6; i++)); do fetch /1k; done | sort | uniq -c >turns
same "servers asked in six requests" "$(awk '{ print $1, $2, $3 }' turns | paste -sd,)" \
	"2 200 server1,2 200 server2,2 200 server3"
for ((i = 0; i < 3; i++)); do
	on client curl -sS -m 30 "http://$VIP/1m" | cmp - "$WWW/files/1m"
	same "PUT" "$(fetch "/upload/x$i" -T "$WWW/files/1m" | cut -c1-3)" 201
done

step "a port used again and again"
py client <<'PY'
from http_client import *

last = None
for n in range(9):
    answer = get("/1k", source=os.environ["CLIENT"], port=5555)
    check(answer.server != last, f"connection {n} went to {last} again")
    last = answer.server
for n in range(9):
    c = Client(source=os.environ["CLIENT"], port=5556)
    answer = c.ask("/1k")
    check(answer.server != last, f"connection {n} went to {last} again")
    last = answer.server
    c.reset()
PY

step "a connection that has been quiet, and one that half-closes"
py client <<'PY'
from http_client import *

with Client() as c:
    for n in range(3):
        check(c.ask("/100k").body == file("100k"), "differs")
        time.sleep(1)
with Client() as c:
    c.send(request("/1k"))
    c.half_close()
    check(c.answer().body == file("1k"), "half-closed: differs")
PY
