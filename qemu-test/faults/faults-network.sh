# SPDX-License-Identifier: GPL-2.0
# The network fails under load: loss, the way between switch and servers, interfaces, devices, the switch's
# namespace. What each client sees is counted, and what servers carry out.
# run: --timeout 900 --switch-args "linger_ms=1000 closed_ms=3000" --server-args "linger_ms=1000 closed_ms=3000"
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"
accounting_begins

# plugged_in NODE MAC: a new device for the node, with the old addresses.
plugged_in() {
	ip -n wire link add "$1" type veth peer name eth0 address "$2" netns "$1"
	ip -n wire link set "$1" master wire up
	ip -n "$1" address add "$(address "$1")/24" dev eth0
	ip -n "$1" link set eth0 up
}

step "20 % loss at the switch, each way"
# Some requests are lost again and again.
default_configuration | sed 's/^service .*/& head-timeout 120s/' | configure
load_begins loss
netem switch loss 20%
sleep 20
netem switch off
load_ends
only loss "(GET|PUT) whole|POST (whole|504)"
works_again loss

step "20 % loss at the client, each way"
netem client loss 20%
ask client20 "GET:/own/10k?{}" "GET:/own/300k?{}" "POST:/do/0/{}" "PUT:/do/0/{}" "GET:/own/10k?{}" "POST:/do/1/{}" \
	"GET:/do/2/{}" "POST:/do/2/{}"
netem client off
only client20 "(GET|PUT) whole|POST (whole|504)"
default_configuration | configure
works_again client20

for way in in out; do
	step "no THOP message comes to the switch, or leaves it ($way), for three seconds, twice"
	load_begins "path-$way"
	for round in 1 2; do
		sleep 2
		drop switch $way "ip protocol 253"
		sleep 3
		undrop switch
		all_up
	done
	load_ends
	only "path-$way" "(GET|PUT|POST) (whole|503|504)"
	[ "$(outcomes "path-$way" "[A-Z]* 50[34]")" -gt 0 ] || fail "nobody noticed"
	works_again "path-$way"
done

for node in server1 switch; do
	step "the interface of $node is taken down, and up, twice"
	load_begins "down-$node"
	for round in 1 2; do
		sleep 2
		ip -n $node link set eth0 down
		sleep $round
		ip -n $node link set eth0 up
		all_up
	done
	load_ends
	only "down-$node" "(GET|PUT) (whole|503|504)|POST (whole|503|504)"
	works_again "down-$node"
done

for node in server1 switch; do
	step "the device of $node goes while it is in use, and another comes, twice"
	load_begins "device-$node"
	for round in 1 2; do
		sleep 2
		hardware=$(mac $node)
		ip -n wire link del $node
		sleep $round
		plugged_in $node "$hardware"
		all_up
	done
	load_ends
	only "device-$node" "(GET|PUT) (whole|503|504)|POST (whole|503|504)"
	works_again "device-$node"
done

step "a device goes while the switch holds segments that came by it"
pool_of 1 | unchecked | configure
drop server1 out "meta protocol ip"
ask_begins held "POST:/do/0/{}" "GET:/own/10k?{}"
wait_for 20 eval '[ "$(stat_switch held)" -gt 0 ]'
hardware=$(mac switch)
ip -n wire link del switch
sleep 1
plugged_in switch "$hardware"
undrop server1
ask_ends
only held "(GET|POST) (whole|504)"
default_configuration | configure
works_again held

step "the switch's namespace goes while it serves, and comes back"
PATIENCE=10 load_begins gone
sleep 2
ip netns del switch
wait_for 60 eval "! ip -n wire link show switch"
sleep 2
ip netns add switch
ip netns set switch auto
ip -n switch link set lo up
ip -n switch address add "$VIP/32" dev lo
plugged_in switch 02:00:00:00:00:02
key | authorise switch thop_switch
default_configuration | configure
all_up
load_ends
only gone "(GET|PUT|POST) (whole|reset|cut|silent|refused|unreachable)"
works_again gone
