# SPDX-License-Identifier: GPL-2.0
# What the cases have in common. Sourced by them.

export PYTHONPATH=$TOOLS PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# step TEXT: what is tried next, and how long all before it took.
STEP_BEGAN=$SECONDS
step() { echo "- [$((SECONDS - STEP_BEGAN)) s] $*"; }

# fetch PATH [CURL_ARGUMENT]...: a request on a connection of its own. Prints `STATUS X-SERVER`.
fetch() {
	local path=$1
	shift
	on client curl -sS -o /dev/null -m 40 -w '%{http_code} %header{x-server}\n' "$@" "http://$VIP$path"
}

# py NODE [ARGUMENT]... <PROGRAM: runs a Python program on a node.
py() {
	local node=$1
	shift
	on "$node" python3 - "$@"
}

# spawn NODE COMMAND...: runs it in the background; SPAWNED is the process id of the command itself,
# and killing it is enough. Its standard input is ours.
spawn() {
	# Not the function `on`, of which only a shell around the command could be killed.
	(exec on "$@") <&0 &
	SPAWNED=$!
}

# unchecked <CONFIGURATION: the same without health checks, for steps in which a server fails: it shall
# be a request that finds out, and not the load monitor before it.
unchecked() { sed 's/^pool .*/& check-interval off/'; }

# rows NODE FILE: how many lines a table of /proc/net has without the line of titles.
rows() { on "$1" awk 'NR > 1' "/proc/net/$2" | wc -l; }

# log_lines PATTERN: how many lines of all servers' access logs match (basic regular expression).
log_lines() { cat "$LOGDIR"/server*.access.log 2>/dev/null | grep -c "$1" || true; }

# drop NODE in|out MATCH: drops packets that match (nftables) at the node's network card, before
# anything in the node's kernel sees them, or after; undrop NODE: no longer any.
drop() {
	local node=$1 hook=ingress
	[ "$2" = in ] || hook=egress
	on "$node" nft -f - <<-NFT
		table netdev test_$hook {
			chain c {
				type filter hook $hook device "eth0" priority -400;
				$3 counter drop
			}
		}
	NFT
}
undrop() {
	on "$1" nft -f - <<-NFT
		table netdev test_ingress
		delete table netdev test_ingress
		table netdev test_egress
		delete table netdev test_egress
	NFT
}

# shield FIRST-LAST: the client's kernel neither sees nor answers what comes to these ports: they
# belong to raw_tcp.py.
shield() {
	on client nft -f - <<-NFT
		table ip shield {
			chain c {
				type filter hook prerouting priority -400;
				tcp dport $1 drop
			}
		}
	NFT
}

# tables_empty: no connection is known to switch and servers any more.
tables_empty() {
	local n
	[ "$(rows switch thop_switch/connections)" = 0 ] || return
	for ((n = 1; n <= SERVERS; n++)); do
		[ "$(rows "server$n" thop_server/connections)" = 0 ] || return
	done
}

# active_objects: objects in use in our slab caches, `name count` a line.
active_objects() { awk '$1 ~ /^thop/ { print $1, $2 }' /proc/slabinfo; }

# pool_of SERVER...: a configuration with these servers (numbers) in one pool.
pool_of() {
	local n
	echo 'pool web'
	for n; do
		echo "server s$n pool web address $(address "server$n"):80"
	done
	echo "service web address $VIP:80 pool web"
}
