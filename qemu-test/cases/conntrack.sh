# SPDX-License-Identifier: GPL-2.0
# Connection tracking at the switch, with a stateful packet filter: with the rules that docs/operation.md has it keeps nothing of
# a service's connections. Without, what had a socket of the switch's stays for minutes.
# run: --servers 1 --timeout 110
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe nf_conntrack
on switch nft -f - <<-NFT
	table ip guard {
		chain input {
			type filter hook input priority 0; policy drop;
			ct state established,related accept
			ip protocol 253 accept
			ip daddr $VIP tcp dport 80 accept
		}
	}
NFT
entries() { on switch grep -c 'dport=80 ' /proc/net/nf_conntrack || true; }
# Clients without time stamps need a socket until they are handed over.
requests() {
	local n
	for ((n = 0; n < 10; n++)); do same "a request" "$(fetch /1k)" "200 server1"; done
	on client sysctl -qw net.ipv4.tcp_timestamps=0
	for ((n = 0; n < 10; n++)); do same "a request without time stamps" "$(fetch /1k)" "200 server1"; done
	on client sysctl -qw net.ipv4.tcp_timestamps=1
}

step "all connections are tracked"
acquaint
requests
wait_for 30 tables_empty || true
[ "$(entries)" -ge 10 ] || fail "connection tracking knows of $(entries) connections; what is to be shown here needs some"

step "those of the service are not"
on switch nft -f - <<-NFT
	table ip thop {
		chain prerouting {
			type filter hook prerouting priority raw;
			ip daddr $VIP tcp dport 80 notrack
		}
		chain output {
			type filter hook output priority raw;
			ip saddr $VIP tcp sport 80 notrack
		}
	}
NFT
on switch conntrack -F 2>/dev/null || true
before=$(entries)
requests
same "entries of the service" "$(entries)" "$before"
