# SPDX-License-Identifier: GPL-2.0
"""Small BPF programs and maps, by bpf(2) itself, as the machine has no library for it.

include/uapi/linux/bpf.h has the numbers.
"""

import ctypes
import os
import struct

BPF = {"x86_64": 321, "aarch64": 280}
MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD = 0, 2, 5
SOCKMAP, REUSEPORT_SOCKARRAY = 15, 20
SK_REUSEPORT = 21
SK_DROP, SK_PASS = 0, 1
# Functions of the kernel's that programs call.
GET_PRANDOM_U32, SK_SELECT_REUSEPORT = 7, 82
SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF = 51, 52
# struct sk_reuseport_md
MD_HASH = 32
R0, R1, R2, R3, R4, R6, R7, R10 = 0, 1, 2, 3, 4, 6, 7, 10
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    fd = libc.syscall(BPF[os.uname().machine], command, attributes, 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def new_map(kind, size, value=8):
    return bpf(MAP_CREATE, struct.pack("<IIIII", kind, 4, value, size, 0))


def put(fd, key, value, size=8):
    """Puts a number, the descriptor of a socket for one, into a map."""
    k, v = ctypes.create_string_buffer(struct.pack("<I", key), 4), ctypes.create_string_buffer(value.to_bytes(size, "little"), size)
    bpf(MAP_UPDATE_ELEM, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def instruction(code, dst=0, src=0, offset=0, immediate=0):
    return struct.pack("<BBhi", code, dst | src << 4, offset, immediate)


def move(dst, src):
    return instruction(0xBF, dst, src)


def constant(dst, value):
    return instruction(0xB7, dst, immediate=value)


def add(dst, value):
    return instruction(0x07, dst, immediate=value)


def bits(dst, mask):
    return instruction(0x57, dst, immediate=mask)


def load(dst, src, offset):
    return instruction(0x61, dst, src, offset)


def store(dst, offset, src):
    return instruction(0x63, dst, src, offset)


def map_address(dst, fd):
    return instruction(0x18, dst, 1, immediate=fd) + instruction(0)


def call(function):
    return instruction(0x85, immediate=function)


def skip_if_zero(dst, count):
    return instruction(0x15, dst, offset=count)


def skip_unless_zero(dst, count):
    return instruction(0x55, dst, offset=count)


LEAVE = instruction(0x95)


def program(kind, *instructions):
    """Loads it. When the verifier refuses, what it says is in the error."""
    code = b"".join(instructions)
    count, code, licence = len(code) // 8, ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 20)

    def load_program(level):
        room = (level, len(log), ctypes.addressof(log)) if level else (0, 0, 0)
        return bpf(PROG_LOAD, struct.pack("<IIQQIIQ", kind, count, ctypes.addressof(code), ctypes.addressof(licence), *room))

    try:
        return load_program(0)
    except OSError as error:
        try:
            load_program(1)
        except OSError:
            pass
        raise SystemExit(f"FAIL: a BPF program is refused: {error}: {log.value.decode()}")
