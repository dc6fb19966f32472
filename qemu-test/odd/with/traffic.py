# SPDX-License-Identifier: GPL-2.0
"""What clients do, through the switch, all of it judged.

    traffic.py POSTS [WHAT]...

WHAT: gets, download, upload, posts, kept, long, half, agreed; without any, all but the last.
POSTS gets a line `ID STATUS SERVER` for each POST. All servers are nginx as lib.sh configures it; those
of SUMS=1 are not, and say of what they were sent how long it is and its Adler-32.
"""

import zlib
from http_client import *

SUMS = "SUMS" in os.environ
PATIENCE = float(os.environ.get("PATIENCE", "15"))
COUNT = int(os.environ.get("COUNT", "4"))
posts = []


def client(**how):
    return Client(timeout=PATIENCE, **how)


def patiently(what, job):
    """A client that waits in vain says for what."""
    try:
        return job()
    except TimeoutError:
        fail(f"{what}: nothing for {PATIENCE:.0f} s")
    except OSError as error:
        fail(f"{what}: {error.strerror or error!r}")


def gets():
    for n in range(COUNT):
        with client() as c:
            c.send(request("/1k", headers=["Connection: close"]))
            same("GET of 1 kB", c.answer().body, file("1k"))
            c.at_end()


def download():
    with client() as c:
        same("GET of 1 MB", c.ask("/1m").body, file("1m"))


def summed(what, answer, body):
    words = answer.body.decode().split()
    if answer.headers.get("transfer-encoding") == "chunked":
        # Of one chunk: its length, it, and the end.
        words = words[1:3]
    same(what, words, [str(len(body)), str(zlib.adler32(body))])


def upload():
    body = file("1m")
    with client() as c:
        if SUMS:
            summed("PUT of 1 MB", c.ask("/sum", "PUT", body), body)
            return
        answer = c.ask("/upload/odd", "PUT", body)
        check(uploaded(answer.server, "odd") == body, "PUT of 1 MB: other octets at the server")


def post(c, body, number):
    name = f"{os.getpid()}.{number}-{time.monotonic_ns()}"
    c.send(request(f"/sum?id={name}" if SUMS else f"/post?id={name}", "POST", body))
    answer = c.answer(status=None)
    posts.append(f"{name} {answer.status} {answer.server or '-'}\n")
    same("POST", answer.status, 200)
    if SUMS:
        summed("POST", answer, body)
    else:
        same("POST", answer.body, f"received {len(body)}\n".encode())


def several_posts():
    """Small, in the request's own segment, and large."""
    for number in range(COUNT):
        with client() as c:
            post(c, b"a=b", number)
    with client() as c:
        post(c, file("100k"), COUNT)


def kept():
    """One connection that is kept, with everything on it, twice from the same port."""
    for turn in range(2):
        # Not among the ports that the kernel chooses.
        with client(source=os.environ["CLIENT"], port=12345) as c:
            same("the first on a kept connection", c.ask("/1k").body, file("1k"))
            same("the second on a kept connection", c.ask("/100k").body, file("100k"))
            post(c, b"c=d", 100 + turn)
            time.sleep(0.1)
            same("the last on a kept connection", c.ask("/1k").body, file("1k"))
            c.reset()


def long():
    """A head that fits no segment: the switch has a socket for it."""
    with client() as c:
        same("a head of 6 kB", c.ask("/1k", headers=["X-Long: " + "x" * 6000]).body, file("1k"))


def half():
    """Says that it has nothing more to say before the answer comes."""
    with client() as c:
        c.send(request("/100k"))
        c.half_close()
        same("after a half-close", c.answer().body, file("100k"))


def options(to):
    """What client and peer have agreed on: tcpi_options of <linux/tcp.h>, without the bits that come later."""
    with Client(to, timeout=PATIENCE) as c:
        if to == SERVICE:
            c.ask("/1k")
        info = c.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 248)
        agreed = [name for bit, name in enumerate(("ts", "sack", "wscale", "ecn")) if info[5] & 1 << bit]
        return agreed + ([f"scale {info[6] & 15}"] if "wscale" in agreed else [])


def agreed():
    """Just what an ordinary listener at the switch agrees on."""
    same("agreed on in the handshake", options(SERVICE), options((os.environ["SWITCH"], 81)))


ALL = {"gets": gets, "download": download, "upload": upload, "posts": several_posts, "kept": kept, "long": long, "half": half}

if __name__ == "__main__":
    file_name, *names = sys.argv[1:]
    try:
        for name in names or ALL:
            patiently(name, {**ALL, "agreed": agreed}[name])
    finally:
        with open(file_name, "w") as f:
            f.writelines(posts)
