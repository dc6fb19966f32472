# SPDX-License-Identifier: GPL-2.0
# Packet filters at a server that ask user space, as inline intrusion prevention does, or that drop: a request is carried out by
# one server and no other, whatever the verdict is and whenever it comes.
# run: --servers 2 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

modprobe -a nfnetlink_queue nft_queue

# filtered HOOK STATEMENT: what server 1 does with every segment for the virtual address in that hook. A segment that belongs to
# a handed-over connection has this address by then.
filtered() {
	on server1 nft -f - <<-NFT
		table ip filtered
		delete table ip filtered
		table ip filtered {
			chain c {
				type filter hook $1 priority 0;
				ip daddr $VIP tcp dport 80 counter $2
			}
		}
	NFT
}
unfiltered() { on server1 nft delete table ip filtered; }

# deciding VERDICT [SECONDS]: who decides in user space.
deciding() {
	rm -f decided
	spawn server1 python3 "$TOOLS/nfqueue.py" 5 "$@" >decided 2>&1
	DECIDER=$SPAWNED
	wait_for 20 grep -q ready decided || { cat decided; fail "nobody decides"; }
}
# What it has not decided on by then, the kernel drops.
undecided() {
	kill $DECIDER
	wait $DECIDER || true
}

# posts NAME COUNT: as many POSTs, at the same time, with the field MORE.
MORE="X-Field: short"
posts() {
	local i pids=()
	for ((i = 0; i < $2; i++)); do
		spawn client curl -sS -m 40 -o /dev/null -w '%{http_code} %header{x-server} %{time_total}\n' -H "$MORE" -d x=y "http://$VIP/post?$1-$i." \
			>"answer.$1.$i"
		pids+=($SPAWNED)
	done
	for i in "${pids[@]}"; do wait "$i" || true; done
	cat answer."$1".*
}
# once NAME COUNT: each has been carried out once, and answered.
once() {
	local i
	for ((i = 0; i < $2; i++)); do
		same "$1: the status of POST $i" "$(cut -d' ' -f1 "answer.$1.$i")" 200
		same "$1: how often POST $i was carried out" "$(log_lines "POST /post?$1-$i\.")" 1
	done
}
elsewhere() {
	once "$@"
	same "$1: POSTs that server 1 carried out" "$(grep -c "POST /post?$1-" "$LOGDIR/server1.access.log" || true)" 0
}
refusals() { stat_server 1 refused_packet_filter; }
# quiet: server 1 has no connection of the service's.
quiet() { ! on server1 ss -Htn state established src "$VIP" | grep -q .; }

pool_of 1 2 | unchecked | configure
acquaint
# first NAME: requests go to server 1 first, under a name of its own each time, as a server that was silent is passed over for a
# while.
first() {
	{
		echo "pool web policy wrr"
		echo "server $1 pool web address $SERVER1:80 weight 60000"
		echo "server s2 pool web address $SERVER2:80 weight 1"
		echo "service web address $VIP:80 pool web"
	} | unchecked | configure
}

for hook in prerouting input; do
	step "$hook: accepted after 20 ms"
	first "accepted-$hook"
	filtered $hook "queue num 5"
	deciding accept 0.02
	posts "soon-$hook" 4
	once "soon-$hook" 4
	[ "$(grep -c ^packet decided)" -ge 4 ] || fail "nothing was queued"
	# Who decides without NFQA_CFG_F_GSO is given large packets in pieces, but not this one.
	MORE="X-Field: $(printf 'x%.0s' {1..4000})" posts "long-$hook" 2
	once "long-$hook" 2
	same "$hook: who has answered requests of several segments" "$(cut -d' ' -f2 answer.long-"$hook".* | sort | uniq -c | xargs)" "2 server1"
	undecided

	step "$hook: dropped by user space"
	first "dropped-$hook"
	deciding drop 0.02
	before=$(refusals)
	posts "dropped-$hook" 2
	elsewhere "dropped-$hook" 2
	[ "$(refusals)" -gt "$before" ] || fail "not refused for that reason"
	undecided

	step "$hook: no verdict ever"
	first "never-$hook"
	deciding never
	before=$(refusals)
	posts "never-$hook" 2
	grep -q ^packet decided || fail "nothing was queued"
	[ "$(refusals)" -gt "$before" ] || fail "not refused for that reason"
	undecided
	sleep 0.5
	elsewhere "never-$hook" 2

	step "$hook: accepted when the lease is over"
	first "late-$hook"
	deciding accept 3
	posts "late-$hook" 2
	accepted() { grep -q ^packet decided && [ "$(grep -c ^accept decided)" = "$(grep -c ^packet decided)" ]; }
	wait_for 10 accepted
	# Should the application have got it, it has answered by then.
	sleep 1
	elsewhere "late-$hook" 2
	quiet || { on server1 ss -Htn; fail "a connection has come to life afterwards"; }
	undecided

	step "$hook: dropped by a rule"
	first "rule-$hook"
	filtered $hook drop
	before=$(refusals)
	posts "rule-$hook" 4
	elsewhere "rule-$hook" 4
	[ "$(refusals)" -gt "$before" ] || fail "not refused for that reason"
	awk -v most=$((2 * SLOW)) '$3 > most { exit 1 }' answer."rule-$hook".* || fail "it took long"

	step "$hook: the listener goes while segments wait for their verdict"
	first "listener-$hook"
	filtered $hook "queue num 5"
	deciding accept 0.7
	posts "listener-$hook" 3 >/dev/null &
	posting=$!
	wait_for 10 grep -q ^packet decided
	stop_nginx 1
	wait $posting
	once "listener-$hook" 3
	wait_for 10 accepted
	undecided
	start_nginx 1

	step "$hook: the module goes, and they are dropped or accepted then"
	for verdict in never accept; do
		first "unload-$hook-$verdict"
		deciding $verdict 1.5
		posts "unload-$hook-$verdict" 2 >/dev/null &
		posting=$!
		wait_for 10 grep -q ^packet decided
		unload_module thop_server 20
		[ $verdict = never ] || wait_for 10 accepted
		undecided
		wait $posting
		quiet || { on server1 ss -Htn; fail "a connection has come to life without the module"; }
		load_server
	done
	unfiltered
	all_up_again() { [ "$(fetch /1k | cut -c1-3)" = 200 ]; }
	wait_for 20 all_up_again || fail "no answer afterwards"
done
