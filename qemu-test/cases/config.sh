# SPDX-License-Identifier: GPL-2.0
# The configuration: what is refused and why, who may write it, what it does, and that nobody
# notices when it changes.
set -euo pipefail
. "$TOOLS/helpers.sh"
config=/proc/net/thop_switch/config

step "a bad text changes nothing and is answered with line and reason"
on switch cat $config >good
[ -s good ] || fail "the running configuration is empty"
py switch <<'PY'
import os
from http_client import *

CONFIG = "/proc/net/thop_switch/config"
ERROR = "/proc/net/thop_switch/config_error"


def read(name):
    with open(name) as f:
        return f.read()


def write(text):
    """One write(); returns the error number."""
    fd = os.open(CONFIG, os.O_WRONLY)
    try:
        same("octets taken", os.write(fd, text), len(text))
        return 0
    except OSError as e:
        return e.errno
    finally:
        os.close(fd)


import errno

good = read(CONFIG)
begin = "pool web\nserver s1 pool web address 10.0.0.11:80\n"
service = begin + "service web address 10.0.0.100:80 pool web\n"
for text, line, reason in (
    ("nonsense\n", 1, "unknown word"),
    (begin + "\n# a comment\nservice web\n", 5, "address"),
    (begin + "service web address 10.0.0.100 pool web\n", 3, "address"),
    (begin + "service web address 10.0.0.100:0 pool web\n", 3, "65535"),
    (begin + "service web address 10.0.0.300:80 pool web\n", 3, "address"),
    (begin + "service web address [2001:db8::1]:80 pool web\n", 3, "IPv6"),
    (begin + "service web address 10.0.0.100:80 pool other\n", 3, "other"),
    (begin + "service web address 10.0.0.100:80 pool web pool web\n", 3, "twice"),
    (begin + "service web address 10.0.0.100:80 pool web head-limit 1m\n", 3, "head-limit"),
    (begin + "service web address 10.0.0.100:80 pool web head-limit 33k\n", 3, "head-limit"),
    (begin + "service web address 10.0.0.100:80 pool web head-timeout 5\n", 3, "head-timeout"),
    (begin + "server s1 pool web address 10.0.0.12:80\n", 3, "already"),
    (begin + "server s2 pool web address 10.0.0.11:80\n", 3, "10.0.0.11:80"),
    (begin + "server s2 pool web address 10.0.0.12:80 weight 70000\n", 3, "weight"),
    (begin + "pool web\n", 3, "already"),
    (begin + "pool w\xe9b\n", 3, "name"),
    (begin + "pool " + "x" * 33 + "\n", 3, "name"),
    (begin + "pool other policy fastest\n", 3, "fastest"),
    (service + "route service web pool web\n", 4, "host or path"),
    (service + "route service web path noslash pool web\n", 4, "path"),
    (service + "service again address 10.0.0.100:80 pool web\n", 4, "10.0.0.100:80"),
    (begin + "#" * 5000 + "\n", 3, "longer"),
    (begin + "pool a\0b\n", 3, "name"),
):
    number = write(text.encode("latin-1"))
    same(f"error number for {short(text)}", errno.errorcode.get(number), "EINVAL")
    answer = read(ERROR)
    check(answer.startswith(f"line {line}: ") and reason in answer,
          f"{short(text)}: the reason is {answer!r}, and should name line {line} and {reason!r}")
    same("the running configuration", read(CONFIG), good)

same("a text too long", write(b"#\n" * 600_000) in (errno.EINVAL, errno.E2BIG, errno.EFBIG), True)
same("the running configuration", read(CONFIG), good)

same("the running configuration, written back", write(good.encode()), 0)
same("the reason after a good text", read(ERROR).strip(), "")
same("what was written back", read(CONFIG), good)
# A last line without its end.
same("without the last line feed", write(good.rstrip("\n").encode()), 0)
same("what was written back", read(CONFIG), good)

# As large as one may imagine.
lines = []
for pool in range(4):
    lines += [f"pool big{pool} check-interval off"]
    lines += [f"server s{n} pool big{pool} address 10.{pool}.{n >> 8}.{n & 255}:{80 + n % 7}" for n in range(1, 3_600)]
lines += [f"service web address 10.0.0.100:80"]
lines += [f"route service web host h{n}.example.com path /p{n} pool big{n % 4}" for n in range(3_000)]
text = "\n".join(lines) + "\n"
print(f"  {len(text)} octets")
same("a large text", write(text.encode()), 0)
same("a large text, read", read(CONFIG), text)
same("back to the good one", write(good.encode()), 0)
PY
same "a request with the good one" "$(fetch /1k | cut -c1-3)" 200

step "services that cannot be: the address is not ours, the port is taken"
spawn switch python3 -c '
import socket, time
s = socket.socket()
s.bind(("10.0.0.100", 8888))
s.listen()
print("ready", flush=True)
time.sleep(1000)' >taken
taken=$SPAWNED
wait_for 20 grep -q ready taken
for address in 10.9.9.9:80 "$VIP:8888"; do
	if { default_configuration; echo "service bad address $address pool web"; } | configure 2>error; then
		# Allowed: a virtual address may come later. But then what is there must work.
		echo "  $address is accepted"
	else
		[ -n "$(on switch cat /proc/net/thop_switch/config_error)" ] || fail "no reason for refusing $address"
		echo "  $address: $(on switch cat /proc/net/thop_switch/config_error)"
	fi
	same "the other service" "$(fetch /1k | cut -c1-3)" 200
