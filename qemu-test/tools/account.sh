# SPDX-License-Identifier: GPL-2.0
# Faults, and what clients see of them: servers and clients that account for every request. Sourced by the
# cases `faults-*`, after helpers.sh; account.py says what an outcome is.
#
# Servers answer
#   GET  /own/NAME, /own/slow/NAME   10k, 300k: lines that name the server and tell where they stand; at 100 KB/s
#   GET  /own/slower/NAME            at 2 KB/s
#   any  /do/SECONDS/NAME            after so long, and the file `book` has a line `SERVER METHOD NAME` before that

ACCOUNT=$TOOLS/account.py

# start_accounting N: nginx on server N, with all this.
start_accounting() {
	local dir=$WWW/server$1 lines
	mkdir -p "$dir/own"
	for lines in 640 19200; do
		seq -f "server$1 %07.0f" $lines >"$dir/own/$((lines / 64))k"
	done
	NGINX_SERVER="
		location /own/ { root $dir; }
		location /own/slow/ { alias $dir/own/; limit_rate 100k; }
		location /own/slower/ { alias $dir/own/; limit_rate 2k; }
		location /do/ {
			proxy_pass http://unix:$PWD/done.sock;
			proxy_set_header X-Server server$1;
			proxy_read_timeout 600s;
			proxy_ignore_client_abort on;
		}" start_nginx "$1"
}

# accounting_begins: on all servers. Notes what the kernel has of ours now: see all_returned.
accounting_begins() {
	local n
	# Where no fault reaches it.
	spawn wire python3 "$ACCOUNT" serve "$PWD/done.sock" book >serving
	wait_for 20 grep -q ready serving
	for ((n = 1; n <= SERVERS; n++)); do
		stop_nginx "$n"
		start_accounting "$n"
	done
	all_up
	ask first "GET:/do/0/{}" "POST:/do/0/{}" "GET:/own/10k?{}" "GET:/own/300k?{}"
	only first "GET whole|POST whole"
	wait_for 60 tables_empty
	active_objects >objects
	grep -q thop objects || fail "no slab cache of ours in /proc/slabinfo"
}

# ask NAME REQUEST...: all of them, at the same time.
ask() { on client python3 "$ACCOUNT" ask "$@" || fail "$1: a client saw what it must not see"; }
# ask_begins NAME REQUEST...: the same in the background, until ask_ends.
ask_begins() {
	spawn client python3 "$ACCOUNT" ask "$@"
	ASKED=$1 ASKING=$SPAWNED
}
ask_ends() { wait "$ASKING" || fail "$ASKED: a client saw what it must not see"; }

# load_begins NAME, load_ends: clients that send requests of all kinds, until then.
load_begins() {
	spawn client python3 "$ACCOUNT" load "$1" 6 "GET:/own/10k?{}" "POST:/do/0/{}" "GET:/do/0.1/{}" \
		"GET:/own/300k?{}" "POST:/do/0.1/{}" "PUT:/do/0/{}" "GET:/own/slow/300k?{}"
	LOAD=$1 LOADING=$SPAWNED
}
load_ends() {
	touch "$LOAD.stop"
	wait "$LOADING" || fail "$LOAD: a client saw what it must not see"
}

# only NAME PATTERN: every request has ended so (an extended regular expression for `METHOD OUTCOME`), none that
# is not idempotent was carried out twice, and who has got an answer has it from who carried it out.
only() {
	local wrong
	wrong=$(awk '{ print $2, $3 }' "$1.seen" | grep -vxE "$2" | sort | uniq -c | paste -sd,) || true
	[ -z "$wrong" ] || fail "$1: clients saw what they should not: $wrong"
	[ -s "$1.seen" ] || fail "$1: no request was made"
	touch book
	awk '
		NR == FNR { times[$3]++; by[$3] = by[$3] " " $1 " "; next }
		$2 == "POST" && times[$1] > 1 { print $1, "was carried out by" by[$1]; bad = 1 }
		$2 == "POST" && $3 == 503 && times[$1] > 0 { print $1, "got 503, and was carried out by" by[$1]; bad = 1 }
		$3 == "whole" && ($1 in times) && index(by[$1], " " $4 " ") == 0 { print $1, "was answered by", $4, "not" by[$1]; bad = 1 }
		$3 == "whole" && $2 != "GET" && !($1 in times) { print $1, "was answered, and not carried out"; bad = 1 }
		END { exit bad }
	' book "$1.seen" || fail "$1: what was carried out is not what was answered"
}

# outcomes NAME PATTERN: how many requests have ended so.
outcomes() { awk '{ print $2, $3 }' "$1.seen" | grep -cxE "$2" || true; }
# carried_out NAME SERVER: how many of the requests that server has carried out.
carried_out() { grep -c "^$2 [A-Z]* $1-" book || true; }

# all_returned: nothing is left in the tables and in the slab caches.
no_objects() {
	local cache
	# What lies in the processors' own freelists counts as active until a shrink.
	for cache in /sys/kernel/slab/thop*/shrink; do echo 1 >"$cache"; done
	active_objects >objects.now
	awk 'NR == FNR { before[$1] = $2; next } $2 > before[$1] { bad = 1 } END { exit bad }' objects objects.now
}
all_returned() {
	local n
	wait_for 60 tables_empty || {
		on switch cat /proc/net/thop_switch/connections
		for ((n = 1; n <= SERVERS; n++)); do on "server$n" cat /proc/net/thop_server/connections; done
		fail "connections are left in the tables"
	}
	wait_for 60 no_objects || { paste objects objects.now; fail "objects are left"; }
}

# works_again NAME: nothing goes wrong any more, every server takes its turns, and nothing is left.
works_again() {
	local n round requests=() servers
	all_up
	for ((n = 0; n < SERVERS; n++)); do
		requests+=("GET:/own/10k?{}" "POST:/do/0/{}")
	done
	# One that did not answer CREATE is passed over for a while.
	for ((round = 1; round <= 20; round++)); do
		ask "$1-after$round" "${requests[@]}"
		only "$1-after$round" "(GET|POST) whole"
		servers=$(cat "$1"-after*.seen | awk '{ print $4 }' | sort -u | wc -l)
		[ "$servers" != "$SERVERS" ] || break
		sleep 1
	done
	same "servers that answer after $1" "$servers" "$SERVERS"
	all_returned
}
