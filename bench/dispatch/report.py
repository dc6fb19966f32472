# SPDX-License-Identifier: GPL-2.0
"""Turns what the benchmarks print, on standard input, into tables and a plot in dispatch/results, and bench/results.json.

    cd bench && python3 -m dispatch.report
"""

import math
import os
import re
import sys

from results import Result, keep

RESULTS = "dispatch/results"
BY_ORACLE = ", by httparse"

text = sys.stdin.read()
policies = [(int(n), name, float(ns)) for n, name, ns in
            re.findall(r"^ *(\d+) servers +(\S+) +([\d.]+) ns a decision", text, re.M)]
routes = [(int(n), kind.strip(), float(ns)) for n, kind, ns in
          re.findall(r"^ *(\d+) routes by (.+?) +([\d.]+) ns a lookup", text, re.M)]
logic = [(what, float(ns)) for what, ns in re.findall(r"^logic: (.+): ([\d.]+) ns$", text, re.M)]
if not policies or not routes or not logic:
    sys.exit("no figures on standard input")
base = {n: ns for n, name, ns in policies if name == "rr"}
unit = base[min(base)]
names = list(dict.fromkeys(name for _, name, _ in policies))
kinds = list(dict.fromkeys(kind for _, kind, _ in routes))
pools = sorted(base)
counts = sorted({n for n, _, _ in routes})
cost = {(n, name): ns for n, name, ns in policies} | {(n, kind): ns for n, kind, ns in routes}

os.makedirs(RESULTS, exist_ok=True)
with open(f"{RESULTS}/dispatch.csv", "w") as out:
    print("what,size,ns,times_rr", file=out)
    for n, name, ns in policies:
        print(f"policy {name},{n},{ns},{ns / base[n]:.2f}", file=out)
    for n, kind, ns in routes:
        print(f"route by {kind},{n},{ns},{ns / unit:.2f}", file=out)

with open(f"{RESULTS}/dispatch.md", "w") as out:
    def table(title, columns, rows, factor):
        print(f"| {title} | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns), file=out)
        for row, keys in rows:
            print(f"| {row} | " + " | ".join(f"{cost[k] / factor(k[0]):.1f}" for k in keys) + " |", file=out)
        print(file=out)

    print("What a decision costs, as a multiple of what `rr` costs in the same run (for routes: with the\n"
          f"smallest pool). `rr` took {unit:.1f} ns. `make bench-dispatch` has written this.\n", file=out)
    table("policy", [f"{n} servers" for n in pools],
          [(f"`{name}`", [(n, name) for n in pools]) for name in names], lambda n: base[n])
    table("route by", [f"{n:,} routes" for n in counts],
          [(kind, [(n, kind) for n in counts]) for kind in kinds], lambda n: unit)

with open(f"{RESULTS}/logic.md", "w") as out:
    print("What the pure logic costs, nanoseconds, the best of 20 samples; in brackets as a multiple of what the same\n"
          "request takes `httparse`. `make bench-dispatch` has written this.\n", file=out)
    print("| what | ns |\n|---|---:|", file=out)
    oracle = {what.removesuffix(BY_ORACLE): ns for what, ns in logic if what.endswith(BY_ORACLE)}
    for what, ns in logic:
        ratio = f" ({ns / oracle[what]:.2f})" if what in oracle else ""
        print(f"| {what} | {ns:,.1f}{ratio} |", file=out)

# Curves of the routes: the number of routes across, both axes logarithmic.
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 400, 60, 40, 150, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555", "#e69f00", "#56b4e9", "#000000")
top = 10 ** math.ceil(math.log10(max(ns / unit for _, _, ns in routes)))
x = lambda n: LEFT + (WIDTH - LEFT - RIGHT) * math.log(n / counts[0]) / math.log(counts[-1] / counts[0])
y = lambda v: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log10(max(v, 1)) / math.log10(top)
say = lambda at, up, anchor, words: f'<text x="{at:.0f}" y="{up:.0f}" text-anchor="{anchor}">{words}</text>'
svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
       f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
       say(LEFT, 20, "start", "Finding the route of a request: cost as a multiple of a decision of rr")]
for v in (10 ** e for e in range(int(math.log10(top)) + 1)):
    svg += [f'<path d="M{LEFT} {y(v):.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>', say(LEFT - 6, y(v) + 4, "end", v)]
for n in counts:
    svg += [f'<path d="M{x(n):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#dddddd"/>',
            say(x(n), HEIGHT - BOTTOM + 18, "middle", f"{n:,}")]
svg.append(say((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "middle", "routes"))
# The names stand beside the curves' ends, none upon another.
ends = sorted(kinds, key=lambda kind: -cost[counts[-1], kind])
at = TOP
for kind in ends:
    at = max(at + 15, y(cost[counts[-1], kind] / unit) + 4)
    colour = COLOURS[kinds.index(kind) % len(COLOURS)]
    path = " ".join(f"{x(n):.1f},{y(cost[n, kind] / unit):.1f}" for n in counts)
    svg += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<g fill="{colour}">{say(WIDTH - RIGHT + 8, at, "start", kind)}</g>']
svg.append("</svg>")
with open(f"{RESULTS}/dispatch.svg", "w") as out:
    print("\n".join(svg), file=out)

keep([Result(f"logic: {what.removesuffix(BY_ORACLE)}", "httparse" if what.endswith(BY_ORACLE) else "thop", 1, 1, 0, ns, "ns")
      for what, ns in logic] +
     [Result(f"decision: {name}", "thop", 1, 1, n, ns, "ns") for n, name, ns in policies] +
     [Result(f"route by {kind}", "thop", 1, 1, n, ns, "ns") for n, kind, ns in routes])
