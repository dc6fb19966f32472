# SPDX-License-Identifier: GPL-2.0
"""The same for uvicorn, as `asgi:app`; names and folders come from the environment."""

import os
import zlib

NAME = os.environ["ODD_NAME"]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        with open(f"{os.environ['WWW']}/files/{os.path.basename(scope['path'])}", "rb") as f:
            body = f.read()
    else:
        length, total, more = 0, 1, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            part, more = event.get("body", b""), event.get("more_body", False)
            length, total = length + len(part), zlib.adler32(part, total)
        with open(os.environ["ODD_LOG"], "a") as f:
            f.write(f"{NAME} {scope['method']} {scope['path']}?{scope['query_string'].decode()}\n")
        body = f"{length} {total}\n".encode()
    headers = [(b"x-server", NAME.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
