# SPDX-License-Identifier: GPL-2.0
"""offload.py FEATURE=on|off...: what `ethtool -K eth0` would do; run it on a node.

Features: tx (checksums), tso, gso, gro. On a virtual wire nobody computes a checksum unless told so.
"""

import fcntl
import socket
import struct
import sys
import ctypes

SIOCETHTOOL = 0x8946
COMMANDS = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for word in sys.argv[1:]:
    name, _, value = word.partition("=")
    data = ctypes.create_string_buffer(struct.pack("II", COMMANDS[name], value == "on"))
    request = struct.pack("16sP", b"eth0", ctypes.addressof(data))
    fcntl.ioctl(s, SIOCETHTOOL, request + b"\0" * (40 - len(request)))
