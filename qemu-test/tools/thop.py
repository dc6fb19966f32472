# SPDX-License-Identifier: GPL-2.0
"""THOP messages, made by hand: rust/core/wire.rs has the format, rust/core/wire/seal.rs that of a seal."""

import collections
import hashlib
import hmac
import os
import random
import select
import socket
import struct
import subprocess
import time

from raw_tcp import checksum, ip_packets

PROTOCOL = 253
VERSION = 2
CREATE, CREATED, NOTIFYCLS, NOTIFYDROP, CLOSEACK, FORGET, FORGOTTEN, CONFIRM, PING, LOAD, SEALED, LATE, BUNDLE = range(1, 14)
NAMES = "? CREATE CREATED NOTIFYCLS NOTIFYDROP CLOSEACK FORGET FORGOTTEN CONFIRM PING LOAD SEALED LATE BUNDLE".split()
WSCALE, SACK, TIMESTAMP, ECN, WITH_FIN = (1 << n for n in range(5))


def finish(message, length=None):
    """With the right checksum and, unless given, length."""
    length = len(message) if length is None else length
    message = message[:2] + b"\0\0" + message[4:6] + struct.pack("!H", length & 0xFFFF) + message[8:]
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def message(opcode, handoff, client, service, server, reason=0, create=b"", version=VERSION, reserved=0,
            family=4, length=None, boot=1, clock=1):
    if opcode in (CREATED, LATE) and not create:
        create = struct.pack("!QI", boot, clock)
    epoch, ident = handoff
    out = struct.pack("!HHBBHQQBBHHHHH", opcode, 0, version, reserved, 0, epoch, ident, family,
                      reason, 0, client[1], service[1], server[1], 0)
    for address, _ in (client, service, server):
        out += socket.inet_aton(address)
    return finish(out + create, length)


def state(request=b"", isn_client=1000, isn_switch=2000, ts_recent=1, ts_last=1, window=65535,
          rtt_us=0, mss=1460, snd_wscale=7, rcv_wscale=7, options=WSCALE | SACK | TIMESTAMP, lease=5000,
          deadline=0, request_len=None):
    """The part that only CREATE has. A server obeys it before its deadline only: see Clock."""
    return struct.pack("!IIIIIIHBBHHII", isn_client, isn_switch, ts_recent, ts_last, window, rtt_us, mss,
                       snd_wscale, rcv_wscale, options, lease, deadline & 0xFFFFFFFF,
                       len(request) if request_len is None else request_len) + request


# What LOAD says. `server` is (address, port).
Load = collections.namedtuple(
    "Load", "epoch sequence server boot drops connections queue queue_limit cpu listening clock")


def monitor(opcode, epoch, sequence, server, more=b"", version=VERSION, reserved=0, family=4, length=None):
    """PING, or what begins LOAD."""
    out = struct.pack("!HHBBHQQBBHHH", opcode, 0, version, reserved, 0, epoch, sequence, family, 0, 0,
                      server[1], 0)
    return finish(out + socket.inet_aton(server[0]) + more, length)


def ping(server, epoch=1, sequence=1, **wrong):
    return monitor(PING, epoch, sequence, server, **wrong)


def load(server, epoch=1, sequence=1, boot=1, drops=0, connections=0, queue=0, limit=0, cpu=0, flags=1,
         clock=1, **wrong):
    more = struct.pack("!QQIIIHHI", boot, drops, connections, queue, limit, cpu, flags, clock)
    return monitor(LOAD, epoch, sequence, server, more, **wrong)


def read_load(data):
    """A message that is LOAD."""
    epoch, sequence, port, address, *figures = struct.unpack("!8xQQ4xH2x4sQQIIIHHI", data)
    return Load(epoch, sequence, (socket.inet_ntoa(address), port), *figures)


def ask(tap, server, seconds=10, epoch=None, sequence=None):
    """PINGs a server, and returns its Load; or None, if it does not answer."""
    epoch = random.getrandbits(64) if epoch is None else epoch
    sequence = random.getrandbits(64) if sequence is None else sequence
    send(server[0], ping(server, epoch, sequence))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and (item := tap.next(left)):
        source, _, data = item
        # Others may be about, whole or not.
        if len(data) >= 24 and opcode_of(data) == LOAD and handoff_of(data) == (epoch, sequence):
            assert source == server[0], f"LOAD comes from {source}"
            return read_load(data)
    return None


