#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes functions of the kernel's last some ten milliseconds longer, until its standard input ends.

    delay.py FUNCTION...

A window between two of the kernel's steps that is open for less than a microsecond is so found by a test. What waits is a BPF
program at the function's entry (a kprobe), with interrupts off on that processor, as a host may have it that runs another machine
in between.
"""

import ctypes
import fcntl
import os
import struct
import sys

from bpf import *

PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
KPROBE, PROG_ARRAY = 2, 3
KTIME_GET_NS, TAIL_CALL = 5, 12
SET_BPF, ENABLE = 0x40042408, 0x2400
# 33 times a program may call itself in its own place (MAX_TAIL_CALL_CNT): some ten milliseconds together.
CALLS = 1_000 // int(os.environ.get("SLOW", 1))


def waiting():
    """A program that asks for the time for a while, and then calls itself."""
    again = new_map(PROG_ARRAY, 1, 4)
    fd = program(
        KPROBE,
        move(R6, R1),
        constant(R7, CALLS),
        call(KTIME_GET_NS),
        add(R7, -1),
        skip_unless_zero(R7, -3),
        move(R1, R6),
        map_address(R2, again),
        constant(R3, 0),
        call(TAIL_CALL),
        constant(R0, 0),
        LEAVE,
    )
    put(again, 0, fd, 4)
    return fd


def attach(fd, function):
    name = ctypes.create_string_buffer(function.encode())
    with open("/sys/bus/event_source/devices/kprobe/type") as f:
        kind = int(f.read())
    # struct perf_event_attr: type, size, config, period, sample and read format, flags, wakeup and breakpoint type, config1 (the
    # name), config2 (the offset).
    attributes = struct.pack("<IIQQQQQIIQQ", kind, 128, 0, 1, 0, 0, 0, 0, 0, ctypes.addressof(name), 0)
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    event = libc.syscall(PERF_EVENT_OPEN[os.uname().machine], attributes, -1, 0, -1, 8)
    if event < 0:
        raise SystemExit(f"FAIL: no probe at {function}: {os.strerror(ctypes.get_errno())}")
    fcntl.ioctl(event, SET_BPF, fd)
    fcntl.ioctl(event, ENABLE, 0)
    return event


if __name__ == "__main__":
    program_fd = waiting()
    events = [attach(program_fd, function) for function in sys.argv[1:]]
    print("attached", flush=True)
    sys.stdin.read()
