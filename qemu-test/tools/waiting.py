# SPDX-License-Identifier: GPL-2.0
"""For programs on the client that make requests wait: what the switch knows, and what it is told."""

import subprocess
import threading
from http_client import *


def on(node, *command):
    return subprocess.run(["on", node, *command], capture_output=True, text=True, check=True).stdout


def table(name):
    """The rows of a table of the switch's, as dictionaries."""
    titles, *rows = (line.split() for line in on("switch", "cat", f"/proc/net/thop_switch/{name}").splitlines())
    return [dict(zip(titles, row)) for row in rows]


def waiting(pool="web"):
    return next(int(row["waiting"]) for row in table("pools") if row["pool"] == pool)


def connections():
    return {row["server"]: int(row["connections"]) for row in table("servers")}


def counter(name):
    lines = (line.split() for line in on("switch", "cat", "/proc/net/thop_switch/stats").splitlines())
    return next((int(value) for key, value in lines if key == name), 0)


def order(text):
    on("switch", "sh", "-c", f"echo '{text}' >/proc/net/thop_switch/servers")


def configure(text):
    subprocess.run(["on", "switch", "dd", "of=/proc/net/thop_switch/config", "bs=1M", "iflag=fullblock", "status=none"],
                   input=text.encode(), check=True)


def pool(options="queue-timeout 10m", servers="123", server_options="", service="pool web"):
    text = f"pool web {options}\n"
    for n in servers:
        text += f"server s{n} pool web address {os.environ['SERVER' + n]}:80 {server_options}\n"
    return text + (f"service web address {VIP}:80 {service}\n" if service is not None else "")


def holding(count):
    """Connections that stay with their server until they are closed, and so take a place."""
    clients = [Client() for _ in range(count)]
    for c in clients:
        c.ask("/1k")
    return clients


def queue(count, path="/1k", **how):
    """Requests that wait: each on a connection of its own, one behind the other."""
    clients, before = [], waiting()
    for n in range(count):
        c = Client()
        c.send(request(path, headers=["Connection: close"], **how))
        clients.append(c)
        wait_for(20, f"request {n} in the queue", lambda: waiting() == before + n + 1)
    return clients


def quiet(c):
    """Whether nothing has come."""
    c.socket.setblocking(False)
    try:
        fail(f"has got {c.socket.recv(100)!r}")
    except BlockingIOError:
        pass
    finally:
        c.socket.settimeout(60)


def served(c, path="/1k"):
    answer = c.answer()
    same("the answer", answer.body, file(path.lstrip("/")))
    c.at_end()
    c.close()
    return answer.server


def refused(c, status=503):
    same("the answer", c.answer(status=None).status, status)
    c.at_end()
    c.close()


def over():
    wait_for(20, "the end of all connections", lambda: not any(connections().values()))
    same("waiting", waiting(), 0)
