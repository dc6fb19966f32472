# SPDX-License-Identifier: GPL-2.0
# Network namespaces do not see each other, an ordinary user changes nothing, and the root of a user
# namespace has power over his own network only.
# run: --timeout 480
set -euo pipefail
. "$TOOLS/helpers.sh"

NOBODY=65534
# as_nobody COMMAND...: as a user without rights, on the switch.
as_nobody() { on switch setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups --inh-caps=-all --bounding-set=-all "$@"; }
FILES=$(on switch sh -c 'find /proc/net/thop_switch/ /proc/net/thop_server/ -type f')

step "two networks with the same addresses at once"
ip netns add wire2
ip -n wire2 link add wire2 type bridge forward_delay 0 mcast_snooping 0
ip -n wire2 link set wire2 up
for node in client2 switch2 other2; do
	ip netns add $node
	ip -n wire2 link add $node type veth peer name eth0 netns $node
	ip -n wire2 link set $node master wire2 up
	ip -n $node link set lo up
	ip -n $node link set eth0 up
done
ip -n client2 address add $CLIENT/24 dev eth0
ip -n switch2 address add $SWITCH/24 dev eth0
ip -n switch2 address add $VIP/32 dev lo
ip -n other2 address add "$SERVER1/24" dev eth0
mkdir other
echo "the other network" >other/1k
spawn other2 python3 -m http.server -p HTTP/1.1 -d other 80 >/dev/null 2>&1
wait_for 60 eval 'on other2 ss -Htln "sport = :80" | grep -q .'
same "configuration of the second" "$(on switch2 cat /proc/net/thop_switch/config)" ""
before=$(on switch cat /proc/net/thop_switch/config)
# Keys are a network's own, too.
! printf "pool p2\nservice s2 address %s:80 pool p2\n" "$VIP" | configure switch2 2>/dev/null || fail "the first one's key is good here"
other=$(random_key 1)
echo "$other" | authorise switch2 thop_switch
echo "$other" | authorise other2 thop_server
configure switch2 <<-END
	pool p2
	server o pool p2 address $SERVER1:80
	service s2 address $VIP:80 pool p2
END
same "the first one's configuration" "$(on switch cat /proc/net/thop_switch/config)" "$before"
# From the same port at the same time, to what looks the same.
cat >same.py <<'PY'
from http_client import *

with Client(port=5555) as c:
    print(c.ask("/1k").body[:17])
    open(sys.argv[1], "w").close()
    while not os.path.exists("go"):
        time.sleep(0.05)
    print(c.ask("/1k").body[:17])
PY
rm -f go
spawn client python3 same.py one >first
first=$SPAWNED
spawn client2 python3 same.py two >second
second=$SPAWNED
both() { [ -e one ] && [ -e two ]; }
wait_for 60 both || fail "not both are served"
for node in switch switch2; do
	same "connections of $node" "$(rows $node thop_switch/connections)" 1
	same "$node counts" "$(on $node cat /proc/net/thop_switch/stats | stat_of $node handoffs)" 1
done
same "connections at the second's server" "$(rows other2 thop_server/connections)" 1
same "connections elsewhere" "$(rows client thop_switch/connections)" 0
same "servers of the second" "$(on switch2 awk 'NR > 1 { print $1, $2 }' /proc/net/thop_switch/servers)" "p2 o"
touch go
wait $first || fail "the first client"
wait $second || fail "the second client"
same "the second's answers" "$(sort -u second)" "b'the other network'"
[ "$(grep -c 'the other network' first || true)" = 0 ] || fail "the first network got the second's answer"
# An order or a configuration in one is none in the other.
on switch2 sh -c 'echo "p2/o maint" >/proc/net/thop_switch/servers'
same "a request in the first network" "$(fetch /1k | cut -c1-3)" 200
printf '# nothing\n' | configure switch2
same "the first one's configuration" "$(on switch cat /proc/net/thop_switch/config)" "$before"
same "a request in the first network" "$(fetch /1k | cut -c1-3)" 200

step "what an ordinary user may"
same "files that others than root may write" "$(on switch find /proc/net/thop_switch /proc/net/thop_server -perm /0022)" ""
same "parameters that others than root may write" "$(find /sys/module/thop_switch/parameters /sys/module/thop_server/parameters -perm /0022)" ""
for f in $FILES; do
	mode=$(on switch stat -c %a "$f")
	case $f in
	*/config | */servers) same "mode of $f" "$mode" 644 ;;
	# Whatever holds keys is root's alone.
	*/auth*) same "mode of $f" "$mode" 600 ;;
	*) same "mode of $f" "$mode" 444 ;;
	esac
	case $mode in
	600) ! as_nobody cat "$f" >/dev/null 2>&1 || fail "an ordinary user reads $f" ;;
	*) as_nobody cat "$f" >/dev/null || fail "an ordinary user cannot read $f" ;;
	esac
	! as_nobody sh -c 'echo >"$0"' "$f" 2>/dev/null || fail "an ordinary user writes $f"
	! as_nobody sh -c 'exec 9<>"$0"' "$f" 2>/dev/null || fail "an ordinary user opens $f for writing"
