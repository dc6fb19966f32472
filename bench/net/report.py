# SPDX-License-Identifier: GPL-2.0
"""From what a machine printed and counted to bench/results.json and a table.

    report.py forward|web KERNEL PRINTED COUNTED

PRINTED has a line `measured ...` for every two lines of COUNTED: the marks before and after, each with the instructions of
every processor so far.
"""

import collections
import json
import os
import sys

# The one that stands for the machine itself: what all have in common.
NOTHING = "direct"
MEGABYTE = 1 << 20

# One row of bench/results.json.
Result = collections.namedtuple("Result", "bench contender connections cpus size value unit")


def measured(printed, counted):
    """What each line says behind `measured`, and each processor's instructions for it."""
    marks = [list(map(int, line.split())) for line in open(counted)]
    for line in open(printed):
        words = line.split()
        if words[:1] == ["measured"]:
            before, after, *marks = marks
            yield words[1:], [b - a for a, b in zip(before, after)]
    assert not marks, "marks that nobody has told of"


def keep(results):
    """They take the place of those before of the same benches."""
    file, benches = "results.json", {one.bench for one in results}
    kept = json.load(open(file)) if os.path.exists(file) else []
    kept = [one for one in kept if one["bench"] not in benches] + [one._asdict() for one in results]
    with open(file, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(one) for one in kept) + "\n]\n")


def table(results, columns, less=None, unit_of="haproxy", missing="-"):
    """Rows are contenders, columns (title, key) what key() chooses of the results; in brackets the ratio to one of them.
    With `less`, that contender's value is taken from all."""
    names = [name for name in dict.fromkeys(one.contender for one in results) if name != less]
    yield "| contender | " + " | ".join(title for title, _ in columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for name in names:
        cells = []
        for _, chosen in columns:
            value = {one.contender: one.value for one in results if chosen(one)}
            if name not in value:
                cells.append(missing)
                continue
            base = value[less] if less else 0
            other = value.get(unit_of, 0) - base
            ratio = f" ({(value[name] - base) / other:.3g})" if other else ""
            cells.append(f"{value[name] - base:,.0f}{ratio}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def forward(kernel, lines):
    results = [
        Result("forward", contender, int(connections), 1, 60, round(sum(executed) / int(times)), "instructions/segment")
        for (_, contender, connections, times), executed in lines
    ]
    counts = sorted({one.connections for one in results})
    columns = [(f"{count:,} connections", lambda one, count=count: one.connections == count) for count in counts]
    return results, [
        f"# What forwarding a segment costs, kernel {kernel}",
        "",
        "Instructions of the whole machine for one segment of a client (60 octets with its Ethernet header), less what the",
        "generator and the sink alone cost; in brackets the ratio to the flowtable. One processor under QEMU's `-icount`,",
        "counted by a plugin; a client, a switch and a server in network namespaces, joined by veth. Made by",
        "`make bench-forward`.",
        "",
        *table(results, columns, less=NOTHING, unit_of="flowtable"),
    ]


def web(kernel, lines):
    results = []

    def add(bench, contender, connections, size, value, unit):
        results.append(Result(bench, contender, connections, 1, size, round(value), unit))

    for (kind, contender, size, count, at_once, _, *times), executed in lines:
        size, count, at_once = int(size), int(count), int(at_once)
        switch, chain = executed[1] / count, sum(executed) / count
        if kind == "latency":
            for name, value in zip(("first-median", "first-99th", "last-median", "last-99th"), times):
                add(f"latency-{name}", contender, at_once, size, int(value), "ns")
        elif size < 10_000:
            add("connect", contender, at_once, size, switch, "instructions/connection")
            add("chain", contender, at_once, size, chain, "instructions/connection")
        else:
            bench = "transfer" if kind == "download" else "upload"
            add(bench, contender, at_once, size, switch * MEGABYTE / size, "instructions/MB")
            if kind == "download":
                add("chain", contender, at_once, size, chain, "instructions/connection")

    def column(title, bench, size):
        return title, lambda one: one.bench == bench and one.size == size

    sizes = sorted({one.size for one in results if one.bench == "transfer"})
    switch = [column("connection, 1 KB", "connect", 1024)]
    switch += [column(f"MB, {size // 1024:,} KB each", "transfer", size) for size in sizes]
    switch += [column("MB of uploads", "upload", size) for size in sizes[-1:]]
    chain = [column(f"{size // 1024:,} KB", "chain", size) for size in [1024, *sizes]]
    latency = [column(f"{name.replace('-', ' octet, ')}", f"latency-{name}", 1024)
               for name in ("first-median", "first-99th", "last-median", "last-99th")]
    return results, [
        f"# What a request costs, kernel {kernel}",
        "",
        "Three processors, for a client, a switch and a server in network namespaces of one machine, under QEMU's `-icount`, counted by a",
        "plugin; joined by veth, each packet received by its own side's processor. Every request (200 octets) is on a connection of",
        "its own, to a real nginx; servers answer past the switch where the contender allows it. In brackets the ratio to HAProxy.",
        "`make bench-web`.",
        "",
        "At the switch, instructions for each:",
        "",
        *table([one for one in results if one.contender != NOTHING], switch),
        "",
        "The whole chain, instructions for each request:",
        "",
        *table(results, chain),
        "",
        "How long one request alone takes, nanoseconds of a machine that executes an instruction in each; in brackets the ratio to a",
        "client and a server without a switch:",
        "",
        *table(results, latency, unit_of=NOTHING),
    ]


def main(bench, kernel, printed, counted):
    results, lines = {"forward": forward, "web": web}[bench](kernel, measured(printed, counted))
    keep(results)
    text = "\n".join(lines) + "\n"
    with open(f"net/results/{bench}.md", "w") as f:
        f.write(text)
    print(text)


main(*sys.argv[1:])