done
kill $taken
default_configuration | configure

step "who may write"
as_user() { on switch setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
as_user cat $config >/dev/null || true
! as_user sh -c "echo >$config" 2>/dev/null || fail "a user wrote the configuration"
! on switch setpriv --bounding-set=-net_admin --inh-caps=-net_admin sh -c "echo >$config" 2>/dev/null ||
	fail "root without CAP_NET_ADMIN wrote the configuration"
! as_user unshare -r sh -c "echo >$config" 2>/dev/null || fail "root of a user namespace wrote its parent's configuration"
! on switch unshare -U --map-root-user sh -c "echo >$config" 2>/dev/null || fail "root of a user namespace (of root's) wrote its parent's configuration"
on switch cat $config | cmp - good || fail "the configuration has changed"
# In its own network namespace it may.
# The files are its own if its user namespace has a root when the network namespace is made.
as_user unshare -r unshare -n sh -c "
	echo 'pool mine' >$config && grep -q 'pool mine' $config" 2>error ||
	{ cat error; fail "root of a user namespace may not write its own configuration"; }
on switch cat $config | cmp - good || fail "the configuration has changed"
on server1 sh -c "[ ! -s $config ] || ! grep -q pool $config" || fail "the configuration shows in another namespace"

step "routes by host and path"
{
	for n in 1 2 3; do
		echo "pool p$n"
		echo "server s pool p$n address $(address server$n):80"
	done
	echo "service web address $VIP:80 pool p1"
	echo "route service web host img.example.com path /static/ pool p3"
	echo "route service web host img.example.com pool p2"
	echo "route service web path /static/ pool p2"
	echo "route service web path /any/deep/ pool p3"
	echo "service other address $VIP:81"
	echo "route service other host only.example.com pool p3"
} | configure
on switch cat $config >routes
py client <<'PY'
from http_client import *

for host, path, server in (
    ("test", "/any/", 1), ("img.example.com", "/any/", 2), ("IMG.Example.COM", "/any/", 2),
    ("img.example.com:80", "/any/", 2), ("img.example.com.", "/any/", 2), ("ximg.example.com", "/any/", 1),
    ("img.example.com", "/static/x", 3), ("test", "/static/x", 2), ("test", "/staticx", 1),
    ("test", "/any/deep/er", 3), ("test", "/any/deep", 1), ("test", "/any/?/static/", 1),
    ("test", "http://img.example.com/static/x", 3), ("test", "http://IMG.example.com/any/", 2),
):
    with Client() as c:
        c.send(request(path, host=host))
        same(f"{host} {path}", c.answer(status=None).server, f"server{server}")
for host, status in (("only.example.com", 200), ("test", 503)):
    with Client((VIP, 81)) as c:
        c.send(request("/1k", host=host))
        same(f"{host} at the other service", c.answer(status=None).status, status)
PY
configure <routes
on switch cat $config | cmp - routes || fail "routes, written back, differ"

step "weights: 0 gets nothing new, 2 gets twice as much"
{
	echo "pool web policy wrr"
	echo "server s1 pool web address $SERVER1:80 weight 0"
	echo "server s2 pool web address $SERVER2:80 weight 2"
	echo "server s3 pool web address $SERVER3:80"
	echo "service web address $VIP:80 pool web"
} | configure
for ((i = 0; i < 9; i++)); do fetch /1k; done | sort | uniq -c >turns
same "shares" "$(awk '{ print $1, $3 }' turns | paste -sd,)" "6 server2,3 server3"

step "connections outlive their configuration"
default_configuration | configure
on client curl -sS -m 60 --limit-rate 2m "http://$VIP/slow/100k" >got &
download=$!
on client curl -sS -m 60 "http://$VIP/slow/1m?" >got.more &
more=$!
wait_for 20 test -s got.more
echo | configure
status=$(on client curl -sS -m 5 -o /dev/null -w '%{exitcode}' "http://$VIP/1k" 2>/dev/null || true)
same "curl's exit status at a service that is gone" "$status" 7
wait $download $more || fail "a download broke off when its service was removed"
cmp got.more "$WWW/files/1m"
same "empty configuration" "$(on switch cat $config)" ""
default_configuration | configure

step "replaced again and again under traffic"
py client >traffic 2>&1 <<'PY' &
import threading
from http_client import *

end = time.monotonic() + 6
counts = []

def work():
    count = 0
    while time.monotonic() < end:
        try:
            if get("/1k").body != file("1k"):
                raise ValueError("differs")
            count += 1
        except BaseException as e:
            print(repr(e))
            os._exit(1)
    counts.append(count)

threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sum(counts))
PY
traffic=$!
count=0
while kill -0 $traffic 2>/dev/null; do
	pool_of $((count % 3 + 1)) | configure
	default_configuration | configure
	count=$((count + 2))
done
wait $traffic || { cat traffic; fail "requests failed while the configuration was replaced $count times"; }
echo "  $(cat traffic) requests, $count configurations"
