# SPDX-License-Identifier: GPL-2.0
# Both modules go and come under load, and the configuration is replaced a thousand times. What each client
# sees is counted, and what servers carry out.
# run: --timeout 900 --switch-args "linger_ms=1000 closed_ms=3000" --server-args "linger_ms=1000 closed_ms=3000"
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"
accounting_begins

step "the configuration is replaced 1,000 times under load: nobody notices"
load_begins configured
py switch <<'PY'
import os


def server(n, more=""):
    return f"server s{n} pool web address {os.environ[f'SERVER{n}']}:80 {more}\n"


service = f"service web address {os.environ['VIP']}:80 pool web\n"
texts = [
    "pool web\n" + server(1) + server(2) + server(3) + service,
    "pool web policy wlc\n" + server(2, "weight 2") + server(3) + service,
    "pool web policy lc\n" + server(3) + server(1, "max 100") + service + "route service web path /do/ pool web\n",
    "pool web policy maglev key path check-interval 50ms\n" + server(1) + service,
    "pool other\npool web backup other slow-start 0s\n" + server(1) + server(2) + service + "route service web method POST pool web\n",
]
for n in range(1000):
    fd = os.open("/proc/net/thop_switch/config", os.O_WRONLY)
    os.write(fd, texts[n % len(texts)].encode())
    os.close(fd)
PY
load_ends
only configured "(GET|PUT|POST) whole"
[ "$(stat_switch configurations)" -gt 1000 ] || fail "there were not so many configurations"
default_configuration | configure
works_again configured

step "the servers' module goes and comes under load, twice"
load_begins servers
for round in 1 2; do
	sleep 2
	unload_module thop_server 30
	sleep $round
	load_server
	all_up
done
load_ends
# They refuse nothing, and are silent: who was asked first is followed by the others, until the first is found DOWN.
only servers "(GET|PUT|POST) (whole|reset|503|504)"
[ "$(outcomes servers "[A-Z]* (reset|503|504)")" -gt 0 ] || fail "nobody noticed"
works_again servers

step "the switch's module goes and comes under load, twice"
load_begins switch
for round in 1 2; do
	sleep 2
	unload_module thop_switch 30
	sleep $round
	load_switch
	default_configuration | configure
	all_up
done
load_ends
# A request that meets the switch just as it goes finds no server.
only switch "(GET|PUT|POST) (whole|reset|refused|503)"
[ "$(outcomes switch "[A-Z]* refused")" -gt 0 ] || fail "nobody noticed"
works_again switch
