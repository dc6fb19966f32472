# SPDX-License-Identifier: GPL-2.0
# What a test script can use. Sourced for it, and for every bash it starts, inside the virtual machine.
#
# Network: every node is a network namespace with one interface, eth0. All are on one wire, a bridge
# in the namespace `wire`, whose ports bear the nodes' names.
#
#   client   $CLIENT     server1  $SERVER1     ...
#   switch   $SWITCH     and $VIP, on its loopback interface
#
#   $SERVERS   how many servers        $NODES     the names of all nodes
#   $WWW/files what every server serves: 0 1k 100k 1m 100m (that many bytes)
#   $WWW/serverN/upload  what PUT /upload/NAME left on server N
#   $LOGDIR/serverN.{access,error}.log   $MODULES  folder of the modules, empty with --no-modules
#   $WITH      what --with said                  $CONDITIONS  what --conditions said
#   $TOOLS     a copy of qemu-test/tools       $SLOW      how many times slower the kernel is than the stock one
# The working directory is an empty tmpfs.

VIP=10.0.0.100
CLIENT=10.0.0.1
SWITCH=10.0.0.10
NODES='client switch'
for ((i = 1; i <= ${SERVERS:-0}; i++)); do
	printf -v "SERVER$i" %s "10.0.0.$((10 + i))"
	NODES+=" server$i"
done
unset i
WWW=/run/thop-www
LOGDIR=/run/thop-log
TOOLS=/run/thop/tools
WITH=/run/thop/with
# A script that takes one of these for a name of its own changes what the functions here mean by it: with another SLOW,
# wait_for never ends. Only the machine's init sources this more than once.
[ $$ = 1 ] || readonly VIP CLIENT SWITCH NODES SERVERS SLOW WWW LOGDIR TOOLS WITH

# on NODE COMMAND...: runs a command (not a shell function) on a node.
on() {
	local node=$1
	shift
	ip netns exec "$node" "$@"
}

# fail MESSAGE: the test has failed.
fail() {
	echo "FAIL: $* (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]})" >&2
	exit 1
}

# same WHAT GOT WANTED: fails unless both are the same text.
same() {
	[ "$2" = "$3" ] || {
		echo "FAIL: $1: got '$2', wanted '$3' (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]})" >&2
		exit 1
	}
}

# kernel_memory: what the kernel uses for small objects and for tables, octets.
kernel_memory() { awk '/^(Slab|VmallocUsed|Percpu):/ { sum += $2 } END { print sum * 1024 }' /proc/meminfo; }

# skip MESSAGE: this cannot be tried here.
skip() {
	echo "skipped: $*"
	exit 77
}

# wait_for SECONDS COMMAND...: until the command succeeds; its output is dropped. Fails after that time,
# on a debug kernel after four times that.
wait_for() {
	local end=$((${EPOCHREALTIME/./} + $1 * SLOW * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "${EPOCHREALTIME/./}" -ge $end ]; then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		sleep 0.05
	done
}

# address NODE, mac NODE: of its eth0.
address() {
	local name=${1^^}
	echo "${!name}"
}
mac() { on "$1" cat /sys/class/net/eth0/address; }

# --- modules -----------------------------------------------------------------------------------

# load_modules [SWITCH_ARGS [SERVER_ARGS]]: default: what --switch-args and --server-args say. Unless
# that is insecure=1, a module gets a key in every node.
load_modules() {
	load_switch "$@" && load_server "${2-$SERVER_ARGS}"
}
load_switch() { load_with_key switch "$(with_defaults "${1-$SWITCH_ARGS}")"; }
load_server() { load_with_key server "${1-$SERVER_ARGS}"; }
load_with_key() {
	local n
	# shellcheck disable=SC2086
	insmod "$MODULES/thop-$1.ko" $2 || return
	case " $2 " in *' insecure=1 '*) return ;; esac
	for ((n = 0; n <= SERVERS; n++)); do
		key | authorise "$([ $n = 0 ] && echo switch || echo "server$n")" "thop_$1" || return
	done
}

