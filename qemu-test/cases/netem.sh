# SPDX-License-Identifier: GPL-2.0
# Loss, duplication, reordering and delay: slow, but everything arrives.
# run: --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

# Transfers of every kind, at the same time.
cat >transfers.py <<'PY'
import threading
from http_client import *

large, middle, small, body = file("1m"), file("100k"), file("1k"), octets(300_000, 7)
problems = []

def run(what, job):
    try:
        job()
    except SystemExit:
        problems.append(f"{what} failed")
    except Exception as e:
        problems.append(f"{what}: {e!r}")

def download(path, wanted):
    def job():
        with Client(timeout=120) as c:
            c.send(request(path, headers=["Connection: close"]))
            check(c.answer().body == wanted, f"{path} differs")
            c.at_end()
    return job

def upload(n):
    def job():
        with Client(timeout=120) as c:
            server = c.ask(f"/upload/n{n}", "PUT", body).server
            check(uploaded(server, f"n{n}") == body, f"upload {n} differs")
    return job

def post():
    with Client(timeout=120) as c:
        same("POST", c.ask("/post", "POST", middle).body, b"received 102400\n")

def many():
    with Client(timeout=120) as c:
        for n in range(8):
            check(c.ask("/1k").body == small, "a request of many differs")

def pieces():
    with Client(timeout=120) as c:
        data = request("/any/p")
        for at in range(0, len(data), 9):
            c.send(data[at:at + 9])
            time.sleep(0.05)
        c.answer()

jobs = [("download of 1 MB", download("/1m", large))]
jobs += [(f"download of 100 KB, {n}", download("/100k", middle)) for n in range(8)]
jobs += [(f"download of 1 KB, {n}", download("/1k", small)) for n in range(20)]
jobs += [(f"upload {n}", upload(n)) for n in range(4)]
jobs += [(f"POST {n}", post) for n in range(3)]
jobs += [(f"many {n}", many) for n in range(3)]
jobs += [(f"pieces {n}", pieces) for n in range(3)]
threads = [threading.Thread(target=run, args=job) for job in jobs]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(*problems, sep="\n", end="")
sys.exit(bool(problems))
PY
trouble='delay 100ms 10ms loss 5% duplicate 3% reorder 10% 50%'

# A request in pieces takes its time on such a path, more so on a busy machine.
default_configuration | sed 's/^service .*/& head-timeout 60s/' | configure

step "on the client's side: $trouble, each way"
netem client $trouble
on client python3 transfers.py || fail "transfers with a bad network at the client"
netem client off

step "on the THOP path, and all else that the switch sends and receives"
netem switch $trouble
on client python3 transfers.py || fail "transfers with a bad network at the switch"
netem switch off

step "at the servers, with 20 % loss"
for n in 1 2 3; do netem "server$n" in delay 10ms loss 20%; done
on client python3 - <<'PY' || fail "requests with 20 % loss at the servers"
import threading
from http_client import *

problems = []

def job(n):
    try:
        with Client(timeout=120) as c:
            check(c.ask("/100k").body == file("100k"), "differs")
    except BaseException as e:
        problems.append((n, repr(e)))

threads = [threading.Thread(target=job, args=(n,)) for n in range(20)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(*problems, sep="\n", end="")
sys.exit(bool(problems))
PY
for n in 1 2 3; do netem "server$n" off; done
same "a request when all is well again" "$(fetch /1k | cut -c1-3)" 200
