# SPDX-License-Identifier: GPL-2.0
# The KUnit suites of rust/kunit, which run when their module is loaded.
# run: --servers 1
set -euo pipefail
. "$TOOLS/helpers.sh"

step "the suites pass, each of them"
begin="kunit begins $EPOCHREALTIME"
echo "$begin" >/dev/kmsg
insmod "$MODULES/thop-kunit.ko"
# Without the time at the beginning of each line.
dmesg | sed 's/^\[[^]]*\] //' | awk -v begin="$begin" 'on; index($0, begin) { on = 1 }' >log
cat log
for suite in thop_counters thop_deadlines thop_packets thop_sync thop_table thop_work; do
	grep -qE "^# $suite: pass:[1-9][0-9]* fail:0 skip:0 " log || fail "$suite has not passed, or not run"
done
! grep "^ *not ok" log || fail "not all has passed"

step "their module goes again, and leaves no slab cache"
rmmod thop_kunit
no_caches() { ! grep '^thop_kunit' /proc/slabinfo; }
wait_for 20 no_caches || fail "a slab cache is left"
