# SPDX-License-Identifier: GPL-2.0
"""The demonstration's director: boots the virtual machines, is their network, tells them what to do,
checks and shows what comes of it. Started by qemu-test/demo inside the build root.

    demo.py KERNEL KERNEL_ARGUMENTS QEMU_ARGUMENT...
"""

import asyncio
import base64
import re
import secrets
import struct
import sys
import textwrap
import time

HERE = "/run/thop-host"
VIP = "10.0.0.100"
ADDRESSES = {
    "client": "10.0.0.1",
    "switch": "10.0.0.10",
    "server1": "10.0.0.11",
    "server2": "10.0.0.12",
    "server3": "10.0.0.13",
}
MACS = {node: f"52:54:00:00:00:{n:02x}" for n, node in enumerate(ADDRESSES, 1)}
SERVERS = [node for node in ADDRESSES if node.startswith("server")]

CONFIGURATION = f"""\
pool web policy rr
server web1 pool web address {ADDRESSES["server1"]}:80
server web2 pool web address {ADDRESSES["server2"]}:80
pool images policy rr
server img1 pool images address {ADDRESSES["server2"]}:80
pool video policy rr
server vid1 pool video address {ADDRESSES["server3"]}:80
service shop address {VIP}:80 pool web
route service shop host video.example pool video
route service shop path /img/ pool images
"""
# Which server may answer for which pool.
POOLS = {"web": {"server1", "server2"}, "images": {"server2"}, "video": {"server3"}}

# What may not be in a kernel's log.
TROUBLE = "WARNING:|BUG:|Oops|Call Trace:|refcount_t|unregister_netdevice:|detected stall|soft lockup|still has objects"


class Failed(Exception):
    """Going on makes no sense."""


failures = []


def say(text):
    print(f"\n\033[1m==> {text}\033[0m")


def show(text, indent="    "):
    print(textwrap.indent(text.rstrip("\n"), indent))


def check(good, text):
    """Says whether something is as it must be, and remembers it when it is not."""
    print(f"    {'ok  ' if good else 'FAIL'}  {text}")
    if not good:
        failures.append(text)


