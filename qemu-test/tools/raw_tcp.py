# SPDX-License-Identifier: GPL-2.0
"""A TCP client in user space, which does what the kernel's will not: choose its sequence numbers,
its options, how it is fragmented, and forget a connection.

The kernel must not answer for it: see shield() in helpers.sh. Not fast, not fair: no congestion
control, a fixed timer.
"""

import os
import random
import select
import socket
import struct
import time

from http_client import Http, SERVICE, check, fail

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << n for n in range(8))
MASK = 0xFFFFFFFF
IFACE = "eth0"


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def after(a, b):
    """Whether sequence number a comes after b."""
    return 0 < (a - b) & MASK < 1 << 31


def ip_packets(source, destination, protocol, payload, options=b"", fragment=0, ident=None,
               ttl=64, dont_fragment=False):
    """The IP packet, in pieces of `fragment` octets of payload when that is given."""
    options += b"\0" * (-len(options) % 4)
    ident = random.randrange(1, 65536) if ident is None else ident
    step = fragment - fragment % 8 if fragment else len(payload) or 1
    packets = []
    for at in range(0, len(payload) or 1, step):
        piece = payload[at:at + step]
        flags = (0x2000 if at + step < len(payload) else 0) | at >> 3
        if dont_fragment and not fragment:
            flags |= 0x4000
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(piece),
            ident, flags, ttl, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination),
        ) + options
        packets.append(head[:10] + struct.pack("!H", checksum(head)) + head[12:] + piece)
    return packets


class Wire:
    """Sends whole IP packets, and receives all that come to this node."""

    def __init__(self):
        self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.inp = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self.inp.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.inp.bind((IFACE, 0x0800))

    def send(self, packet):
        destination = socket.inet_ntoa(packet[16:20])
        self.out.sendto(packet, (destination, 0))

    def receive(self, timeout):
        """The next packet, or None."""
        ready, _, _ = select.select([self.inp], [], [], max(timeout, 0))
        if not ready:
            return None
        packet, (_, _, kind, *_) = self.inp.recvfrom(1 << 18)
        # Not what goes out.
        return packet if kind != socket.PACKET_OUTGOING else b""

    def close(self):
        self.out.close()
        self.inp.close()


