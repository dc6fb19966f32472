# SPDX-License-Identifier: GPL-2.0
# Shapers on the way out, with queues that drop what they hold, while clients reset their downloads: whatever dies in
# such a queue dies with its lock held.
# run: --servers 2 --timeout 300
set -uo pipefail
. "$WITH/cells.sh"
modprobe -a sch_htb sch_tbf

# shaped NODE QDISC
htb() {
	tc -n "$1" qdisc add dev eth0 root handle 1: htb default 1
	tc -n "$1" class add dev eth0 parent 1: classid 1:1 htb rate 4mbit burst 4k
	tc -n "$1" qdisc add dev eth0 parent 1:1 handle 10: fq_codel target 1ms interval 2ms noecn flows 8
}
tbf() {
	tc -n "$1" qdisc add dev eth0 root handle 1: tbf rate 4mbit burst 8k limit 200k
	tc -n "$1" qdisc add dev eth0 parent 1:1 handle 10: fq_codel target 1ms interval 2ms noecn flows 8
}

# shaped KIND NODE...: a `max` at the switch has servers tell it of every connection's end.
shaped() {
	local kind=$1 node
	shift
	for node; do "$kind" "$node"; done
	default_configuration | sed 's/^server.*/& max 200/' | configure
	all_up
	on client python3 - <<-'PY'
		import threading
		from http_client import *

		done = [0]
		end = time.monotonic() + 12

		def resets():
		    while time.monotonic() < end:
		        try:
		            with Client(timeout=5) as c:
		                c.send(request("/100m"))
		                c.more()
		                time.sleep(0.1)
		                c.reset()
		                done[0] += 1
		        except OSError:
		            time.sleep(0.02)

		threads = [threading.Thread(target=resets) for _ in range(12)]
		for t in threads:
		    t.start()
		for t in threads:
		    t.join()
		check(done[0] > 50, f"only {done[0]} downloads")
		print(done[0], "downloads reset")
	PY
	wait_for 20 tables_quiet || fail "connections are left at the switch: $(server_is web/s1 connections) $(server_is web/s2 connections)"
	for node in "$@"; do tc -n "$node" -s qdisc show dev eth0 | grep dropped; done
	for node in "$@"; do tc -n "$node" qdisc del dev eth0 root; done
	default_configuration | configure
	traffic gets download posts
}
# The switch believes that no server has any connection.
tables_quiet() {
	local n
	for n in 1 2; do [ "$(server_is web/s$n connections)" = 0 ] || return; done
}

group "Shapers, while clients reset downloads"
cell "HTB with fq_codel below it, at the switch" shaped htb switch
cell "TBF with fq_codel below it, at the servers" shaped tbf server1 server2
cell "HTB with fq_codel below it, at the servers" shaped htb server1 server2
cells_end
