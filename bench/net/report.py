# SPDX-License-Identifier: GPL-2.0
"""From what machines printed and counted to bench/results.json and a table.

    cd bench && python3 -m net.report forward|scaling|chain|web|wan|profile KERNEL FOLDER

FOLDER has a folder for each machine. Its file `printed` has a line `measured ...` for every two lines of `counted`: the marks before
and after, each with the instructions of every processor so far. For a profile `counted.2`, `counted.4` and so on say what was
executed in between.
"""

import bisect
import collections
import glob
import math
import re
import sys

from results import Result, keep

# How fast a processor is that throughput is told of, instructions per second, and the load at which it is told how idle it is,
# requests per second.
SPEED = 1_000_000_000
LOAD = 5_000
# The one that stands for the machine itself: what all have in common.
NOTHING = "direct"
MEGABYTE = 1 << 20

class Machine:
    """What a machine has printed, and the file with what was counted."""

    def __init__(self, folder):
        self.counted = f"{folder}/counted"
        self.printed = collections.defaultdict(list)
        for line in open(f"{folder}/printed"):
            kind, *words = line.split() or [""]
            self.printed[kind].append(words)

    def measured(self):
        """What each line says behind `measured`, and each processor's instructions for it."""
        marks = [list(map(int, line.split())) for line in open(self.counted)]
        for words in self.printed["measured"]:
            before, after, *marks = marks
            yield words, [b - a for a, b in zip(before, after)]
        assert not marks, "marks that nobody has told of"

    def memory(self):
        """What each line says behind `memory`: contender, connections, octets of all of them."""
        for contender, connections, octets in self.printed["memory"]:
            yield contender, int(connections), int(octets)

    def asked(self):
        """What each line says behind `asked`."""
        yield from self.printed["asked"]

    def functions(self):
        """Where the kernel's functions begin, ascending, and their names."""
        found = sorted((int(at, 16), name, module) for at, name, *module in self.printed["symbol"])
        return [at for at, _, _ in found], [" ".join([readable(name), *module]) for _, name, module in found]

    def profile(self, n):
        """What the n-th line's blocks of code are, from 1: address, and the instructions of each processor."""
        for line in open(f"{self.counted}.{2 * n}"):
            address, *counts = line.split()
            yield int(address, 16), list(map(int, counts))


class Run:
    """What all machines have measured."""

    def __init__(self, folder):
        self.machines = [Machine(one) for one in sorted(glob.glob(f"{folder}/*/"))]

    def measured(self):
        """As of each machine."""
        for machine in self.machines:
            yield from machine.measured()

    def memory(self):
        """As of each machine."""
        for machine in self.machines:
            yield from machine.memory()


def plot(name, svg):
    with open(f"net/results/{name}.svg", "w") as f:
        f.write(svg)


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
            other = value.get(unit_of, base) - base
            ratio = f" ({(value[name] - base) / other:.3g})" if other else ""
            cells.append(f"{value[name] - base:,.0f}{ratio}")
        yield f"| {name} | " + " | ".join(cells) + " |"


# Colours that the colour-blind can tell apart (Okabe and Ito); a contender has the same in every plot.
COLOURS = {"thop": "#0072b2", "thop-siphash": "#56b4e9", "thop-sockets": "#56b4e9", "haproxy": "#d55e00", "nginx": "#009e73", "ipvs-nat": "#cc79a7",
           "ipvs-dr": "#e69f00", "flowtable": "#f0e442", "forward": "#999999", "direct": "#444444"}


