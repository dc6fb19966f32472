# SPDX-License-Identifier: GPL-2.0
"""Who decides on packets in user space: `nfqueue.py QUEUE accept|drop SECONDS`, or `nfqueue.py QUEUE never`.

Each packet gets that verdict after so many seconds. Prints a line when it is ready, and one for each packet that
comes and each verdict. include/uapi/linux/netfilter/nfnetlink_queue.h has the format.
"""

import heapq
import select
import socket
import struct
import sys
import time

NETLINK_NETFILTER = 12
NFNL_SUBSYS_QUEUE = 3
PACKET, VERDICT, CONFIG = 0, 1, 2
CFG_CMD, CFG_PARAMS, CFG_QUEUE_MAXLEN = 1, 2, 3
CMD_BIND, COPY_META = 1, 1
PACKET_HDR, VERDICT_HDR = 1, 2
VERDICTS = {"drop": 0, "accept": 1}
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2


def attribute(kind, data):
    return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack("<HH", data[:4])
        found[kind & 0x7FFF] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def messages(data):
    """(kind, what follows the header) of each netlink message."""
    while len(data) >= 16:
        length, kind = struct.unpack("<IH", data[:6])
        yield kind, data[16:length]
        data = data[(length + 3) & ~3:]


class Queue:
    def __init__(self, number):
        self.number = number
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        self.configure(attribute(CFG_CMD, struct.pack(">BBH", CMD_BIND, 0, socket.AF_INET)))
        self.configure(attribute(CFG_PARAMS, struct.pack(">IB", 0, COPY_META)) +
                       attribute(CFG_QUEUE_MAXLEN, struct.pack(">I", 4096)))

    def send(self, kind, body, flags=NLM_F_REQUEST):
        body = struct.pack(">BBH", socket.AF_INET, 0, self.number) + body
        self.socket.send(struct.pack("<IHHII", 16 + len(body), NFNL_SUBSYS_QUEUE << 8 | kind, flags, 0, 0) + body)

    def configure(self, body):
        self.send(CONFIG, body, NLM_F_REQUEST | NLM_F_ACK)
        for kind, data in messages(self.socket.recv(1 << 16)):
            error = -struct.unpack("<i", data[:4])[0] if kind == NLMSG_ERROR else 0
            if error:
                raise SystemExit(f"FAIL: nfnetlink_queue: error {error}")

    def decide(self, packet, verdict):
        self.send(VERDICT, attribute(VERDICT_HDR, struct.pack(">II", VERDICTS[verdict], packet)))

    def packets(self):
        """The identifiers of those that have come."""
        for kind, data in messages(self.socket.recv(1 << 16)):
            if kind == NFNL_SUBSYS_QUEUE << 8 | PACKET:
                yield struct.unpack(">I", attributes(data[4:])[PACKET_HDR][:4])[0]


def main(number, verdict, delay=0.0):
    queue, due = Queue(int(number)), []
    print("ready", flush=True)
    while True:
        left = max(due[0][0] - time.monotonic(), 0) if due else None
        if select.select([queue.socket], [], [], left)[0]:
            for packet in queue.packets():
                print("packet", packet, flush=True)
                if verdict != "never":
                    heapq.heappush(due, (time.monotonic() + float(delay), packet))
        while due and due[0][0] <= time.monotonic():
            packet = heapq.heappop(due)[1]
            queue.decide(packet, verdict)
            print(verdict, packet, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