done
for f in /sys/module/thop_switch/parameters/* /sys/module/thop_server/parameters/*; do
	! as_nobody sh -c 'echo siphash >"$0"' "$f" 2>/dev/null || fail "an ordinary user writes $f"
	! sh -c 'echo siphash >"$0"' "$f" 2>/dev/null || fail "$f can be changed"
done
! as_nobody rmmod thop_switch 2>/dev/null || fail "an ordinary user unloads the module"
# A file that root has opened is of no use to one without rights (and the other way round).
for f in config servers; do
	case $f in config) text='# nothing' ;; *) text='web/s1 maint' ;; esac
	on switch sh -c 'exec 9<>"/proc/net/thop_switch/$1"
		exec setpriv --reuid=$2 --regid=$2 --clear-groups --inh-caps=-all --bounding-set=-all \
			sh -c "echo \"\$0\" | cat >&9" "$3"' sh $f $NOBODY "$text" 2>error && fail "an ordinary user writes to root's $f"
	grep -q 'not permitted' error || { cat error; fail "not refused for want of rights"; }
done
same "configuration" "$(on switch cat /proc/net/thop_switch/config)" "$before"
same "state" "$(server_is web/s1 state)" UP

step "the root of a user namespace: his own network"
# A user without rights, who makes himself root of new namespaces. The network after the user: the kernel
# gives the files of a network to the root of its user namespace if there is one at that time.
on switch sysctl -qw kernel.unprivileged_userns_clone=1 2>/dev/null || true
# He is given the switch's configuration as open file 9, by somebody who had the right to open it.
cat >root.sh <<'SH'
set -eu
[ "$(id -u)" = 0 ]
# Nobody has configured anything here.
[ -z "$(cat /proc/net/thop_switch/config)" ]
[ "$(awk 'NR > 1' /proc/net/thop_switch/connections | wc -l)" = 0 ]
echo "key 9 00112233445566778899aabbccddeeff" >/proc/net/thop_switch/auth
printf 'pool mine\nserver a pool mine address 127.0.0.1:81\nservice s address 127.0.0.1:80 pool mine\n' >text
dd if=text of=/proc/net/thop_switch/config bs=64k status=none
grep -q '^pool mine' /proc/net/thop_switch/config
echo "mine/a maint" >/proc/net/thop_switch/servers
grep -q MAINT /proc/net/thop_switch/servers
echo "configured"
# The network from outside: by the file system, and by the open file.
if echo '# nothing' >"/proc/$OUTSIDE/net/thop_switch/config"; then echo "has written outside"; fi
if echo >"/proc/$OUTSIDE/net/thop_switch/auth"; then echo "has taken keys away outside"; fi
if cat "/proc/$OUTSIDE/net/thop_switch/auth"; then echo "has read who may speak outside"; fi
if echo '# nothing' | cat >&9; then echo "has written outside by an open file"; fi
if rmmod thop_switch; then echo "has unloaded the module"; fi
if echo siphash >/sys/module/thop_switch/parameters/hash; then echo "has changed a parameter"; fi
exit 0
SH
mkdir -m 777 open
cp root.sh open/
# Somebody in the switch's network, for a path to its files.
spawn switch sleep 1000
outside=$SPAWNED
on switch sh -c 'exec 9<>/proc/net/thop_switch/config; cd open; OUTSIDE=$1
	export OUTSIDE
	exec setpriv --reuid=$2 --regid=$2 --clear-groups unshare -Ur unshare -n sh root.sh' sh $outside $NOBODY >said 2>errors ||
	{ cat said errors; fail "the root of a user namespace cannot configure his own"; }
same "what he could do" "$(cat said)" configured
sed 's/^/  /' errors
same "configuration" "$(on switch cat /proc/net/thop_switch/config)" "$before"
same "a request" "$(fetch /1k | cut -c1-3)" 200

step "a network in which nothing is configured has no tables"
# What networks take of the kernel's memory, kB for each.
networks() {
	local n before
	before=$(kernel_memory)
	for ((n = 0; n < 20; n++)); do ip netns add empty$n; done
	echo $((($(kernel_memory) - before) / 20 / 1024))
	for ((n = 0; n < 20; n++)); do ip netns delete empty$n; done
}
unload_modules
load_modules "$SWITCH_ARGS buckets=65536" "$SERVER_ARGS buckets=65536"
with=$(networks)
unload_modules
without=$(networks)
echo "  a network: $without kB without the modules, $with kB with them"
# A table of 65,536 buckets is a megabyte, and there are three; on a debug kernel, whose locks are large, it is five.
[ $((with - without)) -lt $((512 * SLOW)) ] || fail "an empty network takes $((with - without)) kB more with the modules"