def bars(title, unit, results, columns, less=None):
    """A plot of the same figures as table(): a group of bars for each column, from 0."""
    groups = []
    for name, chosen in columns:
        value = {one.contender: one.value for one in results if chosen(one)}
        base = value.get(less, 0)
        groups.append((name, [(who, v - base) for who, v in value.items() if who != less]))
    most = max(v for _, group in groups for _, v in group)
    step = 10 ** math.floor(math.log10(most))
    step = next(s for s in (step / 5, step / 2, step) if most / s <= 8)
    top = math.ceil(most / step) * step
    names = list(dict.fromkeys(who for _, group in groups for who, _ in group))
    left, up, gap, height = 70, 60, 30, 260
    # About as wide as its letters are.
    label = {who: 40 + 7 * len(who) for who in names}
    # Wide enough that the bars take the room of their names and the title.
    room = max(sum(label.values()), 8 * len(title) - left)
    bar = min(max(26, (room - gap * len(groups)) // sum(len(group) for _, group in groups)), 60)
    width = left + max(room, sum(len(group) * bar + gap for _, group in groups)) + 20
    y = lambda v: up + height * (1 - max(v, 0) / top)

    def text(x, at, words, anchor="middle", more=""):
        return f'<text x="{x:.0f}" y="{at:.0f}" text-anchor="{anchor}"{more}>{words}</text>'

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{up + height + 60}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{width}" height="{up + height + 60}" fill="white"/>',
           text(10, 20, title, "start", ' font-size="14"')]
    for n in range(round(top / step) + 1):
        at = y(n * step)
        svg += [f'<path d="M{left} {at:.1f}H{width - 10}" stroke="#dddddd"/>', text(left - 6, at + 4, f"{n * step:,.0f}", "end")]
    svg.append(text(10, 44, unit, "start"))
    x = left + gap / 2
    for name, group in groups:
        svg.append(text(x + len(group) * bar / 2, up + height + 18, name))
        for who, v in group:
            svg.append(f'<rect x="{x:.0f}" y="{y(v):.1f}" width="{bar - 4}" height="{up + height - y(v):.1f}" '
                       f'fill="{COLOURS[who]}"><title>{who}: {v:,.0f}</title></rect>')
            x += bar
        x += gap
    x = left
    for who in names:
        svg += [f'<rect x="{x}" y="{up + height + 34}" width="10" height="10" fill="{COLOURS[who]}"/>',
                text(x + 14, up + height + 43, who, "start")]
        x += label[who]
    return "\n".join([*svg, "</svg>"]) + "\n"


def forward(kernel, run):
    rounds, upkeep = collections.defaultdict(list), []
    for (kind, contender, connections, times, _), executed in run.measured():
        each = round(sum(executed) / int(times))
        if kind == "upkeep":
            upkeep.append(Result("upkeep", contender, int(connections), 1, 0, each, "instructions/second"))
        else:
            rounds[contender, int(connections)].append(each)
    costs = [
        Result("forward", contender, connections, 1, 60, min(of_all), "instructions/segment")
        for (contender, connections), of_all in rounds.items()
    ]
    room = [
        Result("memory", contender, connections, 1, 0, round(octets / connections), "octets/connection")
        for contender, connections, octets in run.memory()
    ]

    def by_connections(results):
        counts = sorted({one.connections for one in results})
        return [(f"{count:,} connection{'s' if count > 1 else ''}", lambda one, count=count: one.connections == count)
                for count in counts]

    columns = by_connections(costs)
    title = "Forwarding a segment: instructions, by connections in the table"
    plot("forward", bars(title, "instructions for each segment", costs, columns, less=NOTHING))
    text = [
        f"# What forwarding a segment costs, kernel {kernel}",
        "",
        "Instructions of the whole machine for one segment of a client (60 octets with its Ethernet header), less what the",
        "generator and the sink alone cost; in brackets the ratio to the flowtable. One processor under QEMU's `-icount`,",
        "counted by a plugin; a client, a switch and a server in network namespaces, joined by veth; each figure from a machine of its",
        "own, the least of ten times 5,000 segments. Made by `make bench-forward`.",
        "",
        *table(costs, columns, less=NOTHING, unit_of="flowtable"),
        "",
        "![The same as bars](forward.svg)",
    ]
    if room:
        text += [
            "",
            "What the kernel uses for each connection, octets, with the tables, which were given room for all of them; in brackets the",
            "ratio to IPVS-DR:",
            "",
            *table(room, by_connections(room), unit_of="ipvs-dr"),
        ]
    if upkeep:
        text += [
            "",
            "What the machine executes in a second in which nothing comes, instructions, less what it does without any of them: tables are",
            "looked through for what has ended. It is not in the figures above, as far as ten rounds have one that it does not fall into:",
            "",
            # Routing has no table.
            *table([one for one in upkeep if one.contender != "forward"], by_connections(upkeep), less=NOTHING, unit_of="flowtable"),
        ]
    return costs + room + upkeep, text


def scaling(kernel, run):
    results = []
    for (_, contender, connections, times, cpus), executed in run.measured():
        # Processors that work side by side have worked for as long as the one that had most to do.
        cost = round(max(executed) / int(times))
        results.append(Result("scaling", contender, int(connections), int(cpus), 60, cost, "instructions/segment"))
    alone, together = ({one.contender: one.value for one in results if one.cpus == cpus} for cpus in (1, 2))
    return results, [
        f"# Two processors that forward, kernel {kernel}",
        "",
        "Instructions of a processor for each segment that it sends through the switch (60 octets with its Ethernet header; generator, switch",
        "and sink), alone and while another does the same on other connections; what waiting for locks takes is in it. Two that do not hinder each",
        "other do twice as much as one. Under QEMU, on two processors of the host. Made by `make bench-scaling`.",
        "",
        "| contender | one | two | together they do |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {alone[name]:,} | {together[name]:,} | {2 * alone[name] / together[name]:.2f} times as much |" for name in alone),
    ]


