# SPDX-License-Identifier: GPL-2.0
"""Web servers for cases in which an application does with its sockets what nginx does not.

`on server1 python3 http_server.py NAME [DEVICE]` is a plain one, whose listener is bound to a device.
"""

import ctypes
import errno
import os
import socket
import sys
import threading

from http_client import Http, check, fail

NOBODY = 65534
SERVICE_PORT = 80
libc = ctypes.CDLL(None, use_errno=True)


def listener(port=SERVICE_PORT, options=(), backlog=128):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for level, name, value in options:
        s.setsockopt(level, name, value)
    s.bind(("0.0.0.0", port))
    s.listen(backlog)
    return s


def become_nobody():
    """Whoever has port 80 needs no right any more."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with open("/proc/self/status") as f:
        mine = dict(line.split(":", 1) for line in f)
    check(int(mine["CapEff"], 16) == 0, f"capabilities are left: {mine['CapEff']}")


def disconnect(s):
    """connect(AF_UNSPEC): the socket is as new. Python has no way to say that."""
    if libc.connect(s.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Accepted(Http):
    """A connection at its server."""

    def __init__(self, s, name):
        self.socket, self.name, self.body = s, name, b""

    def more(self):
        return self.socket.recv(1 << 18)

    def request(self):
        """The next request's first line, or None at the end; its body is in `body`."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill(len(self.buffer) + 1):
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        length = next((int(f.split(":")[1]) for f in fields if f.lower().startswith("content-length:")), 0)
        check(self.fill(length), "end of the connection in a request's body")
        self.body, self.buffer = self.buffer[:length], self.buffer[length:]
        return first

    def answer(self, body=b"ok\n", headers=()):
        lines = ["HTTP/1.1 200 OK", f"X-Server: {self.name}", f"Content-Length: {len(body)}", *headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def at_end(self):
        """The client must have closed, and in order."""
        try:
            check(self.request() is None, "another request")
        except OSError as error:
            fail(f"the connection ends with {errno.errorcode[error.errno]}")

    def over(self):
        """The connection must have ended, in whatever way."""
        try:
            check(self.request() is None, "another request")
        except ConnectionResetError:
            pass

    def close(self):
        self.socket.close()


def accept(s, name="server1"):
    return Accepted(s.accept()[0], name)


def serve(s, name, headers=()):
    """Answers whatever comes, for ever, and writes it down as nginx does."""
    log = open(f"{os.environ['LOGDIR']}/{name}.access.log", "a", buffering=1)

    def one(c):
        try:
            while first := c.request():
                log.write(f'"{first}" 200\n')
                c.answer(headers=headers)
        except OSError as error:
            print(f"{name}: {error}", flush=True)
        c.close()

    while True:
        threading.Thread(target=one, args=(accept(s, name),), daemon=True).start()


if __name__ == "__main__":
    serve(listener(options=[(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode()) for device in sys.argv[2:]]),
          sys.argv[1])