# with_defaults ARGS: these, and what --switch-defaults says of others. No parameter may be given twice.
with_defaults() {
	local args=$1 default
	for default in $SWITCH_DEFAULTS; do
		case " $1 " in *" ${default%%=*}="*) ;; *) args+=" $default" ;; esac
	done
	echo "$args"
}

# authorise NODE MODULE <TEXT: gives a module a text of keys and networks.
authorise() { on "$1" dd bs=64k iflag=fullblock status=none of="/proc/net/$2/auth"; }

# The key of this machine's nodes, as such a text.
key() {
	[ -s /run/key ] || random_key 1 >/run/key
	cat /run/key
}
# random_key ID: a new one.
random_key() { echo "key $1 $(od -vAn -N32 -tx1 /dev/urandom | tr -d ' \n')"; }

loaded() { [ -d "/sys/module/$1" ]; }

# unload_module NAME [SECONDS]: it may be busy for a while, as long as connections live.
unload_module() {
	local end=$((${EPOCHREALTIME/./} + ${2:-30} * SLOW * 1000000)) answer
	while loaded "$1"; do
		answer=$(timeout $((60 * SLOW)) rmmod "$1" 2>&1) && return
		if [ "${EPOCHREALTIME/./}" -ge $end ]; then
			echo "rmmod $1: ${answer:-hangs}; used by $(cat "/sys/module/$1/refcnt") after ${2:-30} s" >&2
			return 1
		fi
		sleep 0.1
	done
}

unload_modules() {
	local status=0
	unload_module thop_switch || status=1
	unload_module thop_server || status=1
	return $status
}

# configure [NODE] <TEXT: gives the switch (or the switch on NODE) a configuration.
# When it is refused, says why and fails.
configure() {
	# One write is one configuration, so not cat, which writes what it gets as it comes.
	on "${1:-switch}" sh -c '
		dd bs=2M iflag=fullblock conv=notrunc status=none of=/proc/net/thop_switch/config 2>/dev/null && exit
		cat /proc/net/thop_switch/config_error >&2
		exit 1'
}

# The configuration that a script finds: all servers in one pool.
default_configuration() {
	local n
	echo 'pool web policy rr'
	for ((n = 1; n <= SERVERS; n++)); do
		echo "server s$n pool web address $(address server$n):80"
	done
	echo "service web address $VIP:80 pool web"
}

# stat_of FILE NAME: the value in a line `NAME value` of standard input.
stat_of() {
	awk -v name="$2" '$1 == name { print $2; found = 1 } END { exit !found }' ||
		{ echo "no counter $2 in $1" >&2; return 1; }
}
# stat_switch NAME, stat_server N NAME: a counter.
stat_switch() { on switch cat /proc/net/thop_switch/stats | stat_of thop_switch/stats "$1"; }
stat_server() { on "server$1" cat /proc/net/thop_server/stats | stat_of "server$1: thop_server/stats" "$2"; }

# --- Web servers -------------------------------------------------------------------------------