CONTENDERS = "Every request (200 octets) is on a connection of its own, to a real nginx; servers answer past the switch where the " \
             "contender allows it. thop-sockets is THOP with `first_segment=0`."


def size_of(octets):
    return f"{octets // MEGABYTE:,} MB" if octets >= MEGABYTE else f"{octets // 1024:,} KB"


def column(title, bench, size):
    return title, lambda one: one.bench == bench and one.size == size


def chain(kernel, run):
    results = []
    for (kind, contender, size, count, at_once, _, *times), executed in run.measured():
        size, count, at_once = int(size), int(count), int(at_once)
        if kind == "latency":
            for name, value in zip(("first-median", "first-99th", "last-median", "last-99th"), times):
                results.append(Result(f"latency-{name}", contender, at_once, 1, size, int(value), "ns"))
        elif kind == "download":
            cost = round(sum(executed) / count)
            results.append(Result("chain", contender, at_once, 1, size, cost, "instructions/connection"))
    sizes = sorted({one.size for one in results if one.bench == "chain"})
    costs = [column(size_of(size), "chain", size) for size in sizes]
    latency = [column(f"{name.replace('-', ' octet, ')}", f"latency-{name}", 1024)
               for name in ("first-median", "first-99th", "last-median", "last-99th")]
    plot("chain", bars("A request and its response: instructions of the whole chain", "instructions", results, costs[:1]))
    return results, [
        f"# What a request costs the whole chain, kernel {kernel}",
        "",
        "One processor for a client, a switch and a server in network namespaces joined by veth, under QEMU's `-icount`, counted by a",
        f"plugin. {CONTENDERS}",
        "Runs differ by some percent. Made by `make bench-chain`.",
        "",
        "Instructions for each request, of all three; in brackets the ratio to HAProxy:",
        "",
        *table(results, costs),
        "",
        "![The first column as bars](chain.svg)",
        "",
        "How long one request alone takes, nanoseconds of a machine that executes an instruction in each; in brackets the ratio to a",
        "client and a server without a switch:",
        "",
        *table(results, latency, unit_of=NOTHING),
    ]


def web(kernel, run):
    results = []

    def add(bench, contender, connections, size, value, unit):
        results.append(Result(bench, contender, connections, 3, size, round(value), unit))

    for (kind, contender, size, count, at_once, *_), executed in run.measured():
        size, count, at_once = int(size), int(count), int(at_once)
        switch = executed[1] / count
        if size < 10_000:
            add("connect", contender, at_once, size, switch, "instructions/connection")
            add("throughput", contender, at_once, size, SPEED / switch, "requests/second")
            add("idle", contender, at_once, size, 100 - 100 * LOAD * switch / SPEED, "percent")
        else:
            bench = "transfer" if kind == "download" else "upload"
            add(bench, contender, at_once, size, switch * MEGABYTE / size, "instructions/MB")
    costs = [column("connection, 1 KB", "connect", 1024)]
    for bench, what in ("transfer", "responses"), ("upload", "uploads"):
        sizes = sorted({one.size for one in results if one.bench == bench})
        costs += [column(f"MB, {what} of {size_of(size)}", bench, size) for size in sizes]
    results = [one for one in results if one.contender != NOTHING]
    plot("web", bars("A request of 200 octets, a response of 1 KB: instructions at the switch", "instructions", results, costs[:1]))
    return results, [
        f"# What a request costs the switch, kernel {kernel}",
        "",
        "Three processors, for a client, a switch and a server in network namespaces of one machine, which take turns under QEMU's",
        f"`-icount`, counted by a plugin; joined by veth, each packet received by its own side's processor. {CONTENDERS}",
        "Figures repeat within some percent. Made by `make bench-web`.",
        "",
        "Instructions of the switch's processor for each; in brackets the ratio to HAProxy:",
        "",
        *table(results, costs),
        "",
        "![The first column as bars](web.svg)",
        "",
        f"Of the first column follows what a switch's processor of {SPEED:,} instructions per second does with requests of that kind: how many",
        f"per second it can take, and for how much of the time it has nothing to do with {LOAD:,} of them:",
        "",
        *table(results, [column("requests per second", "throughput", 1024), column("idle, percent", "idle", 1024)], unit_of=None),
    ]


