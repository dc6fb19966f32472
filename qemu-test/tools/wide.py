# SPDX-License-Identifier: GPL-2.0
"""What the cases of qemu-test/wan measure: what a request costs in time and in segments that were sent in vain, straight to a
server and by the service, side by side."""

import os
import statistics
import subprocess

from http_client import *

DIRECT, SERVICE_AT = (os.environ["SERVER1"], 80), (VIP, 80)

# What was sent again or asked for needlessly; names as in /proc/net/snmp and /proc/net/netstat.
NEEDLESS = ("RetransSegs", "TCPLossProbes", "TCPTimeouts", "TCPDSACKRecv", "TCPDSACKOfoRecv", "TCPSpuriousRTOs")


def counters(node):
    """NEEDLESS of a node's kernel."""
    text = subprocess.run(["ip", "netns", "exec", node, "cat", "/proc/net/snmp", "/proc/net/netstat"], check=True, capture_output=True,
                          text=True).stdout
    lines = [line.split() for line in text.splitlines()]
    found = {}
    for names, values in zip(lines[::2], lines[1::2]):
        found.update(zip(names, values))
    return {name: int(found[name]) for name in NEEDLESS}


class Account:
    """What happens at nodes from here on."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.before = [counters(node) for node in nodes]

    def since(self):
        """As a dictionary of what is not zero, `NODE.NAME`."""
        now = [counters(node) for node in self.nodes]
        return {f"{node}.{name}": after[name] - before[name] for node, before, after in zip(self.nodes, self.before, now)
                for name in NEEDLESS if after[name] != before[name]}


def settle():
    """Until no connection of the server's has anything unacknowledged, so that what follows is not charged with it."""
    def quiet():
        out = subprocess.run(["ip", "netns", "exec", "server1", "ss", "-Htn"], check=True, capture_output=True, text=True).stdout
        return all(line.split()[2] == "0" for line in out.splitlines())
    wait_for(60, "the server's acknowledgements", quiet)


def timed(exchange, to):
    begun = time.monotonic()
    exchange(to)
    return time.monotonic() - begun


def beside(what, exchange, times=5, at_most=1.05, slack=0.005, nodes=("server1", "client", "switch")):
    """Fails unless exchange(TO) by the service takes at most so many times what it takes directly (medians, and seconds of slack), and
    costs no segment in vain more. Returns whether it did; prints what it was."""
    medians, accounts = [], []
    for to in DIRECT, SERVICE_AT:
        # The first one finds programs and files that are not in memory yet.
        exchange(to)
        settle()
        account = Account(*nodes)
        medians.append(statistics.median(timed(exchange, to) for _ in range(times)))
        settle()
        accounts.append(account.since())
    direct, service = medians
    more = {name: (accounts[0].get(name, 0), n) for name, n in accounts[1].items() if n > accounts[0].get(name, 0)}
    slow = service > direct * at_most + slack
    print(f"  {what}: directly {direct:.3f} s, by the service {service:.3f} s; in vain {accounts[0] or 'nothing'}, {accounts[1] or 'nothing'}"
          + " <- LONGER" * slow + " <- MORE IN VAIN" * bool(more), flush=True)
    return not slow and not more