# start_nginx N [LISTEN]...: the stock nginx on server N, on port 80 or as the arguments, each of which
# is what follows `listen`, say: start_nginx 1 "8080 reuseport". NGINX_WORKERS: how many (1).
# NGINX_SERVER: directives for its server block besides, those of TLS for one.
# It serves
#   GET  /0 /1k /100k /1m /100m
#   GET  /slow/...       the same at 100 KB/s for each connection
#   GET  /who            a line: server name, address, port, client address, port
#   GET  /any/...        /who below any path; for routes
#   PUT  /upload/NAME    into $WWW/serverN/upload/NAME
#   POST /post           reads the body, answers `received LENGTH`
# and says X-Server: serverN always.
start_nginx() {
	local n=$1 dir=$WWW/server$1 listen='' l
	shift
	[ $# -gt 0 ] || set -- 80
	for l; do listen+="listen $l; "; done
	mkdir -p "$dir/upload" "$dir/tmp" "$LOGDIR"
	cat >"$dir/nginx.conf" <<-CONF
		user root;
		worker_processes ${NGINX_WORKERS:-1};
		worker_rlimit_nofile 65536;
		pid $dir/nginx.pid;
		error_log $LOGDIR/server$n.error.log;
		events { worker_connections 32768; }
		http {
			log_format thop '\$msec \$remote_addr:\$remote_port "\$request" \$status \$body_bytes_sent'
				' in=\$request_length conn=\$connection req=\$connection_requests ' '"\$host"';
			access_log $LOGDIR/server$n.access.log thop;
			client_body_temp_path $dir/tmp/body;
			proxy_temp_path $dir/tmp/proxy;
			fastcgi_temp_path $dir/tmp/fastcgi;
			uwsgi_temp_path $dir/tmp/uwsgi;
			scgi_temp_path $dir/tmp/scgi;
			default_type application/octet-stream;
			sendfile on;
			tcp_nopush on;
			keepalive_requests 100000;
			client_max_body_size 0;
			large_client_header_buffers 8 64k;
			add_header X-Server server$n always;
			server {
				$listen
				${NGINX_SERVER:-}
				root $WWW/files;
				location /slow/ {
					alias $WWW/files/;
					limit_rate 100k;
				}
				location /upload/ {
					root $dir;
					dav_methods PUT;
				}
				# A server that answers without reading would leave the body to chance, so
				# this one is read whole here, and only then asked for elsewhere, without it.
				location /post {
					proxy_method GET;
					proxy_pass_request_body off;
					proxy_set_header Content-Length "";
					proxy_set_header X-Received \$content_length;
					proxy_pass http://unix:$dir/post.sock:/;
				}
				location = /who { return 200 "server$n \$server_addr \$server_port \$remote_addr \$remote_port\\n"; }
				location /any/ { return 200 "server$n \$host \$request_uri\\n"; }
			}
			server {
				listen unix:$dir/post.sock;
				access_log off;
				location / { return 200 "received \$http_x_received\\n"; }
			}
		}
	CONF
	on "server$n" nginx -e "$LOGDIR/server$n.error.log" -c "$dir/nginx.conf"
}

# stop_nginx N: at once; its connections are closed by the kernel.
stop_nginx() {
	local file=$WWW/server$1/nginx.pid pid
	pid=$(cat "$file" 2>/dev/null) || return 0
	kill -TERM "$pid" 2>/dev/null
	wait_for 10 test ! -e "$file"
	rm -f "$WWW/server$1/post.sock"
}

# --- the wire ----------------------------------------------------------------------------------

# netem NODE [in|out] PARAMETERS...: disturbs what a node receives, sends, or both:
#   netem client delay 50ms loss 5%; netem server1 in duplicate 5%; netem client off
netem() {
	local node=$1 way=both
	shift
	case $1 in in | out)
		way=$1
		shift
		;;
	esac
	if [ $way != in ]; then
		netem_port "$node" eth0 "$@" || return
	fi
	if [ $way != out ]; then
		netem_port wire "$node" "$@" || return
	fi
}
netem_port() {
	local ns=$1 dev=$2
	shift 2
	if [ "$1" = off ]; then
		tc -n "$ns" qdisc del dev "$dev" root 2>/dev/null || true
	else
		# The default queue of 1000 packets would itself lose some behind a long delay.
		tc -n "$ns" qdisc replace dev "$dev" root netem limit 20000 "$@"
	fi
}

# add_node NAME ADDRESS: one more node on the wire.
add_node() {
	ip netns add "$1"
	ip -n wire link add "$1" type veth peer name eth0 netns "$1"
	ip -n wire link set "$1" master wire up
	ip -n "$1" link set lo up
	ip -n "$1" link set eth0 up
	ip -n "$1" address add "$2/24" dev eth0
}

# unplug NODE, plug NODE: takes a node off the wire and back.
unplug() { ip -n wire link set "$1" down; }
plug() { ip -n wire link set "$1" up; }

# --- conditions --------------------------------------------------------------------------------

