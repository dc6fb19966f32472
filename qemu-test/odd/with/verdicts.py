# SPDX-License-Identifier: GPL-2.0
"""A program that packets are queued for (NFQUEUE), such as an intrusion prevention system: it says what becomes
of each after a while.

    verdicts.py QUEUE accept|drop SECONDS

Says "ready" when it is, and a line for each packet. The messages are those of
<linux/netfilter/nfnetlink_queue.h>: all numbers in them are big-endian, those of netlink itself the machine's.
"""

import heapq
import itertools
import select
import socket
import struct
import sys
import time

NETLINK_NETFILTER = 12
SUBSYSTEM_QUEUE = 3
PACKET, VERDICT, CONFIG = 0, 1, 2
REQUEST = 1
# Of CONFIG: what is to be done, and how much of packets is wanted.
COMMAND, PARAMETERS = 1, 2
BIND, COPY_META = 1, 1
# Of VERDICT and PACKET.
HEADER_OF_PACKET, HEADER_OF_VERDICT = 1, 2
DROP, ACCEPT = 0, 1


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind, queue, *attributes):
    body = struct.pack(">BBH", socket.AF_INET, 0, queue) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), SUBSYSTEM_QUEUE << 8 | kind, REQUEST, 0, 0) + body


def attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x7FFF, data[4:length]
        data = data[(length + 3) & ~3:]


def packets(data):
    """The numbers of the packets in what the kernel has sent."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind == SUBSYSTEM_QUEUE << 8 | PACKET:
            for kind, value in attributes(data[20:length]):
                if kind == HEADER_OF_PACKET:
                    yield struct.unpack_from(">I", value)[0]
        elif kind == 2:
            # NLMSG_ERROR
            error = struct.unpack_from("=i", data, 16)[0]
            if error:
                sys.exit(f"netlink says {error}")
        data = data[(length + 3) & ~3:]


def main(queue, word, seconds):
    queue, seconds = int(queue), float(seconds)
    verdict = {"accept": ACCEPT, "drop": DROP}[word]
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    netlink.bind((0, 0))
    netlink.send(message(CONFIG, queue, attribute(COMMAND, struct.pack(">BBH", BIND, 0, socket.AF_INET))))
    netlink.send(message(CONFIG, queue, attribute(PARAMETERS, struct.pack(">IB", 0, COPY_META))))
    print("ready", flush=True)
    waiting, order = [], itertools.count()
    while True:
        patience = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([netlink], [], [], patience)[0]:
            for number in packets(netlink.recv(1 << 16)):
                heapq.heappush(waiting, (time.monotonic() + seconds, next(order), number))
        while waiting and waiting[0][0] <= time.monotonic():
            number = heapq.heappop(waiting)[2]
            netlink.send(message(VERDICT, queue, attribute(HEADER_OF_VERDICT, struct.pack(">II", verdict, number))))
            print(word, number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
