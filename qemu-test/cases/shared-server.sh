# SPDX-License-Identifier: GPL-2.0
# One client port and two services on the same servers: a server knows a connection by the client's endpoint and its own, so
# it can have one of the two. Another server takes the other; when there is none, the client is told.
# run: --servers 2 --timeout 60
set -euo pipefail
. "$TOOLS/helpers.sh"

ip -n switch address add 10.0.0.101/32 dev lo
two_services() {
	pool_of "$@"
	echo 'service other address 10.0.0.101:80 pool web'
}
# both_ask: prints what the second is answered.
both_ask() {
	on client python3 - <<-'PY'
		from http_client import *

		def client(address):
		    return Client(to=(address, 80), source=os.environ["CLIENT"], port=5000)

		first, second = client(VIP), client("10.0.0.101")
		first.ask("/1k")
		second.send(request("/1k"))
		print(second.answer(status=None).status)
		# The first is not touched.
		first.ask("/1k")
		first.reset()
		second.reset()
	PY
}

step "two servers: each has one of the connections"
two_services 1 2 | configure
all_up
acquaint
for ((n = 0; n < 6; n++)); do same "the second service" "$(both_ask)" 200; done
same answered_503 "$(stat_switch answered_503)" 0

step "one server: refused, and counted"
two_services 1 | configure
before=$(stat_switch refused_endpoints_in_use)
same "the second service" "$(both_ask)" 503
same refused "$(($(stat_switch refused_endpoints_in_use) - before))" 1

step "a second port at that server"
{
	two_services 1 | sed '$d'
	echo 'pool second'
	echo "server s1b pool second address $SERVER1:8080"
	echo 'service other address 10.0.0.101:80 pool second'
} >second
stop_nginx 1
start_nginx 1 80 8080
configure <second
wait_state second/s1b "UP answers*"
wait_state web/s1 "UP answers*"
same "the second service" "$(both_ask)" 200
