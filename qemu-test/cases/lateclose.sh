# SPDX-License-Identifier: GPL-2.0
# A client that closes long after its server has: its FIN must still find the server's FIN-WAIT-2,
# although both modules would have forgotten a connection that both sides had closed.
# run: --switch-args linger_ms=1000 --server-args linger_ms=1000
set -euo pipefail
. "$TOOLS/helpers.sh"

pool_of 1 | configure

step "the client closes five seconds after the server"
py client <<'PY'
import subprocess
from http_client import *

c = Client()
c.send(request("/1k", headers=["Connection: close"]))
c.answer()
c.at_end()
time.sleep(5)
port = c.port
c.close()
for _ in range(50):
    left = subprocess.run(["ss", "-Htan", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    if not left.strip():
        break
    time.sleep(0.2)
check(not left.strip(), f"the client's socket is left: {left}")
PY
at_rest() { ! on server1 ss -Htan "sport = :80" | grep -q 'FIN-WAIT'; }
wait_for 10 at_rest || { on server1 ss -Htan; fail "the server waits for a FIN that has been sent"; }

step "both tables forget it then"
forgotten() { [ "$(stat_switch connections)" = 0 ] && [ "$(stat_server 1 connections)" = 0 ]; }
wait_for 15 forgotten || fail "a closed connection is kept"