class Clock:
    """A server's clock, in which the deadlines of CREATE are."""

    def __init__(self, shown):
        self.ahead = shown - self.here()

    @staticmethod
    def here():
        return time.monotonic_ns() // 1_000_000

    @classmethod
    def asked(cls, tap, server, say=None):
        """As PING tells it; or as a CREATE without a lease does, which `say` has to send."""
        if say is None:
            return cls(ask(tap, server).clock)
        say()
        while item := tap.next():
            source, _, data = item
            data = data[48:] if opcode_of(data) == SEALED else data
            if source == server[0] and data and opcode_of(data) == LATE:
                return cls(struct.unpack("!I", data[-4:])[0])
        raise SystemExit("FAIL: nobody tells its clock")

    def ends(self, lease=4000):
        """The deadline of a lease that begins now."""
        return self.here() + self.ahead + lease


def bundle(*messages):
    """These together: rust/core/wire/bundle.rs. Their own checksums are zero there."""
    out = struct.pack("!HHBBH", BUNDLE, 0, VERSION, 0, 0)
    for one in messages:
        out += one[:2] + b"\0\0" + one[4:]
    return finish(out)


def messages_of(data):
    """The messages in a datagram: of a bundle all, else the only one."""
    if opcode_of(data) != BUNDLE:
        return [data]
    out, data = [], data[8:]
    while data:
        length = struct.unpack("!H", data[6:8])[0]
        out.append(data[:length])
        data = data[length:]
    return out


def handoff_of(data):
    """(epoch, id) of a message; of the monitor's, (epoch, sequence)."""
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


def counters(node, *modules):
    """What these modules have counted at a node, together."""
    total = collections.Counter()
    for module in modules:
        text = subprocess.run(["ip", "netns", "exec", node, "cat", f"/proc/net/{module}/stats"],
                              check=True, capture_output=True, text=True).stdout
        total.update({name: int(value) for name, value in map(str.split, text.splitlines())})
    return total


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


# --- seals -------------------------------------------------------------------------------------

# What stands in a seal.
Seal = collections.namedtuple("Seal", "key sender receiver sequence mac")


def key_of(text):
    """(id, secret) of a line `key ID HEX`."""
    _, ident, secret = text.split()[:3]
    return int(ident), bytes.fromhex(secret)


def code(secret, source, destination, header, message):
    mapped = [b"\0" * 10 + b"\xff\xff" + socket.inet_aton(a) for a in (source, destination)]
    plain = header[:2] + b"\0\0" + header[4:32] + b"\0" * 16
    return hmac.new(secret, b"".join(mapped) + plain + message, hashlib.sha256).digest()[:16]


def seal(secret, source, destination, message, seal):
    """A message behind a seal. A `mac` of None becomes the right one."""
    header = struct.pack("!HHBBHQQQ16s", SEALED, 0, VERSION, seal.key, 48 + len(message), seal.sender,
                         seal.receiver, seal.sequence, seal.mac or b"\0" * 16)
    if seal.mac is None:
        header = header[:32] + code(secret, source, destination, header, message)
    return repair(header) + message


def repair(header):
    """A seal's header with the right checksum."""
    header = header[:2] + b"\0\0" + header[4:]
    return header[:2] + struct.pack("!H", checksum(header)) + header[4:]


def read_seal(data):
    return Seal(data[5], *struct.unpack("!8xQQQ16s", data[:48]))


class Peer:
    """One who speaks from this node, to one other, as a switch would."""

    def __init__(self, key, here, there):
        self.key, self.secret = key
        self.here, self.there = here, there
        self.epoch, self.sequence, self.receiver = random.getrandbits(64) | 1, 0, 0

    def sealed(self, message, **other):
        self.sequence += 1
        fields = dict(key=self.key, sender=self.epoch, receiver=self.receiver, sequence=self.sequence, mac=None)
        return seal(self.secret, self.here, self.there, message, Seal(**{**fields, **other}))

    def say(self, message, **other):
        """Sends it and returns what was sent."""
        data = self.sealed(message, **other)
        send(self.there, data)
        return data

    def greet(self, tap, message):
        """Learns the other's epoch, by a message that does not name it."""
        self.receiver = 0
        self.say(message)
        while item := tap.next():
            source, destination, data = item
            if (source, destination, len(data)) == (self.there, self.here, 48):
                mine = read_seal(data)
                assert mine.receiver == self.epoch, "told to somebody else"
                right = code(self.secret, source, destination, data[:48], b"")
                assert mine.mac == right, "the epoch is told under another code"
                self.receiver = mine.sender
                return
        raise SystemExit("FAIL: nobody tells its epoch")
