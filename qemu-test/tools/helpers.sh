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

# acquaint: requests for all servers of the configuration. One that has not told its clock yet is asked for it
# before it gets a CREATE that counts.
acquaint() {
	local n
	for ((n = 0; n < 2 * SERVERS; n++)); do fetch /1k >/dev/null; done
}

# rows NODE FILE: how many lines a table of /proc/net has without the line of titles.
rows() { on "$1" awk 'NR > 1' "/proc/net/$2" | wc -l; }

# server_is POOL/SERVER COLUMN...: columns of the switch's table of servers, by their titles. The reason
# is all that is left of the line.
server_is() {
	on switch awk -v name="$1" -v titles="${*:2}" '
		NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
		$1 "/" $2 == name {
			for (i = column["reason"] + 1; i <= NF; i++) $column["reason"] = $column["reason"] " " $i
			n = split(titles, title)
			for (i = 1; i <= n; i++) {
				if (!column[title[i]]) exit 1
				value = value (i > 1 ? " " : "") $column[title[i]]
			}
			print value
			found = 1
		}
		END { exit !found }' /proc/net/thop_switch/servers ||
		{ echo "no ${*:2} of server $1" >&2; return 1; }
}

# wait_state POOL/SERVER PATTERN: until its state and reason are so.
state_of() { server_is "$1" state reason; }
wait_state() {
	local state end=$((${EPOCHREALTIME/./} + 20000000))
	# shellcheck disable=SC2053 # It is a pattern.
	until state=$(state_of "$1"); [[ $state == $2 ]]; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || fail "server $1 is '$state', not '$2'"
		sleep 0.05
	done
}

# all_up: until all servers are up, in the pool of the default configuration.
all_up() {
	local n
	for ((n = 1; n <= SERVERS; n++)); do wait_state web/s$n "UP answers*"; done
}

# pool_is POOL COLUMN: a column of the switch's table of pools, by its title.
pool_is() {
	on switch awk -v name="$1" -v title="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == title) column = i }
		NR > 1 && $1 == name { print $column; found = column }
		END { exit !found }' /proc/net/thop_switch/pools ||
		{ echo "no $2 of pool $1" >&2; return 1; }
}

# order LINES: an operator's orders, with one write.
order() { on switch sh -c 'echo "$1" >/proc/net/thop_switch/servers' sh "$1"; }

# who COUNT: who answers so many requests, one after the other: `COUNT STATUS SERVER` a line.
who() {
	on client python3 - "$1" <<-'PY'
		import collections
		from http_client import *

		def turn():
		    with Client() as c:
		        c.send(request("/1k", headers=["Connection: close"]))
		        answer = c.answer(status=None)
		        return f"{answer.status} {answer.server or '-'}"

		for what, count in sorted(collections.Counter(turn() for _ in range(int(sys.argv[1]))).items()):
		    print(count, what)
	PY
}

# same_who COUNT WANTED: the same, with commas between.
same_who() { same "servers that answer" "$(who "$1" | paste -sd,)" "$2"; }

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

# messages_suffer NODE ADDRESS NETEM...: what a node's THOP messages to an address (or to all: any) suffer on their way out, and
# nothing else that it sends; `messages_suffer NODE off`.
messages_suffer() {
	local node=$1 to=$2
	shift 2
	tc -n "$node" qdisc del dev eth0 root 2>/dev/null || true
	[ "$to" != off ] || return 0
	[ "$to" != any ] || to=0.0.0.0/0
	tc -n "$node" qdisc add dev eth0 root handle 1: prio
	tc -n "$node" qdisc add dev eth0 parent 1:1 netem limit 20000 "$@"
	tc -n "$node" qdisc add dev eth0 parent 1:2 pfifo limit 1000
	tc -n "$node" filter add dev eth0 parent 1: protocol ip prio 1 u32 match ip protocol 253 0xff match ip dst "$to" flowid 1:1
	tc -n "$node" filter add dev eth0 parent 1: protocol all prio 2 u32 match u32 0 0 flowid 1:2
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

# pool_with OPTIONS [SERVER_OPTIONS]: configures the switch: all servers in one pool.
pool_with() { default_configuration | sed "s/^pool web.*/pool web $1/; s/^server.*/& ${2:-}/" | configure; }
