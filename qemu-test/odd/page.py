# SPDX-License-Identifier: GPL-2.0
"""Makes docs/odd-machines.md of what scripts/odd-machines has found.

    page.py KERNEL <RESULTS
"""

import sys

INTRODUCTION = """# Odd machines

Settings, packet filters, interfaces, routes and Web servers that the modules were tried with, each by itself, and what came of it.
This page is made by a run and not by hand: `make test-odd-machines` runs all of it, and fails when a cell fails or when the
page says other than the run; `scripts/odd-machines --keep` writes it anew.

| word | meaning |
|---|---|
| ok | clients get what they would get from an ordinary Web server there: small and large answers and uploads, kept connections, \
heads of several segments, half-closed connections; every POST is carried out once; and no counter says that anything was refused or lost |
| limit | it does not work, for the reason that is given, and whoever meets it is told so: what the run checks is that |
| **fails** | it should work and does not |

"Settings" are tried one line at a time, the others at their defaults. For those at the switch a client, which offers all options of TCP,
must be given just those that an ordinary listener there gives it.
"""


def words(text):
    return text.strip().replace("|", "\\|")


def main(kernel):
    groups = {}
    for line in sys.stdin:
        _, result, group, name, reason = line.rstrip("\n").split("\t")
        groups.setdefault(group or "Scripts", []).append((result, name, reason))
    print(INTRODUCTION)
    cells = [cell for group in groups.values() for cell in group]
    count = {word: sum(result == word for result, _, _ in cells) for word in ("ok", "limit", "fail")}
    print(f"Kernel {kernel}: {len(cells)} cells, {count['ok']} ok, {count['limit']} limits, {count['fail']} that fail.")
    for group, cells in groups.items():
        print(f"\n## {group}\n")
        same = group.startswith("Settings")
        # Settings are many, and what is there to say of one that works?
        if same:
            fine = [name for result, name, _ in cells if result == "ok"]
            if fine:
                print("ok: " + ", ".join(f"`{short(name)}`" for name in fine) + ".\n")
            cells = [cell for cell in cells if cell[0] != "ok"]
        if cells:
            print("| what | result | |\n|---|---|---|")
        for result, name, reason in cells:
            print(f"| {f'`{short(name)}`' if same else words(name)} | {'**fails**' if result == 'fail' else result} | {words(reason)} |")


def short(setting):
    return setting.replace("net.ipv4.", "").replace(",", " ")


if __name__ == "__main__":
    main(*sys.argv[1:])
