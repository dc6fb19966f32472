#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The same as a CGI program, for Apache and lighttpd."""

import os
import sys
import zlib

body = sys.stdin.buffer.read(int(os.environ["CONTENT_LENGTH"]))
with open(os.environ["ODD_LOG"], "a") as f:
    f.write(f"{os.environ['ODD_NAME']} {os.environ['REQUEST_METHOD']} {os.environ['REQUEST_URI']}\n")
answer = f"{len(body)} {zlib.adler32(body)}\n"
print(f"Content-Type: text/plain\r\nContent-Length: {len(answer)}\r\n\r\n{answer}", end="")
