# SPDX-License-Identifier: GPL-2.0
# The answer to CREATE is lost, late or doubled, at every moment: no request that is not idempotent is carried
# out twice, no client gets octets of two servers, and all that is idempotent is answered.
# run: --servers 2 --timeout 900 --switch-args "linger_ms=1000 closed_ms=3000" --server-args "linger_ms=1000 closed_ms=3000"
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"
accounting_begins

# fresh: servers under new names, as one that was silent is passed over for a while; and no checks, so
# that it is a request that finds out. Each has told its clock.
FRESH=0
fresh() {
	FRESH=$((FRESH + 1))
	pool_of 1 2 | sed "s/^server s/server f${FRESH}x/" | unchecked | configure
	acquaint
	UNANSWERED=$(stat_switch unanswered)
}
# given_up: how many servers were, since then.
given_up() { echo $(($(stat_switch unanswered) - UNANSWERED)); }

# answers_of N NETEM...: what server N's messages suffer; `answers_of N off`.
answers_of() {
	local node=server$1
	shift
	if [ "$1" = off ]; then messages_suffer "$node" off; else messages_suffer "$node" any "$@"; fi
}

# A server's answer takes three seconds: longer than the switch waits for CREATED.
slow=() quick=()
for _ in 1 2 3; do
	slow+=("GET:/do/3/{}" "POST:/do/3/{}")
	quick+=("GET:/do/0/{}" "POST:/do/0/{}")
done

# account NAME: after requests that server 1 could not answer properly.
account() {
	only "$1" "GET whole|POST (whole|504)"
	[ "$(carried_out "$1" server1)" -gt 0 ] || fail "$1: server 1 was not asked"
	# Whoever was not given up has answered; and 504 means that somebody was.
	if [ "$(given_up)" = 0 ]; then
		only "$1" "(GET|POST) whole"
	fi
}

on_time=0 late=0
for delay in 50 200 500 1000 1300 1450 1600 2500; do
	step "CREATED comes after $delay ms, before the response"
	fresh
	answers_of 1 delay ${delay}ms
	ask after$delay "${slow[@]}"
	answers_of 1 off
	account after$delay
	echo "  $(given_up) given up"
	[ "$(given_up)" != 0 ] || on_time=$((on_time + 1))
	[ "$(given_up)" = 0 ] || late=$((late + 1))
done
[ $on_time -gt 0 ] && [ $late -gt 0 ] || fail "the switch gave up in $late cases, and in $on_time not"
all_returned

for delay in 500 2500; do
	step "CREATED comes after $delay ms, after the response, which proves as much"
	fresh
	answers_of 1 delay ${delay}ms
	ask proven$delay "${quick[@]}"
	answers_of 1 off
	account proven$delay
done
all_returned

for time in 0.8 1.3 2.5; do
	step "each CREATED is lost for $time s"
	fresh
	drop server1 out "ip protocol 253"
	ask_begins lost$time "${slow[@]}"
	wait_for 20 eval '[ "$(carried_out lost$time server1)" -gt 0 ]'
	sleep $time
	undrop server1
	ask_ends
	account lost$time
	echo "  $(given_up) given up"
done
all_returned

step "CREATED comes twice, and in any order"
for what in "duplicate 100%" "delay 800ms 790ms duplicate 100%"; do
	fresh
	answers_of 1 $what
	answers_of 2 $what
	ask "twice${what//[^0-9]/}" "${slow[@]}" "${quick[@]}"
	answers_of 1 off
	answers_of 2 off
	account "twice${what//[^0-9]/}"
done
all_returned

step "neither CREATED nor the response leaves the server: GET is answered by another, POST with 504"
fresh
drop server1 out "meta protocol ip"
ask mute "${quick[@]}" "${slow[@]}"
undrop server1
only mute "GET whole|POST (whole|504)"
same "answers of server 1" "$(awk '$4 == "server1"' mute.seen)" ""
lost=$(carried_out mute server1)
[ "$lost" -gt 0 ] || fail "server 1 was not asked"
same "POSTs that it has carried out, and 504" "$(outcomes mute "POST 504")" "$(grep -c "^server1 POST mute-" book)"
all_returned

# What a client acknowledges comes without PSH; its SYN and its request come through.
for time in 0.7 1.8 4; do
	step "nor is the switch told by the client what it has heard, for $time s: the response goes on then"
	fresh
	drop switch in "ip protocol 253 counter drop
		tcp flags & (syn | psh) == 0"
	ask_begins deaf$time "GET:/own/300k?{}" "GET:/own/slow/300k?{}" "GET:/own/300k?{}" "GET:/own/slow/300k?{}" \
		"POST:/do/0/{}" "POST:/do/0/{}"
	wait_for 20 eval '[ "$(grep -c " deaf$time-" book)" = 2 ]'
	sleep $time
	undrop switch
	ask_ends
	only deaf$time "(GET|POST) whole"
	echo "  $(given_up) given up"
done
all_returned