class Wire:
    """An Ethernet switch. QEMU hands us frames, each after its length in four octets.

    It counts the octets from each node to each other: what it has not seen was not sent.
    """

    def __init__(self):
        self.ports = {}
        self.learnt = {}
        self.octets = {}

    async def attach(self, node):
        async def port(reader, writer):
            self.ports[node] = writer
            try:
                while True:
                    (length,) = struct.unpack("!I", await reader.readexactly(4))
                    self.frame(node, await reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                self.ports.pop(node, None)

        await asyncio.start_unix_server(port, f"{HERE}/{node}.net", limit=1 << 20)

    def frame(self, source, frame):
        self.learnt[frame[6:12]] = source
        target = self.learnt.get(frame[:6])
        if target is not None and not frame[0] & 1:
            key = (source, target)
            self.octets[key] = self.octets.get(key, 0) + len(frame)
            targets = [target]
        else:
            targets = list(self.ports)
        for node in targets:
            writer = self.ports.get(node)
            # As a real switch does, drop what a port cannot take.
            if node != source and writer and writer.transport.get_write_buffer_size() < 4 << 20:
                writer.write(struct.pack("!I", len(frame)) + frame)

    def sent(self, source, target):
        return self.octets.get((source, target), 0)


class Machine:
    """A virtual machine, and the way to tell it what to do."""

    def __init__(self, node):
        self.node = node
        self.ready = asyncio.Event()
        self.lock = asyncio.Lock()
        self.reader = self.writer = self.process = None

    async def boot(self, wire, kernel, arguments, qemu):
        await wire.attach(self.node)
        await asyncio.start_unix_server(self.agent, f"{HERE}/{self.node}.agent", limit=64 << 20)
        # It shall die with us, however we end.
        self.process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *qemu,
            "-name", self.node, "-smp", "1", "-m", "384",
            "-kernel", f"/usr/lib/modules/{kernel}/vmlinuz",
            "-append", f"{arguments} thop.node={self.node} thop.address={ADDRESSES[self.node]}",
            "-virtfs", f"local,path={HERE}/share,mount_tag=thop,security_model=none,readonly=on,"
            "multidevs=remap,id=thop",
            "-serial", f"file:{HERE}/{self.node}.log",
            "-netdev", f"stream,id=net,server=off,addr.type=unix,addr.path={HERE}/{self.node}.net",
            "-device", f"virtio-net-pci,netdev=net,mac={MACS[self.node]},romfile=",
            "-chardev", f"socket,id=agent,path={HERE}/{self.node}.agent",
            "-device", "virtserialport,chardev=agent,name=thop.agent",
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        ready = asyncio.ensure_future(self.ready.wait())
        gone = asyncio.ensure_future(self.process.wait())
        await asyncio.wait([ready, gone], timeout=180, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise Failed(f"{self.node} did not come up")

    async def agent(self, reader, writer):
        self.reader, self.writer = reader, writer
        if await reader.readline() == b"ready\n":
            self.ready.set()

    async def run(self, command, seconds=30):
        """Runs a shell command; gives its status and output."""
        async with self.lock:
            text = base64.b64encode(command.encode()).decode()
            self.writer.write(f"{seconds} {text}\n".encode())
            try:
                answer = await asyncio.wait_for(self.reader.readline(), seconds + 30)
            except asyncio.TimeoutError:
                answer = b""
        if not answer.endswith(b"\n"):
            raise Failed(f"{self.node} died or hangs")
        status, _, output = answer.decode().rstrip("\n").partition(" ")
        return int(status), base64.b64decode(output).decode(errors="replace")

    async def do(self, command, seconds=30):
        """The output of a shell command that must succeed."""
        status, output = await self.run(command, seconds)
        if status != 0:
            raise Failed(f"{self.node}: `{command}` failed ({status}):\n{output}")
        return output


class Demonstration:
    def __init__(self, kernel, arguments, qemu):
        self.kernel, self.arguments, self.qemu = kernel, arguments, qemu
        self.wire = Wire()
        self.machines = {node: Machine(node) for node in ADDRESSES}
        self.client = self.machines["client"]
        self.switch = self.machines["switch"]
        self.connections = 0

    async def all(self):
        await self.boot()
        await self.load()
        await self.requests()
        await self.capture()
        await self.one_way()
        await self.watch()
        await self.account()
        await self.unload()

    async def boot(self):
        say(f"booting five virtual machines with the stock kernel {self.kernel}")
        begun = time.monotonic()

        async def one(machine):
            await machine.boot(self.wire, self.kernel, self.arguments, self.qemu)
            node = machine.node
            print(f"    {node:8}  {ADDRESSES[node]:10}  {MACS[node]}  up after {time.monotonic() - begun:.0f} s")

        await asyncio.gather(*(one(m) for m in self.machines.values()))
        for server in SERVERS:
            await self.machines[server].do("test -e /tmp/nginx/pid")
        version = await self.machines["server1"].do("nginx -v")
        print(f"    Web servers run the distribution's own: {version.strip()}")

    async def load(self):
        say("loading the modules")
        key = f"key 1 {secrets.token_hex(32)}"
        print("    switch#   insmod thop-switch.ko")
        await self.switch.do(f"ip address add {VIP}/32 dev lo && insmod /run/thop/thop-switch.ko")
        print('    switch#   echo "key 1 $(openssl rand -hex 32)" >/proc/net/thop_switch/auth')
        await self.switch.do(f"echo {key} >/proc/net/thop_switch/auth")
        print("    server1#  insmod thop-server.ko     (and on the other two)")
        print("    server1#  cat thop.key >/proc/net/thop_server/auth     (the same key)")
        await asyncio.gather(
            *(
                self.machines[s].do(f"insmod /run/thop/thop-server.ko && echo {key} >/proc/net/thop_server/auth")
                for s in SERVERS
            )
        )
        print("    switch#   cat >/proc/net/thop_switch/config")
        status, answer = await self.switch.run(
            f"cat >/proc/net/thop_switch/config <<'END' || cat /proc/net/thop_switch/config_error\n{CONFIGURATION}END"
        )
        show(CONFIGURATION, "        ")
        if status != 0 or answer:
            raise Failed(f"the switch refuses the configuration: {answer}")
        check(
            all([VIP not in await self.machines[s].do("ip address") for s in SERVERS]),
            f"no server has the address {VIP}: only the switch does",
        )

    async def fetch(self, url, options="", seconds=60):
        """Requests a URL on a new connection. Gives server, status, size, digest of the body."""
        output = await self.client.do(
            f"curl -sS -o /tmp/body -D /tmp/head -m {seconds} -w '%{{http_code}} %{{size_download}}\\n' "
            f"--connect-to ::{VIP}:80 {options} '{url}'; "
            "sed -n 's/^X-Server: \\([a-z0-9]*\\).*/\\1/p' /tmp/head; sha256sum </tmp/body; rm -f /tmp/body",
            seconds + 5,
        )
        self.connections += 1
        words = output.split()
        if len(words) < 4:
            return "nobody", 0, 0, output
        return words[2], int(words[0]), int(words[1]), words[3]

    async def requests(self):
        say("requests from the client")
        digest = {}
        for name in ("1k", "100k", "1m"):
            digest[name] = (await self.client.do(f"sha256sum </run/thop/www/{name}")).split()[0]
        digest["index"] = (await self.client.do("echo 'Welcome to the shop.' | sha256sum")).split()[0]
        wanted = [
            ("http://shop.example/", "", "web", 200, 21, "index"),
            ("http://shop.example/", "", "web", 200, 21, "index"),
            ("http://shop.example/terms.html", "", "web", 200, 1024, "1k"),
            ("http://shop.example/terms.html", "", "web", 200, 1024, "1k"),
            ("http://shop.example/img/photo.jpg", "", "images", 200, 102400, "100k"),
            ("http://shop.example/img/icon.png", "", "images", 200, 1024, "1k"),
            ("http://video.example/film.mp4", "", "video", 200, 1048576, "1m"),
            ("http://video.example/img/icon.png", "", "video", 200, 1024, "1k"),
            ("http://shop.example/film.mp4", "-r 1000-1999", "web", 206, 1000, None),
            ("http://shop.example/img/photo.jpg", "-I", "images", 200, 0, None),
            ("http://shop.example/img/none.png", "", "images", 404, None, None),
            ("http://shop.example/upload/film", "-T /run/thop/www/1m", "web", 201, 0, None),
        ]
        print(f"          {'request':<44} {'pool':<7} {'server':<8} {'status':>6} {'size':>8}  body")
        turns = []
        for url, options, pool, status, size, body in wanted:
            method = "PUT" if "-T" in options else "HEAD" if "-I" in options else "GET"
            server, got_status, got_size, got_digest = await self.fetch(url, options)
            whole = body is None or got_digest == digest[body]
            good = server in POOLS[pool] and got_status == status and size in (None, got_size) and whole
            print(
                f"    {'ok  ' if good else 'FAIL'}  {method:<4} {url:<39} {pool:<7} {server:<8} "
                f"{got_status:>6} {got_size:>8}  {'' if body is None else 'identical' if whole else 'DIFFERS'}"
            )
            if not good:
                failures.append(f"{url}: {server} {got_status} {got_size}")
            if pool == "web":
                turns.append(server)
            if method == "PUT" and server in SERVERS:
                stored = await self.machines[server].do("sha256sum </tmp/site/upload/film")
                check(stored.split()[0] == digest["1m"], f"the upload of 1 MB arrived whole on {server}")
        check(
            all(a != b for a, b in zip(turns, turns[1:])),
            "the pool's servers took turns: " + ", ".join(turns),
        )
        # Several requests on one connection: it stays where it is.
        output = await self.client.do(
            "curl -sS -D - -w 'connects %{num_connects}\\n' "
            f"--connect-to ::{VIP}:80 http://shop.example/ -o /dev/null "
            "http://shop.example/terms.html -o /dev/null http://shop.example/ -o /dev/null"
        )
        self.connections += 1
        servers = re.findall(r"^X-Server: (\w+)", output, re.M)
        connects = sum(int(n) for n in re.findall(r"^connects (\d+)", output, re.M))
        check(
            len(servers) == 3 and len(set(servers)) == 1 and connects == 1,
            f"three requests on one kept connection: {', '.join(servers)}",
        )

    async def capture(self):
        say("what the client's network card sees of one request (tcpdump)")
        await self.client.do(
            f"tcpdump -Z root -enn -l --immediate-mode -i eth0 'tcp and src host {VIP}' "
            ">/tmp/capture 2>/tmp/capture.err & echo $! >/tmp/capture.pid; "
            "for i in $(seq 100); do grep -q listening /tmp/capture.err && break; sleep 0.1; done"
        )
        server, status, _, _ = await self.fetch("http://video.example/film.mp4")
        lines = (await self.client.do("sleep 0.5; kill $(cat /tmp/capture.pid); sleep 0.2; cat /tmp/capture")).splitlines()
        names = {mac: node for node, mac in MACS.items()}

        def origin(line):
            return names.get(line.split()[1], "nobody")

        synack = next((line for line in lines if "Flags [S.]" in line), "")
        data = [line for line in lines if re.search(r"length [1-9]\d*(: HTTP.*)?$", line)]
        for title, line in (("handshake", synack), ("response", data[0] if data else "")):
            show(f"{title}: from {origin(line) if line else 'nobody'}")
            show("\n".join(textwrap.wrap(line, 100, subsequent_indent="    ")), "        ")
        check(
            synack != "" and origin(synack) == "switch",
            f"the handshake came from the switch's card, {MACS['switch']}, with source {VIP}",
        )
        check(
            status == 200 and server == "server3" and data != [] and {origin(line) for line in data} == {"server3"}
            and all(f" {VIP}.80 > " in line for line in data),
            f"all {len(data)} segments of the response came from server3's own card, {MACS['server3']}, with source {VIP}",
        )  # fmt: skip

    async def one_way(self):
        say("a download of 10 MB in ten parts: octets that the network carried")
        before = dict(self.wire.octets)
        for _ in range(10):
            await self.fetch("http://video.example/film.mp4")
        carried = {key: n - before.get(key, 0) for key, n in self.wire.octets.items()}
        for a, b in (
            ("client", "switch"),
            ("switch", "server3"),
            ("server3", "client"),
            ("switch", "client"),
            ("server3", "switch"),
            ("client", "server3"),
        ):
            print(f"    {a + ' -> ' + b:<20} {carried.get((a, b), 0):>12,}")
        response = carried.get(("server3", "client"), 0)
        through = carried.get(("switch", "client"), 0) + carried.get(("server3", "switch"), 0)
        check(response > 10 << 20, "the response went from the server straight to the client")
        check(through * 100 < response, f"the switch carried {100 * through / max(response, 1):.2f} % of it: one-way")
        check(carried.get(("client", "server3"), 0) == 0, "the client sent nothing to the server: it knows the switch only")

    async def watch(self):
        say("while a slow download is under way")
        download = asyncio.ensure_future(self.slow_download())
        row = ""
        for _ in range(50):
            await asyncio.sleep(0.3)
            table = await self.switch.do("cat /proc/net/thop_switch/connections")
            row = next((line for line in table.splitlines() if " active " in line), "")
            if row or download.done():
                break
        print("    switch#   cat /proc/net/thop_switch/connections    (its heading, and the living)")
        show("\n".join([table.splitlines()[0], row]), "        ")
        server = await self.machines["server3"].do("cat /proc/net/thop_server/connections")
        print("    server3#  cat /proc/net/thop_server/connections    (its heading, and the living)")
        alive = [line for line in server.splitlines() if " alive " in line]
        show("\n".join(server.splitlines()[:1] + alive), "        ")
        sockets = await self.machines["server3"].do("ss -Htn state established src :80")
        print("    server3#  ss -tn                                   (the socket that nginx has)")
        show(" ".join(sockets.split()), "        ")
        endpoint = f"{ADDRESSES['server3']}:80"
        check(endpoint in row and f"{VIP}:80" in row, "the switch knows the connection and its server")
        check(len(alive) == 1 and f"{VIP}:80" in alive[0], "the server knows it, too")
        check(f"{VIP}:80" in sockets, f"the server's own socket has the local address {VIP}")
        server, status, size, same = await download
        check(
            (server, status, size, same) == ("server3", 200, 1048576, True),
            f"and the download came to its end: {server}, {status}, {size} octets",
        )

    async def slow_download(self):
        # Through a file, so that the client's agent is free meanwhile.
        await self.client.do(
            f"(curl -sS -o /tmp/live -D /tmp/live.head -m 60 -w '%{{http_code}} %{{size_download}}' "
            f"--connect-to ::{VIP}:80 http://video.example/live.mp4 >/tmp/live.out 2>&1; touch /tmp/live.done) "
            ">/dev/null 2>&1 &"
        )
        self.connections += 1
        output = await self.client.do(
            "until [ -e /tmp/live.done ]; do sleep 0.2; done; cat /tmp/live.out; echo; "
            "sed -n 's/^X-Server: \\([a-z0-9]*\\).*/\\1/p' /tmp/live.head; "
            "cmp /tmp/live /run/thop/www/1m && echo same",
            80,
        )
        words = output.split() + ["", "", "", ""]
        return words[2], int(words[0] or 0), int(words[1] or 0), words[3] == "same"

    async def account(self):
        say("the switch's account")
        print("    switch#   cat /proc/net/thop_switch/servers")
        show(await self.switch.do("cat /proc/net/thop_switch/servers"), "        ")
        stats = await self.switch.do("cat /proc/net/thop_switch/stats")
        print("    switch#   cat /proc/net/thop_switch/stats          (what is not zero)")
        show("\n".join(line for line in stats.splitlines() if not line.endswith(" 0")), "        ")
        switch = self.counters(stats)
        adopted = 0
        for server in SERVERS:
            adopted += self.counters(await self.machines[server].do("cat /proc/net/thop_server/stats")).get("adopted", 0)
        n = self.connections
        check(
            switch.get("handoffs") == adopted == n,
            f"{n} connections were made, {switch.get('handoffs')} handed over, {adopted} adopted by the servers",
        )
        check(
            not any(value for name, value in switch.items() if name.startswith(("drop_", "answered_", "malformed_"))),
            "nothing was dropped, malformed or refused",
        )

    @staticmethod
    def counters(text):
        return {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.M)}

    async def unload(self):
        say("unloading the modules")
        jobs = [(self.switch, "thop_switch")] + [(self.machines[s], "thop_server") for s in SERVERS]

        async def one(machine, module):
            status, output = await machine.run(
                f"for i in $(seq 100); do rmmod {module} && break; sleep 0.2; done 2>/tmp/rmmod; "
                f"test ! -d /sys/module/{module} || {{ tail -n1 /tmp/rmmod; false; }}",
                40,
            )
            log = (await machine.run(f"dmesg | grep -E '{TROUBLE}' | head -n 5"))[1]
            check(
                status == 0 and log == "",
                f"{machine.node}: rmmod {module}{'' if status == 0 else ': ' + output.strip()}; "
                + ("the kernel's log is clean" if log == "" else f"the kernel complains:\n{log}"),
            )

        await asyncio.gather(*(one(*job) for job in jobs))


async def main():
    begun = time.monotonic()
    demonstration = Demonstration(sys.argv[1], sys.argv[2], sys.argv[3:])
    try:
        await demonstration.all()
    except Failed as why:
        failures.append(str(why))
        print(f"    FAIL  {why}")
        for node, machine in demonstration.machines.items():
            if not machine.ready.is_set() or node in str(why):
                print(f"    the end of the log of {node}:")
                try:
                    with open(f"{HERE}/{node}.log", errors="replace") as log:
                        show("".join(log.readlines()[-40:]), "      | ")
                except OSError:
                    pass
    say(
        f"all was right, in {time.monotonic() - begun:.0f} s"
        if not failures
        else f"{len(failures)} {'thing was' if len(failures) == 1 else 'things were'} wrong:"
    )
    for text in failures:
        show(text)
    for machine in demonstration.machines.values():
        if machine.process and machine.process.returncode is None:
            machine.process.kill()
            await machine.process.wait()
    # Not through asyncio's own end, which waits for connections.
    sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