def wan(kernel, run):
    results, cells = [], {}
    for machine in run.machines:
        for contender, size, count, ms, congestion, *words in machine.asked():
            size, ms = int(size), int(ms)
            counts, times = list(map(int, words[:6])), list(map(int, words[7:]))
            again, probes, known = (after - before for before, after in zip(counts[:3], counts[3:]))
            where = f"{congestion}-{ms}ms"
            results.append(Result(f"wan-{where}", contender, 1, 1, size, round(times[2] / 1e6, 1), "ms"))
            for bench, value in ("again", again), ("probes", probes), ("known", known):
                results.append(Result(f"wan-{where}-{bench}", contender, 1, 1, size, value, f"segments/{count} requests"))
            cells[congestion, ms, contender, size] = f"{again} / {probes} / {known}"
    text = [
        f"# How long a response takes to a client that is far away, kernel {kernel}",
        "",
        "A client at the end of a line of 100 Mbit/s with a queue of 100 ms, which loses nothing but what that cannot hold; one request (200 octets) at",
        "a time, each on a connection of its own, to a real nginx, and nobody remembers the client from the one before. Client, switch and server are network",
        "namespaces of one machine with one processor under QEMU's `-icount`, so that delays are exact. Servers answer past the switch where the contender",
        "allows it; HAProxy's machine controls congestion as the server does. Made by `make bench-wan`.",
    ]
    for congestion, ms in dict.fromkeys((congestion, ms) for congestion, ms, _, _ in cells):
        sizes = sorted({size for *which, _, size in cells if which == [congestion, ms]})
        names = list(dict.fromkeys(who for c, m, who, _ in cells if (c, m) == (congestion, ms)))
        text += [
            "",
            f"## {congestion}, {ms} ms",
            "",
            "To the last octet, median, milliseconds; in brackets the ratio to a client and a server without a switch:",
            "",
            *table(results, [column(size_of(size), f"wan-{congestion}-{ms}ms", size) for size in sizes], unit_of=NOTHING),
            "",
            "Segments sent again, probes for lost ends (TCPLossProbes), and segments that the client had already (TCPDSACKRecv), of all requests:",
            "",
            "| contender | " + " | ".join(size_of(size) for size in sizes) + " |",
            "|---|" + "---:|" * len(sizes),
            *(f"| {name} | " + " | ".join(cells.get((congestion, ms, name, size), "-") for size in sizes) + " |" for name in names),
        ]
    return results, text


def readable(symbol):
    """A function's name. Of one in Rust (symbol mangling version 0) the identifiers, in which parameters of types are lost."""
    if not symbol.startswith("_R"):
        return symbol
    names, at = [], 2
    while at < len(symbol):
        if symbol[at] in "sB":
            # What tells namesakes apart, or points back.
            at = symbol.find("_", at) + 1 or len(symbol)
        elif symbol[at].isdigit():
            digits = re.match("[0-9]+", symbol[at:]).group()
            at += len(digits)
            at += symbol[at:at + 1] == "_"
            names.append(symbol[at:at + int(digits)])
            at += int(digits)
        else:
            at += 1
    return "::".join(names)


# The processor that is the switch's.
SWITCH = 1
# Where the kernel's half of the addresses begins.
KERNEL = 1 << 63


def by_function(begins, names, blocks):
    """What the switch's processor has executed in each function of the kernel."""
    executed = collections.Counter()
    for at, counts in blocks:
        if at >= KERNEL:
            executed[names[bisect.bisect(begins, at) - 1]] += counts[SWITCH]
    return executed


def profile(kernel, run):
    text = [
        f"# Where the switch's instructions go, kernel {kernel}",
        "",
        "As [web](web.md), by functions of the kernel and the modules; what was inlined belongs to who called it. Functions with less than",
        "one in a hundred are left out. Made by `make bench-profile`.",
    ]
    for machine in run.machines:
        begins, names = machine.functions()
        for at, ((kind, contender, size, count, *_), _) in enumerate(machine.measured(), 1):
            size, count = int(size), int(count)
            executed = by_function(begins, names, machine.profile(at))
            small = size < 10_000
            times = count if small else count * size / MEGABYTE
            total = sum(executed.values())
            text += [
                "",
                f"## {contender}, {kind}s of {size_of(size)}: {total / times:,.0f} for each {'connection' if small else 'megabyte'}",
                "",
                "| function | instructions | part |",
                "|---|---:|---:|",
                *(f"| `{name}` | {n / times:,.0f} | {n / total:.1%} |" for name, n in executed.most_common() if n >= total / 100),
            ]
    return [], text


def main(bench, kernel, folder):
    report = {"forward": forward, "scaling": scaling, "chain": chain, "web": web, "wan": wan, "profile": profile}[bench]
    results, lines = report(kernel, Run(folder))
    keep(results)
    text = "\n".join(lines) + "\n"
    with open(f"net/results/{bench}.md", "w") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
