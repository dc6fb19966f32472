# SPDX-License-Identifier: GPL-2.0
"""Requests of which every one is accounted for: what its client saw, and who carried it out.

A request's target holds a name of its own. What a server sends names the server in every line, so that octets
of two servers on one connection cannot be taken for those of one; tools/account.sh makes the files and starts
the servers.

    account.py serve SOCKET FILE          what carries requests out behind every server; notes each in FILE
    account.py load NAME COUNT REQUEST... COUNT clients send these requests in turn until there is a file
                                          NAME.stop; NAME.seen holds `NAME METHOD OUTCOME SERVER` for each
    account.py ask NAME REQUEST...        all of them once, at the same time; the same

A REQUEST is METHOD:PATH, and {} in it the request's name. Outcomes:

    whole     200, and all octets right
    503, 504  and other numbers: that answer of the switch's, whole
    refused   nobody listens
    unreachable  nobody has the address
    reset     by RST, after nothing or the right beginning
    cut       the same, by FIN
    silent    the same, and then nothing for PATIENCE seconds
"""

import collections
import errno
import select
import threading
from http_client import *

PATIENCE = float(os.environ.get("PATIENCE", "60"))
Seen = collections.namedtuple("Seen", "name method outcome server")
files = {}


def wanted(server, path):
    """The body of that server's answer."""
    kind, *words = path.strip("/").split("?")[0].split("/")
    if kind == "do":
        return f"{server} {words[-1]} done\n".encode()
    name = server, words[-1]
    if name not in files:
        with open(f"{os.environ['WWW']}/{server}/own/{words[-1]}", "rb") as f:
            files[name] = f.read()
    return files[name]


def judge(name, method, path, got, end):
    """What a client has seen that got these octets before that end."""
    head, found, body = got.partition(b"\r\n\r\n")
    if not found:
        return Seen(name, method, end, "-")
    first, *fields = head.decode("latin-1").split("\r\n")
    fields = {key.lower(): value.strip() for key, _, value in (field.partition(":") for field in fields)}
    code, server = int(first.split()[1]), fields.get("x-server")
    length = int(fields.get("content-length", -1))
    if server is None:
        check(code >= 400, f"{name}: status {code} from nobody: {got!r}")
        check(length < 0 or len(body) <= length, f"{name}: octets after the switch's answer: {short(got)}")
        return Seen(name, method, str(code) if len(body) == length else end, "-")
    check(code == 200, f"{name}: status {code} from {server}: {short(got)}")
    right = wanted(server, path)
    check(right.startswith(body), f"{name}: {server}'s answer is followed by, or holds, what is not its own: {differing(body, right)}")
    return Seen(name, method, "whole" if len(body) == len(right) else end, server)


def differing(body, right):
    at = next((n for n, (a, b) in enumerate(zip(body, right)) if a != b), min(len(body), len(right)))
    return f"at {at} of {len(right)}: {body[max(at - 40, 0):at + 200]!r}"


def ask(name, method, path, keepalive=False):
    """One request on a connection of its own."""
    c = Client(connect=False, timeout=PATIENCE)
    if keepalive:
        # Asks every second whether the other side lives.
        for option, value in (socket.SO_KEEPALIVE, 1),:
            c.socket.setsockopt(socket.SOL_SOCKET, option, value)
        for option in socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL:
            c.socket.setsockopt(socket.IPPROTO_TCP, option, 1)
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 100)
    parts, end = [], "cut"
    try:
        try:
            c.connect()
        except ConnectionRefusedError:
            return Seen(name, method, "refused", "-")
        c.send(request(path, method, b"x=y" if method in ("POST", "PUT") else None, headers=["Connection: close"]))
        while more := c.more():
            parts.append(more)
    except TimeoutError:
        end = "silent"
    except ConnectionError:
        end = "reset"
    except OSError as e:
        if e.errno != errno.EHOSTUNREACH:
            raise
        end = "unreachable"
    finally:
        c.close()
    return judge(name, method, path, b"".join(parts), end)


def note(name, seen):
    with open(f"{name}.seen", "w") as f:
        f.writelines(" ".join(one) + "\n" for one in seen)
    for (method, outcome), count in sorted(collections.Counter((one.method, one.outcome) for one in seen).items()):
        print(f"  {name}: {count} {method} {outcome}")


def in_threads(count, job):
    """job(n) for each of them; a failure of one is a failure of all."""
    def run(n):
        try:
            job(n)
        except BaseException as e:
            if not isinstance(e, SystemExit):
                print(f"FAIL: client {n}: {e!r}", file=sys.stderr)
            os._exit(1)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def load(name, count, requests):
    seen = []

    def client(n):
        turn = n
        while not os.path.exists(f"{name}.stop"):
            method, path = requests[turn % len(requests)].split(":", 1)
            called = f"{name}-{n}-{turn}"
            seen.append(ask(called, method, path.replace("{}", called)))
            turn += 1
            # Other things want the processor, too.
            time.sleep(0.02)

    in_threads(count, client)
    note(name, seen)


def ask_all(name, requests):
    seen = []

    def client(n):
        method, path = requests[n].split(":", 1)
        seen.append(ask(f"{name}-{n}", method, path.replace("{}", f"{name}-{n}"), "KEEPALIVE" in os.environ))

    in_threads(len(requests), client)
    note(name, seen)


def serve(path, book):
    """Carries out METHOD /do/SECONDS/NAME for the server named in X-Server, whose answer takes so long."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1000)
    done = os.open(book, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    print("ready", flush=True)

    def carry_out(connection):
        got = b""
        while b"\r\n\r\n" not in got:
            more = connection.recv(10000)
            if not more:
                return
            got += more
        first, *fields = got.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        method, target, _ = first.split()
        server = next(f.split(":")[1].strip() for f in fields if f.lower().startswith("x-server:"))
        _, _, seconds, name = target.split("/")
        os.write(done, f"{server} {method} {name}\n".encode())
        # A server that is killed must not be held by this connection: its end here belongs to the
        # server's network namespace, too.
        end = time.monotonic() + float(seconds)
        while select.select([connection], [], [], max(end - time.monotonic(), 0))[0]:
            if not connection.recv(10000):
                break
        body = f"{server} {name} done\n"
        try:
            connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            pass
        connection.close()

    while True:
        threading.Thread(target=carry_out, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "serve":
        serve(*words)
    elif what == "load":
        load(words[0], int(words[1]), words[2:])
    else:
        ask_all(words[0], words[1:])
