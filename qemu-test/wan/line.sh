# SPDX-License-Identifier: GPL-2.0
# The conditions themselves: the client is as far away, and loses as much, as the other cases take for granted.
# run: --no-modules --servers 1 --timeout 300 --own-time --conditions wan
set -euo pipefail
. "$TOOLS/helpers.sh"

step "round trip and loss"
on client ping -q -c 1000 -i 0.002 -W 2 "$SERVER1" >ping || true
lost=$(sed -nE 's/.* ([0-9.]+)% packet loss.*/\1/p' ping)
# Each way loses one in 200.
awk -v lost="$lost" 'BEGIN { exit !(lost > 0.1 && lost < 3) }' || fail "of 1000 packets $lost % were lost"
read -r least mean most <<<"$(sed -nE 's,^rtt .* = ([0-9.]+)/([0-9.]+)/([0-9.]+)/.*,\1 \2 \3,p' ping)"
awk -v least="$least" -v mean="$mean" -v most="$most" \
	'BEGIN { exit !(least < mean - 2 && mean > 76 && mean < 90 && most > mean + 2) }' || fail "round trips from $least to $most ms, mean $mean"

step "1 MB takes as long as its octets do at 10 Mbit/s, or longer"
seconds=$(on client curl -sS -o /dev/null -w '%{time_total}' "http://$SERVER1/1m")
awk -v t="$seconds" 'BEGIN { exit !(t > 0.84) }' || fail "1 MB took $seconds s"
same "congestion control" "$(on server1 sysctl -n net.ipv4.tcp_congestion_control)" "$(condition congestion cubic)"
