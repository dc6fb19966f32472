# SPDX-License-Identifier: GPL-2.0
# The way from the switch to a server changes, under a connection that lives and for new ones: what was looked up once must
# not outlive that.
# run: --servers 1
set -euo pipefail
. "$TOOLS/helpers.sh"
add_node hop 10.0.0.60
on hop sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
# What passes there on its way to the server: clients' segments, and CREATEs, which are type 1 behind a seal of 48 octets.
CREATE='ip protocol 253 @th,384,16 1'
on hop nft -f - <<-NFT
	table ip passing {
		counter segments { }
		counter creates { }
		chain c {
			type filter hook forward priority 0;
			ip daddr $SERVER1 tcp dport 80 counter name segments
			ip daddr $SERVER1 $CREATE counter name creates
		}
	}
NFT
# And what comes there from another address than the switch has at first.
OTHER=10.0.0.78
on server1 nft -f - <<-NFT
	table ip passing {
		counter creates { }
		chain c {
			type filter hook prerouting priority 0;
			ip saddr $OTHER $CREATE counter name creates
		}
	}
NFT
cat >reroute.py <<'PY'
import json
import subprocess
import threading
from http_client import *

SERVER = os.environ["SERVER1"]


def on(node, *command):
    return subprocess.run(["on", node, *command], capture_output=True, text=True, check=True).stdout


def counter(name):
    lines = (line.split() for line in on("switch", "cat", "/proc/net/thop_switch/stats").splitlines())
    return next(int(value) for key, value in lines if key == name)


def passed(what="segments", node="hop"):
    listed = json.loads(on(node, "nft", "-j", "list", "counter", "ip", "passing", what))
    return next(o["counter"]["packets"] for o in listed["nftables"] if "counter" in o)


small = file("1k")
c = Client()


def asks(what, client=None):
    same(what, (client or c).ask("/1k").body, small)


def another_asks(what):
    """On a connection of its own, which is handed over."""
    asks("another, " + what, Client())


asks("at first")
asks("again")
print("- over another machine, and back")
on("switch", "ip", "route", "add", f"{SERVER}/32", "via", "10.0.0.60")
asks("over another machine")
check(passed() > 0, "nothing has passed over the other machine")
same("CREATEs over the other machine", passed("creates"), 0)
another_asks("over another machine")
seen = passed("creates")
check(seen > 0, "no CREATE has passed over the other machine")
on("switch", "ip", "route", "del", f"{SERVER}/32")
another_asks("straight again")
same("CREATEs over the other machine", passed("creates"), seen)
asks("straight again")
seen = passed()
asks("straight again")
same("segments over the other machine", passed(), seen)

print("- from another address, and back")
other = ("switch", "ip", "address"), (f"{os.environ['OTHER']}/32", "dev", "eth0")
on(*other[0], "add", *other[1])
on("switch", "ip", "route", "add", f"{SERVER}/32", "dev", "eth0", "src", os.environ["OTHER"])
another_asks("from another address")
seen = passed("creates", "server1")
check(seen > 0, "no CREATE has come from the other address")
# The route goes with its address.
on(*other[0], "del", *other[1])
another_asks("from the first address again")
same("CREATEs from the other address", passed("creates", "server1"), seen)

print("- nowhere: TCP waits until there is a way")
on("switch", "ip", "route", "add", "unreachable", f"{SERVER}/32")
before = counter("drop_no_route")
waiting = threading.Thread(target=asks, args=("after there was no way",))
waiting.start()
end = time.monotonic() + 30
while counter("drop_no_route") == before:
    check(time.monotonic() < end, "nothing was dropped for want of a route")
    time.sleep(0.05)
on("switch", "ip", "route", "del", "unreachable", f"{SERVER}/32")
waiting.join()

print("- to another card of the same machine")
on("server1", "ip", "link", "set", "eth0", "address", "02:00:00:00:77:01")
on("switch", "ip", "neighbour", "flush", "to", SERVER)
asks("to another card")

print("- a narrower one: the client learns what passes")
on("switch", "ip", "route", "add", f"{SERVER}/32", "dev", "eth0", "mtu", "700")
before = counter("drop_too_big")
body = octets(300_000)
c.send(request("/upload/narrow", "PUT", body))
c.answer()
check(uploaded("server1", "narrow") == body, "the upload differs")
check(counter("drop_too_big") > before, "nothing was too big")
on("switch", "ip", "route", "del", f"{SERVER}/32")
asks("after all that")
same("handoffs", counter("handoffs"), 5)
PY
step "the way changes"
export OTHER
on client python3 reroute.py
