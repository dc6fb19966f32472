# SPDX-License-Identifier: GPL-2.0
"""What happens when there is no memory for the first, the second, ... allocation that one system call of ours makes
in the modules: see Documentation/fault-injection, "fail-nth". What /sys/kernel/debug/fail* filters is the caller's.
"""

import ctypes
import errno
import os
import threading

# A file system or a netlink socket has words of its own for it.
NO_MEMORY = errno.ENOMEM, errno.ENOBUFS
# More than any system call of ours makes: without an end to it something repeats an allocation for ever.
MOST = 3000


def every_nth(what, action, after=lambda done: None, step=lambda n: 1):
    """Does it with the first allocation failing, with the second, ... until none is left to fail. `after` is told
    each time whether it was done, `step` how many to go on after the n-th. Prints, and returns, how many have
    failed it."""
    control = os.open(f"/proc/self/task/{threading.get_native_id()}/fail-nth", os.O_RDWR)
    failed, n, tries = 0, 1, 0
    while n < MOST:
        os.pwrite(control, str(n).encode(), 0)
        done = True
        try:
            action()
        except OSError as e:
            if e.errno not in NO_MEMORY:
                raise SystemExit(f"FAIL: {what}, allocation {n}: {e!r}")
            done = False
        left = int(os.pread(control, 20, 0).strip(b"\0 \n"))
        os.pwrite(control, b"0", 0)
        if left and not done:
            raise SystemExit(f"FAIL: {what}: no memory, though nothing was withheld")
        failed += not done
        after(done)
        if left:
            print(f"  {what}: {n - left} allocations; {tries} were made to fail, of which it cannot do without {failed}",
                  flush=True)
            os.close(control)
            return failed
        tries += 1
        n += step(n)
    raise SystemExit(f"FAIL: {what}: {MOST} allocations, and no end")


def load_module(path, arguments=""):
    """As insmod does, but with this process's own system call."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(path, os.O_RDONLY)
    try:
        # By name, as the number is the machine's.
        if libc.syscall(FINIT_MODULE[os.uname().machine], file, arguments.encode(), 0):
            raise OSError(ctypes.get_errno(), "finit_module")
    finally:
        os.close(file)


FINIT_MODULE = {"x86_64": 313, "aarch64": 273, "riscv64": 273}
