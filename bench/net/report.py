# SPDX-License-Identifier: GPL-2.0
"""From what a machine printed and counted to bench/results.json and a table.

    report.py BENCH KERNEL PRINTED COUNTED

PRINTED has a line `measured BENCH CONTENDER CONNECTIONS TIMES` for every two lines of COUNTED, the marks before and
after what was done so many times.
"""

import json
import os
import sys

# The one that stands for the machine itself: what all have in common.
NOTHING = "direct"
UNIT = "instructions/segment"


def measured(bench, printed, counted):
    """{(contender, connections): instructions for one}."""
    marks = [sum(map(int, line.split())) for line in open(counted)]
    found = {}
    for line in open(printed):
        words = line.split()
        if words[:2] == ["measured", bench]:
            before, after, *marks = marks
            found[words[2], int(words[3])] = (after - before) / int(words[4])
    assert not marks, "marks that nobody has told of"
    return found


def keep(bench, values):
    """The results of this bench take the place of those before."""
    file = "results.json"
    kept = json.load(open(file)) if os.path.exists(file) else []
    kept = [one for one in kept if one["bench"] != bench]
    for (contender, connections), value in values.items():
        kept.append({"bench": bench, "contender": contender, "connections": connections, "cpus": 1, "size": 60,
                     "value": round(value), "unit": UNIT})
    with open(file, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(one) for one in kept) + "\n]\n")


def table(values):
    """The cost itself, without what generator and sink cost, and its ratio to the flowtable's."""
    counts = sorted({connections for _, connections in values})
    contenders = [name for name in dict.fromkeys(name for name, _ in values) if name != NOTHING]
    yield "| contender | " + " | ".join(f"{count:,} connections" for count in counts) + " |"
    yield "|---|" + "---:|" * len(counts)
    for name in contenders:
        cells = []
        for count in counts:
            cost = values[name, count] - values[NOTHING, count]
            other = values["flowtable", count] - values[NOTHING, count]
            cells.append(f"{cost:,.0f} ({cost / other:.2f})")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main(bench, kernel, printed, counted):
    values = measured(bench, printed, counted)
    keep(bench, values)
    lines = [
        f"# What forwarding a segment costs, kernel {kernel}",
        "",
        "Instructions of the whole machine for one segment of a client (60 octets with its Ethernet header), less what the",
        "generator and the sink alone cost; in brackets the ratio to the flowtable. One processor under QEMU's `-icount`,",
        "counted by a plugin; a client, a switch and a server in network namespaces, joined by veth. Made by",
        "`make bench-forward`.",
        "",
        *table(values),
    ]
    text = "\n".join(lines) + "\n"
    with open(f"net/results/{bench}.md", "w") as f:
        f.write(text)
    print(text)


main(*sys.argv[1:])