class RawTcp(Http):
    def __init__(self, port, to=SERVICE, source=None, isn=None, mss=1460, wscale=7, sack=True,
                 timestamps=True, ip_options=b"", fragment=0, reverse=False, ecn=False,
                 window=60000, ts_base=None, wire=None, raw_options=None, verbose=False):
        self.wire = wire or Wire()
        self.me = (source or os.environ["CLIENT"], port)
        self.to = to
        self.isn = random.randrange(1 << 32) if isn is None else isn & MASK
        self.mss, self.wscale, self.sack, self.timestamps = mss, wscale, sack, timestamps
        self.ip_options, self.fragment, self.reverse, self.ecn = ip_options, fragment, reverse, ecn
        self.raw_options = raw_options
        self.window = window
        self.ts_base = random.randrange(1 << 32) if ts_base is None else ts_base
        self.began = time.monotonic()
        self.verbose = verbose
        self.una = self.nxt = self.isn
        self.unsent = b""  # from una on
        self.irs = None
        self.rcv = None
        self.peer_window = 0
        self.peer_scale = 0
        self.ts_recent, self.ts_end = 0, None
        self.early = {}
        self.data = b""
        self.received = 0
        self.fin_received = self.reset_received = self.fin_wanted = self.fin_sent = False
        self.fin_acked = False
        self.largest = 0
        self.segments = 0
        self.acks_only = self.strangers = 0
        self.sack_blocks = []
        self.last = None

    # --- what goes out

    def options(self, syn):
        if self.raw_options is not None and syn:
            return self.raw_options
        out = b""
        if syn:
            if self.mss:
                out += struct.pack("!BBH", 2, 4, self.mss)
            if self.sack:
                out += b"\x01\x01\x04\x02"
            if self.wscale is not None:
                out += struct.pack("!BBBB", 1, 3, 3, self.wscale)
        if self.timestamps:
            value = (self.ts_base + int((time.monotonic() - self.began) * 1000)) & MASK
            out += struct.pack("!BBBBII", 1, 1, 8, 10, value, self.ts_recent)
        return out

    def segment(self, flags, seq, data=b"", ack=None):
        syn = bool(flags & SYN)
        options = self.options(syn)
        ack = (self.rcv or 0) if ack is None else ack
        window = self.window if syn or self.wscale is None else self.window >> self.wscale
        head = struct.pack(
            "!HHIIBBHHH", self.me[1], self.to[1], seq & MASK, ack & MASK if flags & ACK else 0,
            (20 + len(options)) // 4 << 4, flags, min(window, 65535), 0, 0,
        ) + options + data
        pseudo = socket.inet_aton(self.me[0]) + socket.inet_aton(self.to[0])
        pseudo += struct.pack("!HH", socket.IPPROTO_TCP, len(head))
        return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]

    def emit(self, flags, seq, data=b"", ack=None):
        payload = self.segment(flags, seq, data, ack)
        fragment = self.fragment if len(payload) > self.fragment else 0
        packets = ip_packets(self.me[0], self.to[0], socket.IPPROTO_TCP, payload,
                             self.ip_options, fragment)
        if self.reverse:
            packets.reverse()
        for packet in packets:
            self.wire.send(packet)
        if self.verbose:
            print(f"> {flags:02x} seq {(seq - self.isn) & MASK} ack {((self.rcv or 0) - (self.irs or 0)) & MASK} len {len(data)}")

    def transmit(self):
        """What the windows allow."""
        if self.reset_received:
            return
        size = min(self.mss or 536, 1400) - 40
        while True:
            at = (self.nxt - self.una) & MASK
            data = self.unsent[at:at + size]
            if not data:
                break
            if at and at + len(data) > min(self.peer_window, 1 << 16):
                break
            self.emit(ACK | PSH, self.nxt, data)
            self.nxt = (self.nxt + len(data)) & MASK
        if self.fin_wanted and not self.fin_sent and not self.unsent[(self.nxt - self.una) & MASK:]:
            self.emit(ACK | FIN, self.nxt)
            self.nxt = (self.nxt + 1) & MASK
            self.fin_sent = True

    # --- what comes in

    def take(self, packet):
        """Takes a packet if it is ours; returns whether."""
        if len(packet) < 40 or packet[9] != socket.IPPROTO_TCP:
            return False
        ihl = (packet[0] & 15) * 4
        length = struct.unpack("!H", packet[2:4])[0] or len(packet)
        source = socket.inet_ntoa(packet[12:16])
        sport, dport, seq, ack, offset, flags, window = struct.unpack(
            "!HHIIBBH", packet[ihl:ihl + 16])
        if (source, sport) != self.to or dport != self.me[1]:
            return False
        start = ihl + (offset >> 4) * 4
        data = packet[start:length]
        options = packet[ihl + 20:start]
        self.last = (flags, seq, ack, window, data)
        if self.verbose:
            print(f"< {flags:02x} seq {(seq - (self.irs or 0)) & MASK} ack {(ack - self.isn) & MASK} len {len(data)}")
        if flags & RST:
            # As RFC 9293 and 5961 want it: not from an older connection of this port.
            if seq == self.rcv if self.rcv is not None else ack == (self.isn + 1) & MASK:
                self.reset_received = True
            return True
        if self.rcv is not None and (seq - self.rcv + (1 << 21)) & MASK > 1 << 22:
            # From an older connection, too.
            self.strangers += 1
            self.emit(ACK, self.nxt)
            return True
        if self.rcv is None and not (flags & SYN and ack == (self.isn + 1) & MASK):
            return True
        # Segments that are older than what is here already may be another connection's.
        if self.rcv is None or not after(self.rcv, seq):
            self.parse(options, flags & SYN, (seq + len(data)) & MASK)
        if flags & SYN:
            if self.irs is None:
                self.irs, self.rcv = seq, (seq + 1) & MASK
                self.una = self.nxt = (self.isn + 1) & MASK
            self.peer_window = window
            self.emit(ACK, self.nxt)
            return True
        if flags & ACK and after(ack, self.una):
            check(not after(ack, self.nxt), f"what was never sent is acknowledged: {ack:x}, sent up to {self.nxt:x}")
            acked = (ack - self.una) & MASK
            self.unsent = self.unsent[acked:]
            if self.fin_sent and ack == self.nxt:
                self.fin_acked = True
            self.una = ack
            self.moved = time.monotonic()
        if flags & ACK and not after(self.una, ack):
            self.peer_window = window << self.peer_scale
        if data or flags & FIN:
            self.segments += bool(data)
            self.largest = max(self.largest, len(data))
            self.early[seq] = (data, flags & FIN)
            self.in_order()
            self.emit(ACK, self.nxt)
        else:
            self.acks_only += 1
        return True

    def in_order(self):
        progress = True
        while progress:
            progress = False
            for seq in sorted(self.early, key=lambda s: (s - self.rcv + (1 << 31)) & MASK):
                if after(seq, self.rcv):
                    break
                data, fin = self.early.pop(seq)
                end = (seq + len(data)) & MASK
                data = data[(self.rcv - seq) & MASK:]
                self.data += data
                self.received += len(data)
                self.rcv = (self.rcv + len(data)) & MASK
                # An older FIN may be that of an older connection.
                if fin and end == self.rcv:
                    self.fin_received = True
                    self.rcv = (self.rcv + 1) & MASK
                progress = True
                break

    def parse(self, options, syn, end):
        seen = set()
        while options:
            kind = options[0]
            if kind == 0:
                break
            if kind == 1:
                options = options[1:]
                continue
            length = options[1]
            value = options[2:length]
            options = options[length:]
            seen.add(kind)
            if kind == 3 and syn:
                self.peer_scale = value[0]
            elif kind == 5:
                self.sack_blocks = [struct.unpack("!II", value[n:n + 8]) for n in range(0, len(value), 8)]
            elif kind == 8:
                ts, echo = struct.unpack("!II", value)
                if self.ts_recent and after(self.ts_recent, ts):
                    # RFC 7323, 4.3: it may never go back. Two processors of the peer may send at
                    # once, and what was sent first come last; but not what is new, nor by much.
                    late = (self.ts_recent - ts) & MASK
                    if late > 50 or self.ts_end is None or after(end, self.ts_end):
                        fail(f"the peer's TSval went back from {self.ts_recent} to {ts}")
                    continue
                self.ts_recent, self.ts_end = ts, end
        if syn:
            if not self.timestamps:
                check(8 not in seen, "timestamps in the SYN/ACK, which were not offered")
            elif 8 not in seen:
                self.timestamps = False
            if self.wscale is None:
                check(3 not in seen, "window scale in the SYN/ACK, which was not offered")
            elif 3 not in seen:
                self.wscale, self.peer_scale = None, 0
        elif self.timestamps:
            check(8 in seen, "a segment without timestamps, which were agreed on")

    # --- the connection

    def pump(self, until, seconds=30, what="something"):
        """Keeps the connection going until until() is true."""
        end = time.monotonic() + seconds
        self.moved = time.monotonic()
        while not until():
            now = time.monotonic()
            if now > end:
                fail(f"waited in vain for: {what} (received {self.received}, "
                     f"unacknowledged {(self.nxt - self.una) & MASK}, FIN {self.fin_received}, "
                     f"RST {self.reset_received})")
            if self.nxt != self.una and now - self.moved > 1:
                # All of it again.
                self.nxt = self.una
                self.fin_sent = False
                self.moved = now
                if self.irs is None:
                    self.syn()
            if self.irs is not None:
                self.transmit()
            packet = self.wire.receive(min(end - now, 0.2))
            while packet is not None:
                if packet:
                    self.take(packet)
                packet = self.wire.receive(0) if not until() else None

    def syn(self):
        self.emit(SYN | (ECE | CWR if self.ecn else 0), self.isn)
        self.nxt = (self.isn + 1) & MASK

    def connect(self, seconds=20):
        self.syn()
        self.pump(lambda: self.irs is not None or self.reset_received, seconds, "SYN/ACK")
        check(not self.reset_received, "the connection was refused")
        return self

    def send(self, data):
        self.unsent += data
        self.transmit()

    def more(self):
        self.pump(lambda: self.data or self.fin_received or self.reset_received, 60, "data")
        if not self.data and self.reset_received:
            fail("the connection was reset")
        data, self.data = self.data, b""
        return data

    def sent(self, seconds=60):
        """Until all is acknowledged."""
        self.pump(lambda: not self.unsent and self.una == self.nxt or self.reset_received, seconds,
                  "acknowledgement of what was sent")
        check(not self.reset_received, "the connection was reset")

    def fin(self):
        """Closes our half, and waits until it is acknowledged."""
        self.fin_wanted = True
        self.pump(lambda: self.fin_acked or self.reset_received, 30, "acknowledgement of FIN")

    def close(self):
        """An ordinary close."""
        self.fin()
        self.pump(lambda: self.fin_received or self.reset_received, 30, "FIN")
        self.wire.close()

    def rst(self):
        self.emit(RST | ACK, self.nxt)

    def forget(self):
        self.wire.close()
