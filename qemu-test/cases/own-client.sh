# SPDX-License-Identifier: GPL-2.0
# The switch is a client of its own service, for which it must accept its own address as a source; and so is a server.
# run: --servers 2 --timeout 120
set -euo pipefail
. "$TOOLS/helpers.sh"

# ask NODE PATH [CURL_ARGUMENT]...: prints the status, and how many octets came.
ask() {
	local node=$1 path=$2
	shift 2
	on "$node" curl -sS -m 5 -o /dev/null -w '%{http_code} %{size_download}\n' "$@" "http://$VIP$path" 2>/dev/null || true
}

step "a server, by itself and by another"
for ((n = 0; n < 4; n++)); do same "from server 1" "$(ask server1 /1m)" "200 1048576"; done

step "the switch, which takes answers from its own address for martians"
same "without accept_local" "$(ask switch /1k)" "000 0"

step "with accept_local=1 for the device that they come by"
on switch sysctl -qw net.ipv4.conf.eth0.accept_local=1
for ((n = 0; n < 4; n++)); do
	same "from the virtual address" "$(ask switch /1m)" "200 1048576"
	same "from its own" "$(ask switch /1m --interface $SWITCH)" "200 1048576"
	same "PUT" "$(ask switch /upload/own -T "$WWW/files/100k" | cut -c1-2)" 20
done
