# SPDX-License-Identifier: GPL-2.0
# A packet filter at a server that asks a program (NFQUEUE). Whatever that says, and whenever, no request is carried
# out twice, and no client gets octets of two servers.
# run: --servers 2 --timeout 700
set -uo pipefail
. "$WITH/cells.sh"
modprobe -a nfnetlink_queue nft_queue

# queued HOOK PRIORITY VERDICT SECONDS: what server1 gets of clients goes to that program.
queued() {
	on server1 nft -f - <<-NFT
		table ip odd {
			chain c {
				type filter hook $1 priority $2;
				ip daddr { $VIP, $SERVER1 } tcp dport 80 counter queue num 5
			}
		}
	NFT
	spawn server1 python3 "$WITH/verdicts.py" 5 "$3" "$4" >verdicts
	wait_for 20 grep -q ready verdicts
}
unqueued() { on server1 nft delete table ip odd; }

# several: requests of which some go to server1. Their clients see one of PATTERN (for `METHOD OUTCOME`).
# Then every POST is accounted for.
several() {
	local pattern=$1 wrong
	counters >counters.before
	on client python3 - >several <<-'PY'
		from http_client import *
		import threading

		lock = threading.Lock()

		def one(n):
		    method = ("GET", "POST")[n % 2]
		    name = f"{os.getpid()}.{n}"
		    server, end = "-", "cut"
		    try:
		        with Client(timeout=25) as c:
		            c.send(request(f"/post?id={name}" if n % 2 else "/100k", method, b"a=b" if n % 2 else None))
		            answer = c.answer(status=None)
		            server, end = answer.server or "-", str(answer.status)
		            if method == "GET" and answer.status == 200:
		                same("body", answer.body, file("100k"))
		    except TimeoutError:
		        end = "silent"
		    except ConnectionError:
		        end = "reset"
		    with lock:
		        print(name, end, server, method)

		threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
		for t in threads:
		    t.start()
		for t in threads:
		    t.join()
	PY
	awk '{ n[$4 " " $2 " " $3]++ } END { for (k in n) print n[k], k }' several | sort
	# Whatever waits there is over: leases, verdicts, CREATEs.
	sleep 3
	grep POST several >posts || true
	same "requests" "$(wc -l <several)" 12
	posts_once posts || return 1
	wrong=$(awk '{ print $4, $2 }' several | grep -vxE "$pattern" | sort | uniq -c | paste -sd,) || true
	[ -z "$wrong" ] || fail "clients saw $wrong"
	grep -qE 'accept|drop' verdicts || fail "nothing was queued"
}

# accepted HOOK PRIORITY SECONDS
accepted() {
	queued "$1" "$2" accept "$3"
	several "GET 200|POST (200|504)"
	unqueued
	sleep 1
	all_up
	traffic gets posts
}
dropped() {
	queued "$1" "$2" drop "$3"
	several "GET 200|POST (200|504)"
	unqueued
	all_up
	traffic gets posts
}

# direct: that the rule does what we believe it does, without us.
direct() {
	queued "$1" 0 accept 0.02
	same "a request straight to server1" "$(on client curl -sS -m 10 -o /dev/null -w '%{http_code}' "http://$SERVER1/1k")" 200
	grep -q accept verdicts || fail "nothing was queued"
	unqueued
}

group "NFQUEUE at a server"
for hook in prerouting input; do
	cell "$hook, straight to the server" direct $hook
	cell "$hook, accepted after 20 ms" accepted $hook 0 0.02
	cell "$hook, accepted after 300 ms" accepted $hook 0 0.3
	cell "$hook, accepted after 2 s, when the lease is over" accepted $hook 0 2
	cell "$hook, dropped" dropped $hook 0 0.02
done
cell "prerouting, before connection tracking, accepted after 20 ms" accepted prerouting -300 0.02
cells_end
