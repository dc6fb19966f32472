# SPDX-License-Identifier: GPL-2.0
"""bench/results.json: every figure that was measured, an object each."""

import collections
import json
import os

FILE = "results.json"

Result = collections.namedtuple("Result", "bench contender connections cpus size value unit")


def keep(results):
    """They take the place of those before of the same benches."""
    benches = {one.bench for one in results}
    kept = json.load(open(FILE)) if os.path.exists(FILE) else []
    kept = [one for one in kept if one["bench"] not in benches] + [one._asdict() for one in results]
    with open(FILE, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(one) for one in kept) + "\n]\n")
