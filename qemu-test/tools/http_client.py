# SPDX-License-Identifier: GPL-2.0
"""A client of HTTP/1.1 that shows what http.client hides: segments, ports, resets.

For the test cases, which say `PYTHONPATH=$TOOLS python3`. Addresses come from the environment,
where lib.sh puts them.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
import termios
import time

VIP = os.environ["VIP"]
SERVICE = (VIP, 80)


def fail(message):
    """The test has failed. Says where: innermost caller first, the helpers left out."""
    frame, where = sys._getframe(1), []
    while frame:
        if frame.f_code.co_name not in ("same", "check"):
            where.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    print(f"FAIL: {message} ({' < '.join(where[:6])})", file=sys.stderr)
    sys.exit(1)


def check(condition, message):
    if not condition:
        fail(message)


def same(what, got, wanted):
    if got != wanted:
        fail(f"{what}: got {short(got)}, wanted {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:150]}...{text[-100:]} ({len(value)})"


def file(name):
    """What /name is."""
    with open(f"{os.environ['WWW']}/files/{name}", "rb") as f:
        return f.read()


def uploaded(server, name):
    """What PUT /upload/name left there; server as X-Server says it."""
    with open(f"{os.environ['WWW']}/{server}/upload/{name}", "rb") as f:
        return f.read()


def octets(count, seed=1):
    """Octets in which nothing lost, doubled or moved goes unseen."""
    import random

    return random.Random(seed).randbytes(count)


def request(path="/1k", method="GET", body=None, version="1.1", host="test", headers=()):
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines + ["", ""]).encode() + (body or b"")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.server = headers.get("x-server")

    def __repr__(self):
        return f"<{self.status} {self.headers} {short(self.body)}>"


class Http:
    """Reads answers from whatever has more(), which returns b"" at the end."""

    buffer = b""

    def fill(self, enough):
        """Reads on until enough(buffer) is true."""
        # A list, as a hundred MB would otherwise be copied again and again.
        parts, length = [self.buffer], len(self.buffer)
        while not (enough(length) if callable(enough) else length >= enough):
            more = self.more()
            if not more:
                self.buffer = b"".join(parts)
                return False
            parts.append(more)
            length += len(more)
        self.buffer = b"".join(parts)
        return True

    def answer(self, method="GET", status=range(200, 300)):
        """The next answer; it must have that status, or one of these (None: any)."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill(len(self.buffer) + 1):
                fail(f"end of the connection in the head of an answer: {self.buffer!r}")
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        code = int(first.split()[1])
        headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        if method == "HEAD" or code in (204, 304) or code < 200:
            length = 0
        elif "content-length" in headers:
            length = int(headers["content-length"])
        else:
            length = None
        if length is None:
            self.fill(1 << 62)
            body, self.buffer = self.buffer, b""
        else:
            if not self.fill(length):
                fail(f"end of the connection after {len(self.buffer)} of {length} octets of a body")
            body, self.buffer = self.buffer[:length], self.buffer[length:]
        answer = Answer(code, headers, body)
        if status is not None and code not in (status if isinstance(status, range) else [status]):
            fail(f"status {code} instead of {status}: {answer}")
        return answer

    def at_end(self):
        """The peer must have nothing more to say, and close properly."""
        self.fill(1 << 62)
        same("after the last answer", self.buffer, b"")


class Client(Http):
    """On a socket of the kernel's."""

    def __init__(self, to=SERVICE, source="", port=0, options=(), timeout=60, connect=True):
        self.to = to
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, name, value in options:
            self.socket.setsockopt(level, name, value)
        if port or source:
            self.socket.bind((source, port))
        if connect:
            self.connect()

    def connect(self):
        end = time.monotonic() + 10
        while True:
            try:
                self.socket.connect(self.to)
                break
            except OSError as error:
                # The connection that had this port before waits for the acknowledgement of its FIN.
                if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self.port = self.socket.getsockname()[1]

    def send(self, data):
        self.socket.sendall(data)

    def acknowledged(self):
        """Returns when all that was sent has been acknowledged."""
        end = time.monotonic() + 60
        while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]:
            check(time.monotonic() < end, "no acknowledgement")
            time.sleep(0.0005)

    def ask(self, *args, **more):
        """A request and its answer."""
        data = request(*args, **more)
        self.send(data)
        return self.answer(data.split()[0].decode())

    def more(self):
        return self.socket.recv(1 << 18)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def get(path="/1k", **how):
    """One request on a connection of its own, which the server closes."""
    with Client(**how) as c:
        c.send(request(path, headers=["Connection: close"]))
        answer = c.answer()
        c.at_end()
        return answer


def wait_for(seconds, what, condition):
    """Until condition() is true; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail(f"waited in vain for: {what}")
        time.sleep(0.05)
