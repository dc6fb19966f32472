#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Server programs that do with their sockets what few others do, and clients of theirs. For soak.sh.

    unruly.py serve NAME    four servers, without a right: see SERVERS
    unruly.py load FILE     clients, until FILE.stop is there; what they saw is counted in FILE, a line `SERVER OUTCOME COUNT` each

A client is served, or its connection ends: nobody else's octets are an answer, and nobody waits for ever.
"""

import collections
import http.client
import random
import time

from bpf import *
from http_server import *

TCP_ULP = 31
# The ports of all, and what each does with what it accepts.
SERVERS = {81: "wild", 82: "tls", 83: "bound", 84: "group"}
SERVICE = 8080
PAUSE_S = 0.02


def listen_on(s):
    """A socket that was accepted listens, and takes connections itself."""
    disconnect(s)
    s.bind(("127.0.0.1", 0))
    s.listen(4)
    own = [socket.create_connection(s.getsockname()) for _ in range(3)]
    bred = [s.accept()[0] for _ in own[1:]]
    random.shuffle(bred)
    for one in [*bred, s, *own] if random.random() < 0.5 else [s, *own, *bred]:
        one.close()


def connect_elsewhere(s):
    disconnect(s)
    with listener(0) as other:
        s.connect(("127.0.0.1", other.getsockname()[1]))


def disconnect_and_wait(s):
    disconnect(s)
    time.sleep(random.random())


def leave_to_a_child(s):
    """It lives for longer in another process than here."""
    if os.fork() == 0:
        time.sleep(random.random())
        os._exit(0)
    s.close()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


WHIMS = (listen_on, connect_elsewhere, disconnect_and_wait, leave_to_a_child, reset)


def one(c, kind):
    try:
        if kind == "tls":
            c.socket.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        while c.request():
            c.answer(body=os.urandom(8).hex().encode() * 100 + b"\n", headers=[f"X-Kind: {kind}"])
            if kind == "wild" and random.random() < 0.5:
                random.choice(WHIMS)(c.socket)
                break
    except OSError:
        pass
    c.close()


def accept_all(s, name, kind):
    while True:
        try:
            c = accept(s, name)
        except OSError:
            continue
        threading.Thread(target=one, args=(c, kind), daemon=True).start()


def group(port):
    """Five listeners of which a program chooses one at random, or nobody."""
    members = [listener(port, [(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)]) for _ in range(5)]
    known = new_map(REUSEPORT_SOCKARRAY, 8)
    for n, s in enumerate(members):
        put(known, n, s.fileno())
    fd = program(SK_REUSEPORT, move(R6, R1), call(GET_PRANDOM_U32), bits(R0, 7), store(R10, -4, R0), move(R1, R6),
                 map_address(R2, known), move(R3, R10), add(R3, -4), constant(R4, 0), call(SK_SELECT_REUSEPORT),
                 move(R6, R0), constant(R0, SK_DROP), skip_if_zero(R6, 1), LEAVE, constant(R0, SK_PASS), LEAVE)
    members[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, fd)
    return members


def serve_all(name):
    device = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    listeners = [(s, kind) for port, kind in SERVERS.items()
                 for s in (group(port) if kind == "group" else [listener(port, [device] if kind == "bound" else [])])]
    become_nobody()
    for s, kind in listeners:
        threading.Thread(target=accept_all, args=(s, name, kind), daemon=True).start()
    print("ready", flush=True)
    # What leave_to_a_child() has left.
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


def whole(body):
    return len(body) == 1601 and body == body[:16] * 100 + b"\n"


def load(path):
    seen, lock = collections.Counter(), threading.Lock()

    def count(kind, outcome):
        with lock:
            seen[kind, outcome] += 1

    def some_requests():
        """Up to four on one connection. An end comes as an exception."""
        connection, kind = http.client.HTTPConnection(os.environ["VIP"], SERVICE, timeout=60), "-"
        try:
            for _ in range(random.randint(1, 4)):
                connection.request("GET", "/x")
                response = connection.getresponse()
                body = response.read()
                kind = response.getheader("X-Kind", "-")
                count(kind, "wrong" if response.status == 200 and not whole(body) else
                      "whole" if response.status == 200 else str(response.status))
                time.sleep(PAUSE_S * random.random() * 10)
        except TimeoutError:
            count(kind, "silent")
        except (OSError, http.client.HTTPException):
            count(kind, "ended")
        finally:
            connection.close()

    def work():
        while not os.path.exists(f"{path}.stop"):
            some_requests()
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with open(path, "w") as f:
        for (kind, outcome), count in sorted(seen.items()):
            print(kind, outcome, count, file=f)


if __name__ == "__main__":
    {"serve": serve_all, "load": load}[sys.argv[1]](sys.argv[2])
