# SPDX-License-Identifier: GPL-2.0
# To the kernel's drop monitors (dropwatch, retis, perf) only what is dropped is a drop: no message that was obeyed, and no
# segment that was.
# run: --servers 1
set -euo pipefail
. "$TOOLS/helpers.sh"

TRACING=/sys/kernel/tracing
mountpoint -q $TRACING || mount -t tracefs tracefs $TRACING
trap 'umount $TRACING' EXIT
# drops COMMAND...: how many packets the modules drop in the meantime.
drops() {
	echo >$TRACING/trace
	echo 1 >$TRACING/events/skb/kfree_skb/enable
	"$@" >/dev/null
	echo 0 >$TRACING/events/skb/kfree_skb/enable
	grep -c "location=.*\[thop_" $TRACING/trace || true
}

pool_of 1 | configure
acquaint
traffic() {
	local n
	for n in 1 2 3 4 5; do
		on client curl -sS -m 10 "http://$VIP/1k" "http://$VIP/100k" -o /dev/null -o /dev/null
		on client curl -sS -m 10 --data-binary "@$WWW/files/100k" "http://$VIP/post"
	done
	# The load monitor asks every second, and connections are ended by messages.
	sleep 4
}
step "messages and segments that are obeyed"
same "drops" "$(drops traffic)" 0
step "a message that is not believed"
foreign() {
	py client <<-'PY'
		import socket, os
		s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
		s.sendto(bytes(64), (os.environ["SWITCH"], 0))
		s.sendto(bytes(64), (os.environ["SERVER1"], 0))
	PY
	sleep 0.5
}
same "drops" "$(drops foreign)" 2
