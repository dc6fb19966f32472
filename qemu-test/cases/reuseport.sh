# SPDX-License-Identifier: GPL-2.0
# Listeners that share a port, and programs that choose among them: also such as say another thing each time they are asked, or
# that nobody shall have the connection.
# run: --servers 2
set -euo pipefail
. "$TOOLS/helpers.sh"

stop_nginx 1
cat >group.py <<'PY'
"""Eight listeners at one port, each with a thread; who of them answers, X-Member says."""
import time
from http_server import *
from bpf import *

MEMBERS = 8
PICK = {"random": call(GET_PRANDOM_U32), "hash": load(R0, R1, MD_HASH)}


def number(how):
    """A member's number in R0, from the packet or not."""
    return PICK[how] + bits(R0, MEMBERS - 1)


def from_map(how):
    members = new_map(REUSEPORT_SOCKARRAY, MEMBERS)
    for n, s in enumerate(group):
        put(members, n, s.fileno())
    return program(SK_REUSEPORT, move(R6, R1), number(how), store(R10, -4, R0), move(R1, R6), map_address(R2, members),
                   move(R3, R10), add(R3, -4), constant(R4, 0), call(SK_SELECT_REUSEPORT),
                   # Nobody there: nobody shall have it.
                   move(R6, R0), constant(R0, SK_DROP), skip_if_zero(R6, 1), LEAVE, constant(R0, SK_PASS), LEAVE)


def classic():
    """A program of the old kind, which anybody may attach: a random number."""
    code = [(0x20, 0, 0, 0xFFFFF000 + 56), (0x54, 0, 0, MEMBERS - 1), (0x16, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *i) for i in code), 8 * len(code))
    return struct.pack("<HxxxxxxQ", 3, ctypes.addressof(code)), code


share = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
group = [listener(options=[share]) for _ in range(MEMBERS)]
attach = lambda fd: group[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, fd)
match sys.argv[1]:
    case "sheds":
        attach(program(SK_REUSEPORT, call(GET_PRANDOM_U32), bits(R0, 1), LEAVE))
    case "refuses":
        attach(program(SK_REUSEPORT, constant(R0, SK_DROP), LEAVE))
    case "classic":
        filter, kept = classic()
        group[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, filter)
    case how:
        attach(from_map(how))
for n, s in enumerate(group):
    threading.Thread(target=serve, args=(s, "server1", [f"X-Member: {n}", "Connection: close"]), daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
PY

# group HOW: such a group at server 1.
group() {
	rm -f group.out
	spawn server1 python3 group.py "$1" >group.out 2>&1
	GROUP=$SPAWNED
	wait_for 30 grep -q ready group.out || { cat group.out; fail "the group does not begin"; }
}
ungroup() {
	kill $GROUP
	wait $GROUP || true
}
# requests COUNT: `STATUS SERVER MEMBER` of each, to `answers`.
requests() {
	on client curl -sS -m 30 -w '%{http_code} %header{x-server} %header{x-member}\n' "http://$VIP/any/[1-$1]" -o /dev/null \
		-H 'Connection: close' >answers
	same "answers" "$(wc -l <answers)" "$1"
}
# refused: how many handoffs server 1 has refused.
refused() { on server1 awk '/^refused_/ { sum += $2 } END { print sum }' /proc/net/thop_server/stats; }
of_server() { grep -c "^200 server$1 " answers || true; }

pool_of 1 2 | unchecked | configure
acquaint

step "a program that lets every other connection go: another server has it"
group sheds
before=$(refused)
requests 40
same "requests that were answered" "$(grep -c '^200' answers)" 40
[ "$(of_server 1)" -gt 0 ] || fail "server 1 has had none"
[ "$(of_server 2)" -gt 20 ] || fail "server 1 has had all of its share"
[ "$(refused)" -gt "$before" ] || fail "no refusal was counted"

step "and none, if there is no other"
pool_of 1 | unchecked | configure
requests 40
same "answers that are neither" "$(grep -vc '^200 server1\|^503' answers || true)" 0
[ "$(of_server 1)" -gt 0 ] && [ "$(of_server 1)" -lt 40 ] || fail "server 1 has answered $(of_server 1) of 40 requests"
ungroup

step "a program that lets all go"
pool_of 1 | unchecked | configure
group refuses
requests 4
same "answers that are not 503" "$(grep -vc '^503' answers || true)" 0
pool_of 1 2 | unchecked | configure
requests 4
same "requests that the other has answered" "$(of_server 2)" 4
ungroup

for how in random hash classic; do
	step "a program that chooses a member, by: $how"
	group $how
	# It is a new one each time; else it is known that no member has been asked yet.
	pool_of 1 | sed "s/server s/server $how/" | unchecked | configure
	before=$(refused)
	requests 40
	same "requests that it has answered" "$(of_server 1)" 40
	same "handoffs that it has refused" "$(($(refused) - before))" 0
	[ "$(cut -d' ' -f3 answers | sort -u | wc -l)" -gt 1 ] || fail "only one member has been asked"
	ungroup
done
