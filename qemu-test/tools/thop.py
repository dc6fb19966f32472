# SPDX-License-Identifier: GPL-2.0
"""THOP messages, made by hand: rust/core/wire.rs has the format."""

import os
import random
import select
import socket
import struct
import time

from raw_tcp import checksum, ip_packets

PROTOCOL = 253
CREATE, CREATED, NOTIFYCLS, NOTIFYDROP, CLOSEACK, FORGET, FORGOTTEN, CONFIRM = range(1, 9)
NAMES = "? CREATE CREATED NOTIFYCLS NOTIFYDROP CLOSEACK FORGET FORGOTTEN CONFIRM".split()
WSCALE, SACK, TIMESTAMP, ECN, WITH_FIN = (1 << n for n in range(5))


def finish(message, length=None):
    """With the right checksum and, unless given, length."""
    length = len(message) if length is None else length
    message = message[:2] + b"\0\0" + message[4:6] + struct.pack("!H", length & 0xFFFF) + message[8:]
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def message(opcode, handoff, client, service, server, reason=0, create=b"", version=1, reserved=0,
            family=4, length=None):
    epoch, ident = handoff
    out = struct.pack("!HHBBHQQBBHHHHH", opcode, 0, version, reserved, 0, epoch, ident, family,
                      reason, 0, client[1], service[1], server[1], 0)
    for address, _ in (client, service, server):
        out += socket.inet_aton(address)
    return finish(out + create, length)


def state(request=b"", isn_client=1000, isn_switch=2000, ts_recent=1, ts_last=1, window=65535,
          mss=1460, snd_wscale=7, rcv_wscale=7, options=WSCALE | SACK | TIMESTAMP, lease=5000,
          request_len=None):
    """The part that only CREATE has."""
    return struct.pack("!IIIIIHBBHHI", isn_client, isn_switch, ts_recent, ts_last, window, mss,
                       snd_wscale, rcv_wscale, options, lease,
                       len(request) if request_len is None else request_len) + request


def handoff_of(data):
    """(epoch, id) of a message."""
    return struct.unpack("!QQ", data[8:24])


def opcode_of(data):
    return struct.unpack("!H", data[:2])[0]


def send(destination, data, source=None, fragment=0):
    """Sends a message, from another's address too."""
    if source is None:
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
        s.sendto(data, (destination, 0))
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for packet in ip_packets(source, destination, PROTOCOL, data, fragment=fragment or 1480):
            s.sendto(packet, (destination, 0))
    s.close()


class Tap:
    """What THOP messages come to and go from this node. Only whole ones, not fragments."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        self.socket.bind(("eth0", 0x0003))

    def next(self, seconds=10):
        """(source, destination, message), or None."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return None
            packet, (_, kind, *_) = self.socket.recvfrom(1 << 17)
            if kind != 0x0800 or packet[9] != PROTOCOL:
                continue
            if struct.unpack("!H", packet[6:8])[0] & 0x3FFF:
                continue
            ihl = (packet[0] & 15) * 4
            length = struct.unpack("!H", packet[2:4])[0]
            return (socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]),
                    packet[ihl:length])
        return None
