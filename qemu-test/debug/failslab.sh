# SPDX-License-Identifier: GPL-2.0
# Memory that is not to be had: for every single allocation of the modules in turn, and for some of them at random
# while requests come. An error is said, nothing is half done, and nothing is left.
# run: --timeout 600 --memory 3072 --servers 2
set -euo pipefail
. "$TOOLS/helpers.sh"
. "$TOOLS/account.sh"

FAULTS=/sys/kernel/debug
[ -d $FAULTS/failslab ] || fail "this kernel cannot withhold memory"

# set_faults NAME VALUE: of both.
set_faults() {
	local kind
	for kind in failslab fail_page_alloc; do echo "$2" >"$FAULTS/$kind/$1"; done
}
# withhold PERCENT [MODULE]: so many of the allocations that a module makes, or both make, fail.
withhold() {
	local first=0xffffffffa0000000 last=0xffffffffff000000 size
	if [ -n "${2:-}" ]; then
		read -r size first < <(awk -v m="$2" '$1 == m { print $2, $6 }' /proc/modules)
		printf -v last '0x%x' $((first + size))
	fi
	set_faults require-start "$first"
	set_faults require-end "$last"
	set_faults times $TIMES
	set_faults probability "$1"
}
TIMES=1000000
# withheld: how often, since then; the first of each kind says no more than that.
withheld() { echo $((TIMES - $(cat $FAULTS/failslab/times) + TIMES - $(cat $FAULTS/fail_page_alloc/times))); }

set_faults ignore-gfp-wait N
echo N >$FAULTS/fail_page_alloc/ignore-gfp-highmem
echo 0 >$FAULTS/fail_page_alloc/min-order
# Each of them would write a stack into the log.
set_faults verbose 0
# spare FUNCTION: what it asks for it gets.
spare() {
	local first last
	read -r first last < <(awk -v name="$1" '$3 == name { at = $1; next }
		at != "" && $1 != at { print "0x" at, "0x" $1; exit }' <(sort /proc/kallsyms))
	set_faults reject-start "$first"
	set_faults reject-end "$last"
}
# When a slab cache cannot be made the kernel itself puts a stack into the log.
spare __kmem_cache_create_args
# Nothing fails by chance before it is said; what one task asks for does.
withhold 0

step "loading: nothing comes into being, or all"
cat >load.py <<'PY'
import sys
from failing import *

module, arguments = sys.argv[1:]
name = f"thop_{module}"


def nothing_left(done):
    if done:
        # Once more, with the next one failing.
        os.system(f"rmmod {name}")
    with open("/proc/slabinfo") as f:
        left = [line.split()[0] for line in f if line.startswith(name)]
    if os.path.exists(f"/sys/module/{name}") or os.path.exists(f"/proc/net/{name}") or left:
        raise SystemExit(f"FAIL: {name} has left something: {left}")


# That takes more than a second each time, so not quite all of them.
failed = every_nth(f"loading {name}", lambda: load_module(f"{os.environ['MODULES']}/thop-{module}.ko", arguments),
                   nothing_left, step=lambda n: 1 + n // 12)
if not failed:
    raise SystemExit(f"FAIL: that does not reach {name}")
PY
unload_modules
py wire switch "$SWITCH_ARGS" <load.py
py wire server "$SERVER_ARGS" <load.py
load_modules
default_configuration | configure

step "a new network namespace: it is there, or not"
cat >namespace.py <<'PY'
from failing import *

if not every_nth("a namespace", lambda: os.unshare(os.CLONE_NEWNET)):
    raise SystemExit("FAIL: that does not reach the modules")
for module in "switch", "server":
    if not os.path.exists(f"/proc/net/thop_{module}/stats"):
        raise SystemExit(f"FAIL: the namespace has no {module}")
PY
py wire <namespace.py

step "configurations: the new one, or the old one as it was"
default_configuration >one
{
	echo "pool spare policy lard"
	echo "server o pool spare address $SERVER1:80"
	echo "pool web policy maglev key path backup spare queue 10 slow-start 1s"
	for n in 1 2; do echo "server s$n pool web address $(address server$n):80 weight $((n + 1))"; done
	echo "service web address $VIP:80 pool web"
	echo "route service web host *.example.com path /a/ pool spare"
	echo "route service web header x-a=b cookie c=d pool spare"
} >two
cat >configure.py <<'PY'
from failing import *

FILE = "/proc/net/thop_switch/config"


def read(file=FILE):
    with open(file, "rb") as f:
        return f.read()


def write(text):
    file = os.open(FILE, os.O_WRONLY)
    try:
        os.write(file, text)
    finally:
        os.close(file)


texts = [read("one"), read("two")]
write(texts[0])
read_as = [read()]
write(texts[1])
read_as.append(read())
for turn in 0, 1:
    write(texts[1 - turn])

    def after(done):
        if read() != (read_as[turn] if done else read_as[1 - turn]):
            raise SystemExit(f"FAIL: the configuration is neither: {read()!r}")
        # Back, so that each time is the first.
        write(texts[1 - turn])

    # Few: where the slab allocator has nothing, vmalloc() is asked.
    if not every_nth(f"configuration {turn + 1}", lambda: write(texts[turn]), after):
        raise SystemExit("FAIL: that does not reach the module")
write(texts[0])
PY
on switch python3 configure.py

step "keys and orders: the same; and reading whatever there is"
key >key
cat >files.py <<'PY'
import sys
from failing import *


def read(file):
    with open(file, "rb", 0) as f:
        while f.read(65536):
            pass


def write(file, text):
    f = os.open(file, os.O_WRONLY)
    try:
        os.write(f, text)
    finally:
        os.close(f)


module = sys.argv[1]
folder = f"/proc/net/{module}"
with open("key", "rb") as f:
    key = f.read()
failed = every_nth(f"{module}: the key", lambda: write(f"{folder}/auth", key))
for name in sorted(os.listdir(folder)):
    failed += every_nth(f"{module}: {name}", lambda: read(f"{folder}/{name}"))
if module == "thop_switch":
    failed += every_nth("an order", lambda: write(f"{folder}/servers", b"web/s1 weight 2\nweb/s2 drain\n"))
    write(f"{folder}/servers", b"web/s1 weight 1\nweb/s2 ready\n")
if not failed:
    raise SystemExit("FAIL: that does not reach the module")
PY
on switch python3 files.py thop_switch
on server1 python3 files.py thop_server
all_up

# What may become of a request then. Nobody gets another's octets, nothing is carried out twice: `only` sees to it.
anything="(GET|PUT|POST) (whole|503|504|408|reset|cut|refused|silent|unreachable)"
export PATIENCE=15
# Who watches over references to devices says once that he no longer does.
spare ref_tracker_alloc
accounting_begins
for module in thop_switch thop_server; do
	step "requests while every tenth, and every third allocation of $module fails"
	for percent in 10 33; do
		name=$module-$percent
		load_begins "$name"
		withhold $percent $module
		sleep 15
		withhold_count=$(withheld)
		withhold 0
		load_ends
		echo "  $withhold_count allocations have failed"
		[ "$withhold_count" -gt 20 ] || fail "that does not reach $module"
		only "$name" "$anything"
		works_again "$name"
	done
done
