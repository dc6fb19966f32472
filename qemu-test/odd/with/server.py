# SPDX-License-Identifier: GPL-2.0
"""A Web server as simple as can be: a thread for each connection, blocking in accept(), recv() and send().

    server.py NAME LOG [--port N] [--device NAME] [--address A]

GET /NAME is a file of $WWW/files; POST or PUT /sum?id=ID says how long its body is, and its Adler-32.
LOG gets a line for each of those. --device: only for what comes by that device (SO_BINDTODEVICE).
"""

import argparse
import os
import socket
import threading
import zlib


def serve(c, name, log):
    buffer = b""
    with c:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            while b"\r\n\r\n" not in buffer:
                more = c.recv(1 << 16)
                if not more:
                    return
                buffer += more
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split()
            fields = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            length = int(fields.get("content-length", 0))
            while len(buffer) < length:
                more = c.recv(1 << 16)
                if not more:
                    return
                buffer += more
            body, buffer = buffer[:length], buffer[length:]
            if method == "GET":
                with open(f"{os.environ['WWW']}/files/{os.path.basename(target.split('?')[0])}", "rb") as f:
                    answer = f.read()
            else:
                os.write(log, f"{name} {method} {target}\n".encode())
                answer = f"{len(body)} {zlib.adler32(body)}\n".encode()
            last = "close" in fields.get("connection", "")
            c.sendall(
                f"HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: {len(answer)}\r\n".encode()
                + (b"Connection: close\r\n" if last else b"")
                + b"\r\n"
                + answer
            )
            if last:
                return


def serve_quietly(*how):
    try:
        serve(*how)
    except ConnectionError:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("log")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--device")
    parser.add_argument("--address", default="")
    how = parser.parse_args()
    log = os.open(how.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if how.device:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, how.device.encode() + b"\0")
    listener.bind((how.address, how.port))
    listener.listen(128)
    while True:
        c = listener.accept()[0]
        threading.Thread(target=serve_quietly, args=(c, how.name, log), daemon=True).start()


if __name__ == "__main__":
    main()
