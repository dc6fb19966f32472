# SPDX-License-Identifier: GPL-2.0
# What a request costs with CONTENDER. Each is on a connection of its own, to a real nginx.
#
# With one processor: the whole chain, and how long it takes; the machine has its own time, so that what
# the host does besides does not show. Runs differ by some percent, as hashes and addresses are drawn anew.
# With three: the switch. One is for the client, one for the switch and one for the server: whatever comes over a cable is
# received by the processor that it came to (receive packet steering), programs are bound to theirs, and what kernel
# threads do is put down to the switch's. They take turns, so that packets come in larger groups than they would.
# run: --servers 1 --cpus 3 --memory 4096 --timeout 7200
set -euo pipefail
. "$WITH/lib.sh"
ASKERS=$FRONT_CLIENT/32 IPVS_ARGS=

. "$WITH/web.conf"
# Whether to say where the functions are, that what each has executed can be told.
PROFILE=${PROFILE:-}

unload_modules
stop_nginx 1
cables
# Here everybody is real.
for node in client server1; do on $node nft delete table ip mute; done
answers_via $DIRECT_CLIENT

# alone: whether there is one processor only. Later this script has only one to run on.
PROCESSORS=$(nproc)
alone() { [ "$PROCESSORS" = 1 ]; }

# steer NODE DEVICE PROCESSOR
steer() { on "$1" sh -c "printf %x $((1 << $3)) >/sys/class/net/$2/queues/rx-0/rps_cpus"; }
FOR_CLIENT=() FOR_SWITCH=()
alone || {
	FOR_CLIENT=(taskset -c 0) FOR_SWITCH=(taskset -c 1)
	steer client front 0
	steer client direct 0
	steer switch front 1
	steer switch back 1
	steer server1 back 2
	steer server1 direct 2
	echo 2 >/sys/devices/virtual/workqueue/cpumask
}

by_client() { "${FOR_CLIENT[@]}" on client "$@"; }
by_switch() { "${FOR_SWITCH[@]}" on switch "$@"; }
start_server() {
	# What it starts inherits where it runs.
	alone || taskset -pc 2 $$ >/dev/null
	NGINX_SERVER='access_log off;' start_nginx 1
	alone || taskset -pc 0 $$ >/dev/null
}

# --- the contenders: NAME_begins; TO is where clients send to

direct_begins() { TO=$FAR_SERVER; }

# Keeps connections to the server, as its documentation has it (module ngx_http_upstream).
nginx_begins() {
	TO=$VIP
	mkdir -p proxy
	cat >proxy/nginx.conf <<-CONF
		user root;
		worker_processes 1;
		pid $PWD/proxy/nginx.pid;
		error_log stderr;
		events { worker_connections 4096; }
		http {
			access_log off;
			client_body_temp_path $PWD/proxy/body;
			proxy_temp_path $PWD/proxy/proxy;
			fastcgi_temp_path $PWD/proxy/fastcgi;
			uwsgi_temp_path $PWD/proxy/uwsgi;
			scgi_temp_path $PWD/proxy/scgi;
			client_max_body_size 0;
			upstream web {
				server $BACK_SERVER:80;
				keepalive 32;
			}
			server {
				listen $VIP:80;
				location / {
					proxy_pass http://web;
					proxy_http_version 1.1;
					proxy_set_header Connection "";
				}
			}
		}
	CONF
	by_switch nginx -e stderr -c "$PWD/proxy/nginx.conf"
}

# Connections to the server are shared (the default, http-reuse safe), large responses spliced.
haproxy_begins() {
	TO=$VIP
	cat >haproxy.cfg <<-CONF
		global
			nbthread 1
			maxconn 4096
		defaults
			mode http
			option splice-auto
			timeout connect 10s
			timeout client 600s
			timeout server 600s
			timeout http-keep-alive 60s
			http-reuse always
		frontend web
			bind $VIP:80
			default_backend web
		backend web
			server s $BACK_SERVER:80
	CONF
	by_switch haproxy -q -f haproxy.cfg &
	wait_for 600 eval 'on switch ss -Htln "sport = :80" | grep -q .'
}

thop_begins() {
	TO=$VIP
	load_modules "${1:-}"
	configure <<-END
		pool web
		server s pool web address $BACK_SERVER:80
		service web address $VIP:80 pool web
	END
}
# With a socket at the switch for every connection.
thop-sockets_begins() { thop_begins first_segment=0; }

# --- measuring

# No processor goes idle while it is measured: what that costs depends on how this machine is simulated. Each has a
# program that does nothing, and gives way to any other; its waiting does not count.
SPINNERS=()
occupy() {
	alone && return
	local n
	for n in 0 1 2; do
		chrt --idle 0 taskset -c $n "$WITH/traffic" spin &
		SPINNERS+=($!)
	done
}
release() {
	alone && return
	kill "${SPINNERS[@]}"
	wait "${SPINNERS[@]}" || true
	SPINNERS=()
}

# ask SIZE COUNT ARGUMENT...: COUNT requests, of which each moves SIZE octets.
ask() {
	local size=$1 count=$2 direction=$3 at_once=$4 times
	shift 4
	occupy
	times=$(by_client "$WITH/traffic" requests --service $TO --count "$count" --at-once "$at_once" "$@")
	release
	echo "measured $direction $CONTENDER $size $count $at_once $times"
}

ip -n server1 address add $FAR_SERVER/32 dev lo
# In memory: while a server waits for a file of the host's, the machine's own time would go on to the next tick.
mkdir files
for file in 1k 100k 1m 100m; do cp "$WWW/files/$file" files/; done
mount --bind files "$WWW/files"
start_server
"${CONTENDER}_begins"
ask 1024 "$REQUESTS" download 64 --path /1k --length 1024 --first 200
[ -z "$LARGE" ] || {
	ask 102400 100 download 4 --path /100k --length 102400 --first 8
	ask 1048576 100 download 4 --path /1m --length 1048576 --first 4
	ask 104857600 2 download 1 --path /100m --length 104857600 --first 1
	ask 1048576 100 upload 4 --path /upload/x --upload 1048576 --first 4
}
[ -z "$PROFILE" ] || awk '$2 ~ /^[tTwW]$/ { print "symbol", $1, $3, $4 }' /proc/kallsyms
# One after the other.
! alone || ask 1024 "$REQUESTS" latency 1 --path /1k --length 1024
umount --lazy "$WWW/files"
