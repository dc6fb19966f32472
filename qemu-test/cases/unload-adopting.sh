# SPDX-License-Identifier: GPL-2.0
# The server's module goes while adoptions are under way, which probes in the kernel's own steps make last: no socket outlives it, and
# nothing of it is called any more. Worth its time on a kernel that watches: a socket that is forgotten there is a use after free.
# run: --servers 1 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

pool_of 1 | unchecked | configure
acquaint
cat >crowd.py <<'PY'
"""Six clients, each with one connection after the other, which stay open."""
import threading
from http_client import *

held, answered = [], [0] * 6


def work(n):
    while not os.path.exists("over"):
        try:
            c = Client(timeout=3)
            held.append(c)
            c.send(request("/0"))
            if c.more():
                answered[n] += 1
        except OSError:
            time.sleep(0.02)


threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
check(sum(answered) > 5, f"only {sum(answered)} answers")
PY
left() { on server1 ss -Htn state established state syn-recv src "$VIP"; }
# Where the listener has been found; where the socket is made; in the accept queue; about to be established; and where it is.
for function in cookie_v4_check tcp_v4_syn_recv_sock inet_csk_reqsk_queue_add tcp_child_process tcp_init_transfer; do
	rm -f waiting attached
	mkfifo waiting
	python3 "$TOOLS/delay.py" "$function" <waiting >attached &
	delay=$!
	exec 7>waiting
	wait_for 30 test -s attached || fail "no probe at $function"
	# Each takes minutes on a kernel that watches.
	for round in $(seq $((SLOW > 1 ? 1 : 3))); do
		step "within $function(), round $round"
		rm -f over
		spawn client python3 crowd.py
		before=$(stat_server 1 adopted)
		adopting() { [ "$(stat_server 1 adopted)" -gt $((before + 5)) ]; }
		wait_for 20 adopting || fail "nothing is handed over"
		# At another moment in each round.
		sleep "0.$((RANDOM % 10))"
		unload_module thop_server 30
		same "sockets that have outlived the module" "$(left)" ""
		: >over
		wait $SPAWNED || fail "the clients"
		same "sockets that have come to life without it" "$(left)" ""
		load_server
	done
	exec 7>&-
	wait $delay
done
same "a request afterwards" "$(fetch /1k)" "200 server1"