# A file of qemu-test/conditions says in what surroundings scripts run that know nothing of them. It is sourced after this one,
# by the script's shells, too, and may have any of these functions, which the machine's init calls:
#   conditions_network   when nodes and wire are there, but neither modules nor Web servers
#   conditions_ready     when all is up, before the script
#   conditions_over      after it: undoes what does not end with the nodes' namespaces
# One that fails, fails the script. Its lines among the first twenty: `# run:` has options for qemu-test/run, where neither
# the command line nor the script says otherwise; `# times: N`, scripts may take N times as long as they say.
# `# cases:`, `# folder:` and `# not CASE:` are for qemu-test/suite.

# condition WORD DEFAULT: the value that --conditions gave to a word.
condition() {
	local word
	# shellcheck disable=SC2086
	for word in ${CONDITIONS#* }; do
		[ "${word%%=*}" != "$1" ] || { echo "${word#*=}"; return; }
	done
	echo "$2"
}

under_conditions() { ! declare -F "conditions_$1" >/dev/null || "conditions_$1"; }

[ -z "${CONDITIONS:-}" ] || . "/run/thop/conditions/${CONDITIONS%% *}.sh"

# --- for the harness ---------------------------------------------------------------------------

nodes_up() {
	local n node status=0
	mkdir -p "$WWW" "$LOGDIR"
	# On the host's share. What is used stays in the page cache: copying 100 MB costs every script
	# two seconds, and few need them.
	ln -s /run/thop/www "$WWW/files"
	for node in wire $NODES; do
		echo "netns add $node"
		# With an identifier, so that one sees whether it is gone when it has been deleted.
		echo "netns set $node auto"
	done | ip -batch - || return
	{
		echo "link add wire type bridge forward_delay 0 mcast_snooping 0"
		echo "link set wire up"
		n=0
		for node in $NODES; do
			printf -v n %02x $((0x$n + 1))
			echo "link add $node type veth peer name eth0 address 02:00:00:00:00:$n netns $node"
			echo "link set $node master wire up"
		done
	} | ip -n wire -batch - || return
	for node in $NODES; do
		{
			echo "link set lo up"
			echo "link set eth0 up"
			echo "address add $(address "$node")/24 dev eth0"
			[ "$node" != switch ] || echo "address add $VIP/32 dev lo"
		} | ip -n "$node" -batch - || return
	done
	under_conditions network || return
	if [ -n "$MODULES" ]; then
		load_modules || return
	fi
	local pids=()
	for ((n = 1; n <= SERVERS; n++)); do
		start_nginx "$n" &
		pids+=($!)
	done
	for n in "${pids[@]}"; do
		wait "$n" || status=1
	done
	# Last: servers that nobody listens on would be found DOWN.
	if [ -n "$MODULES" ]; then
		default_configuration | configure || return
	fi
	under_conditions ready || return
	return $status
}

nodes_down() {
	local node
	# All that there are: a script may have made some besides.
	for node in /run/netns/*; do
		[ -e "$node" ] || continue
		# Sockets that outlive their processes, in FIN-WAIT say, keep the namespace for minutes.
		ip netns exec "${node##*/}" ss -KHtn state connected >/dev/null 2>&1
		echo "netns del ${node##*/}"
	done | ip -force -batch -
}

# What one wants to know when a script has failed.
diagnose() {
	local n
	if loaded thop_switch; then
		echo '--- switch: counters that are not zero'
		on switch awk '$2 != 0' /proc/net/thop_switch/stats | paste -sd ' ' | fold -sw 110
		echo '--- switch: connections'
		on switch head -n 20 /proc/net/thop_switch/connections
	fi
	for ((n = 1; n <= SERVERS; n++)); do
		if loaded thop_server; then
			echo "--- server$n: counters that are not zero"
			on "server$n" awk '$2 != 0' /proc/net/thop_server/stats | paste -sd ' ' | fold -sw 110
		fi
		if [ -s "$LOGDIR/server$n.error.log" ]; then
			echo "--- server$n: nginx says"
			tail -n 5 "$LOGDIR/server$n.error.log"
		fi
	done
	echo '--- kernel log, the end'
	kernel_log "$mark" | tail -n 15
}
