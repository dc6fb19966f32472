# SPDX-License-Identifier: GPL-2.0
"""handshake.py PORT: a Web server that answers every request with what its kernel knew of the connection when it was accepted:

    RTT MIN_RTT RTO      milliseconds, from TCP_INFO; 0 is a round trip that nobody has measured
"""

import socket
import struct
import sys
import threading

TCP_INFO = 11
# Where they are in struct tcp_info (include/uapi/linux/tcp.h), octets; microseconds each.
RTO, RTT, MIN_RTT = 8, 68, 148


def known(connection):
    info = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256)
    rto, rtt, min_rtt = (struct.unpack_from("=I", info, at)[0] for at in (RTO, RTT, MIN_RTT))
    # Of what was never measured the kernel says so.
    return rtt / 1000, 0 if min_rtt == 0xFFFFFFFF else min_rtt / 1000, rto / 1000


def serve(connection, body):
    with connection:
        heard = b""
        while b"\r\n\r\n" not in heard:
            more = connection.recv(1 << 16)
            if not more:
                return
            heard += more
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(64)
while True:
    accepted, _ = listener.accept()
    line = "%.1f %.1f %.0f\n" % known(accepted)
    threading.Thread(target=serve, args=(accepted, line.encode()), daemon=True).start()
