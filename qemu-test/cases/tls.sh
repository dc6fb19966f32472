# SPDX-License-Identifier: GPL-2.0
# TLS is dispatched by what its ClientHello says, and HTTP/2 in the clear by its preface. What a
# server is asked is seen from the certificate that only it has.
# run: --servers 4 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"

# A certificate for each server, which is its own authority.
NAMES=(- a.example b.example x.c.example default.example)
secure() {
	local n=$1 more=
	[ $n != 4 ] || more=",IP:$VIP"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
		-subj "/CN=${NAMES[n]}" -addext "subjectAltName=DNS:${NAMES[n]}$more" \
		-keyout "key$n.pem" -out "certificate$n.pem" 2>"openssl$n.out" || return
	stop_nginx "$n"
	NGINX_SERVER="http2 on; ssl_certificate $PWD/certificate$n.pem; ssl_certificate_key $PWD/key$n.pem;" \
		start_nginx "$n" 80 "443 ssl"
}
for n in 1 2 3 4; do secure $n & done
for n in 1 2 3 4; do wait -n || { cat openssl?.out; fail "a server does not start"; }; done
cat certificate?.pem >authorities.pem

{
	for n in 1 2 3 4; do
		echo "pool p$n"
		echo "server s$n pool p$n address $(address server$n):443"
	done
	echo "pool empty"
	echo "pool web"
	for n in 1 2 3; do echo "server s$n pool web address $(address server$n):80"; done
	echo "pool grpc"
	echo "server s4 pool grpc address $SERVER4:80"
	echo "service secure address $VIP:443 protocol tls pool p4"
	echo "route service secure host a.example pool p1"
	echo "route service secure host b.example pool p2"
	echo "route service secure host *.c.example pool p3"
	echo "service quick address $VIP:444 protocol tls pool p4 head-limit 1k head-timeout 1500ms"
	echo "service alpn address $VIP:445 protocol tls pool p4"
	echo "route service alpn host b.example alpn h2 pool p2"
	echo "route service alpn alpn h2 pool p1"
	echo "route service alpn alpn http/1.1 pool p3"
	echo "service empty address $VIP:446 protocol tls pool empty"
	echo "service routed address $VIP:447 protocol tls"
	echo "route service routed host a.example pool p1"
	echo "service www address $VIP:80 pool web h2 grpc"
	echo "service old address $VIP:81 pool web"
	echo "service hollow address $VIP:82 pool web h2 empty"
} >configuration
configure <configuration

step "curl gets the server that its SNI means, by its certificate and by X-Server"
# ask NAME [CURL_ARGUMENT]...: status, version, server; the certificate must be that of NAME.
ask() {
	local name=$1
	shift
	on client curl -sS -o /dev/null -m 60 --cacert authorities.pem --resolve "$name:443:$VIP" \
		-w '%{http_code} %{http_version} %header{x-server}\n' "$@" "https://$name/1k"
}
same "a.example" "$(ask a.example)" "200 2 server1"
same "b.example, HTTP/1.1" "$(ask b.example --http1.1)" "200 1.1 server2"
same "x.c.example, TLS 1.2" "$(ask x.c.example --tls-max 1.2)" "200 2 server3"
same "a name that no route has" "$(ask default.example)" "200 2 server4"
same "an address, and so no name" \
	"$(on client curl -sS -o /dev/null --cacert authorities.pem -w '%{http_code} %header{x-server}' "https://$VIP/1k")" "200 server4"
same "plain HTTP at the same time" "$(fetch /1k | cut -c1-10)" "200 server"

step "openssl s_client: without SNI, and by ALPN"
# subject PORT ARGUMENT...: of the certificate that openssl is shown.
subject() {
	local port=$1
	shift
	on client openssl s_client -connect "$VIP:$port" "$@" </dev/null 2>openssl.out |
		openssl x509 -noout -subject | sed 's/.*CN *= *//'
}
same "no name" "$(subject 443 -noservername)" default.example
same "x.c.example, without the key share of post-quantum times" "$(subject 443 -servername x.c.example -groups X25519)" x.c.example
same "ALPN h2" "$(subject 445 -noservername -alpn h2)" a.example
same "ALPN http/1.1" "$(subject 445 -noservername -alpn http/1.1)" x.c.example

# What the steps below have in common.
cat >tls_client.py <<'PY'
"""TLS over http_client, with the ClientHello in hand."""
import ssl
import struct
from http_client import *

NAMES = [None, "a.example", "b.example", "x.c.example", "default.example"]
PORT = 443


def certificate(n):
    with open(f"certificate{n}.pem") as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


def context(alpn=(), version=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.load_verify_locations("authorities.pem")
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if version:
        c.maximum_version = version
    return c


class Tls(Http):
    """A client whose ClientHello goes through shape(): octets in, pieces to send out."""

    def __init__(self, name=None, port=PORT, pause=0, shape=None, **how):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(**how).wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.plain = Client((VIP, port))
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.hello = self.outgoing.read()
        for piece in shape(self.hello) if shape else [self.hello]:
            self.plain.send(piece)
            time.sleep(pause)
        self.until(self.tls.do_handshake)

    def until(self, action, *arguments):
        while True:
            try:
                result = action(*arguments)
            except ssl.SSLWantReadError:
                result = None
            except ssl.SSLZeroReturnError:
                return b""
            data = self.outgoing.read()
            if data:
                self.plain.send(data)
            if result is not None or action == self.tls.do_handshake and self.tls.version():
                return result
            data = self.plain.more()
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()

    def send(self, data):
        self.until(self.tls.write, data)

    def more(self):
        return self.until(self.tls.read, 1 << 16)

    def server(self):
        """By the certificate: its number."""
        der = self.tls.getpeercert(True)
        return [n for n in range(1, 5) if certificate(n) == der][0]

    def ask(self, *args, **more):
        self.send(request(*args, **more))
        return self.answer()

    def close(self):
        self.plain.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def hello_of(name=None, **how):
    """A real ClientHello in one record."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context(**how).wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def records(hello, size):
    """The same message in records of `size` octets of it, or of as many as size() says."""
    message, at, out = hello[5:], 0, []
    while at < len(message):
        n = size() if callable(size) else size
        piece = message[at:at + n]
        out.append(b"\x16\x03\x01" + struct.pack("!H", len(piece)) + piece)
        at += n
    return b"".join(out)


class Hello:
    """A ClientHello taken apart."""

    def __init__(self, octets):
        message = octets[9:]
        self.version, self.random = message[:2], message[2:34]
        at = 35 + message[34]
        self.session = message[35:at]
        n = struct.unpack("!H", message[at:at + 2])[0]
        self.ciphers = message[at + 2:at + 2 + n]
        at += 2 + n
        self.compression = message[at + 1:at + 1 + message[at]]
        at += 1 + message[at] + 2
        self.extensions = []
        while at < len(message):
            kind, n = struct.unpack("!HH", message[at:at + 4])
            self.extensions.append((kind, message[at + 4:at + 4 + n]))
            at += 4 + n

    def octets(self, extra=b""):
        """In one record; with octets after the last extension that its length does not tell of."""
        def long(data):
            return struct.pack("!H", len(data)) + data
        extensions = b"".join(struct.pack("!H", kind) + long(data) for kind, data in self.extensions)
        message = (self.version + self.random + bytes([len(self.session)]) + self.session + long(self.ciphers) +
                   bytes([len(self.compression)]) + self.compression + long(extensions) + extra)
        message = b"\x01" + struct.pack("!I", len(message))[1:] + message
        return b"\x16\x03\x01" + long(message)

    def find(self, kind):
        return [data for k, data in self.extensions if k == kind][0]

    def put(self, kind, data):
        self.extensions = [(k, data if k == kind else d) for k, d in self.extensions]


def server_of(octets, port=PORT, pieces=None):
    """Which server answers this ClientHello of TLS 1.2: its certificate comes in the clear."""
    with Client((VIP, port)) as c:
        for piece in pieces or [octets]:
            c.send(piece)
        while True:
            for n in range(1, 5):
                if certificate(n) in c.buffer:
                    return n
            if not c.fill(len(c.buffer) + 1):
                fail(f"no certificate came: {short(c.buffer)}")


def alert(what, octets, description, port=PORT, half_close=False):
    """Sends, and sees this fatal alert and then a proper end."""
    with Client((VIP, port)) as c:
        c.send(octets)
        if half_close:
            c.half_close()
        try:
            check(c.fill(7), f"{what}: {c.buffer!r} instead of an alert")
            same(f"alert for {what}", c.buffer, bytes([21, 3, 1, 0, 2, 2, description]))
            c.buffer = b""
            c.at_end()
        except ConnectionError as e:
            fail(f"{what}: {e!r}, after {c.buffer!r}")
PY

step "names and protocols in all combinations"
py client <<'PY'
from tls_client import *

for name, alpn, n in ((None, (), 4), (None, ("http/1.1", "h2"), 1), (None, ("http/1.0",), 4), (None, ("h2", "x"), 1),
                      ("b.example", ("h2",), 2), ("b.example", ("http/1.1",), 3), ("b.example", (), 4),
                      ("a.example", ("http/1.0", "http/1.1"), 3)):
    with Tls(name, 445, alpn=alpn) as c:
        same(f"{name} {alpn}", c.server(), n)
PY

step "a ClientHello in small segments, in many records, and large"
py client <<'PY'
import random
from tls_client import *

random.seed(1)
with Tls("a.example") as c:
    print(f"  {len(c.hello)} octets")
    check(len(c.hello) > 1200, f"a ClientHello of {len(c.hello)} octets has no post-quantum key share")
    same("version", c.tls.version(), "TLSv1.3")
    same("server", c.server(), 1)

def cut(size):
    return lambda octets: [octets[at:at + size] for at in range(0, len(octets), size)]

for what, name, n, pause, shape in (
    ("segments of 50 octets", "b.example", 2, 0.005, cut(50)),
    ("single octets at the beginning", "x.c.example", 3, 0.01, lambda octets: [*cut(1)(octets[:60]), octets[60:]]),
    ("two halves", "a.example", 1, 0.3, lambda octets: cut(len(octets) // 2 + 1)(octets)),
    ("records of an octet", "b.example", 2, 0, lambda octets: [records(octets, 1)]),
    ("records of 7 octets", "a.example", 1, 0, lambda octets: [records(octets, 7)]),
    ("records of 100 octets", "x.c.example", 3, 0, lambda octets: [records(octets, 100)]),
    ("any records in any segments", "a.example", 1, 0.002,
     lambda octets: cut(77)(records(octets, lambda: random.randint(1, 100)))),
):
    for version in None, ssl.TLSVersion.TLSv1_2:
        with Tls(name, shape=shape, pause=pause, version=version) as c:
            same(f"{what}: server", c.server(), n)
            same(f"{what}: X-Server", c.ask("/1k").server, f"server{n}")

# The switch's limit is the only one: padding (RFC 7685) makes it as long as may be.
hello = Hello(hello_of("a.example", version=ssl.TLSVersion.TLSv1_2))
room = 16384 - len(hello.octets()) - 4
hello.extensions.append((21, bytes(room)))
same("octets", len(hello.octets()), 16384)
same("a ClientHello of 16 KB", server_of(hello.octets()), 1)
PY

step "what is unknown does not matter: GREASE. Encrypted names go to the default"
py client <<'PY'
from tls_client import *

def hello(name):
    return Hello(hello_of(name, version=ssl.TLSVersion.TLSv1_2, alpn=("h2", "http/1.1")))

grease = hello("a.example")
grease.ciphers = b"\x0a\x0a" + grease.ciphers
grease.extensions.insert(0, (0x1a1a, b""))
grease.extensions.append((0xfafa, b"\0"))
# supported_groups and the protocols.
groups = grease.find(10)
grease.put(10, struct.pack("!H", len(groups)) + b"\x2a\x2a" + groups[2:])
protocols = grease.find(16)
grease.put(16, struct.pack("!H", len(protocols) + 1) + b"\x02\x3a\x3a" + protocols[2:])
same("GREASE everywhere", server_of(grease.octets()), 1)
same("GREASE, in records of 3 octets", server_of(records(grease.octets(), 3)), 1)
same("GREASE among the protocols", server_of(grease.octets(), 445), 1)

# encrypted_client_hello with what looks like one (RFC 9849, 6.2): the name outside is not the one
# that is meant, nor are the protocols.
for name in "a.example", "b.example", "unknown.example":
    ech = hello(name)
    same(f"{name} in the clear", server_of(ech.octets()), NAMES.index(name) if name in NAMES else 4)
    ech.extensions.insert(1, (0xfe0d, b"\0\0\1\0\1\x07\0\x20" + octets(32) + b"\0\xaf" + octets(175)))
    same(f"{name} with ECH", server_of(ech.octets()), 4)
    same(f"{name} with ECH, where ALPN has routes", server_of(ech.octets(), 445), 4)

# Spelled otherwise, the same name; longer, another.
for name, n in ("A.Example", 1), ("c.example", 4), ("y.x.c.example", 3), ("xa.example", 4), ("a.example.org", 4):
    same(name, server_of(hello(name).octets()), n)
PY

step "large transfers are whole, and the switch carries none of the answers"
same "1 MB" "$(ask a.example >/dev/null && on client curl -sS -m 60 --cacert authorities.pem --resolve "a.example:443:$VIP" \
	https://a.example/1m | cmp - "$WWW/files/1m" && echo whole)" whole
sent=$(on switch cat /sys/class/net/eth0/statistics/tx_bytes)
on client curl -sS -m 200 --http1.1 --cacert authorities.pem --resolve "b.example:443:$VIP" https://b.example/100m |
	cmp - "$WWW/files/100m" || fail "100 MB over TLS differ"
sent=$(($(on switch cat /sys/class/net/eth0/statistics/tx_bytes) - sent))
[ $sent -lt 12000000 ] || fail "the switch sent $sent octets while 100 MB were downloaded"
echo "  the switch sent $sent octets for 100 MB of response"
same "an upload" "$(on client curl -sS -m 60 -o /dev/null -T "$WWW/files/1m" --cacert authorities.pem \
	--resolve "b.example:443:$VIP" -w '%{http_code}' https://b.example/upload/tls)" 201
cmp "$WWW/server2/upload/tls" "$WWW/files/1m" || fail "the upload differs"

step "many connections of all kinds at once, plain HTTP among them, with keep-alive"
py client <<'PY'
import threading
from tls_client import *

problems, plain = [], []

def secure(seed):
    for n in range(10):
        which = (seed + n) % 4 + 1
        with Tls(NAMES[which], version=(None, ssl.TLSVersion.TLSv1_2)[n % 2]) as c:
            for _ in range(3):
                answer = c.ask("/1k")
                same("X-Server", answer.server, f"server{which}")
                check(answer.body == file("1k"), "the body differs")

def clear(_):
    for n in range(30):
        plain.append(get("/1k").server)

def run(work, seed):
    try:
        work(seed)
    except BaseException as e:
        problems.append(repr(e))

threads = [threading.Thread(target=run, args=(work, seed)) for seed, work in enumerate((secure, clear, secure, secure))]
for t in threads:
    t.start()
for t in threads:
    t.join()
same("problems", problems, [])
same("turns of plain HTTP", sorted({s: plain.count(s) for s in plain}.items()), [(f"server{n}", 10) for n in (1, 2, 3)])
PY
on client ab -q -n 100 -c 8 "https://$VIP/1k" >ab.out 2>&1 || { cat ab.out; fail "ab"; }
grep -q '^Failed requests: *0$' ab.out && grep -q '^Complete requests: *100$' ab.out || { cat ab.out; fail "ab saw failures"; }

step "what is no ClientHello gets the right alert"
alerts=$(stat_switch answered_alert)
hellos=$(stat_switch tls_hellos)
py client <<'PY'
from tls_client import *

count = 0

def wanted(what, octets, description, **how):
    global count
    alert(what, octets, description, **how)
    count += 1

good = hello_of("a.example")
UNEXPECTED, OVERFLOW, ILLEGAL, DECODE, VERSION = 10, 22, 47, 50, 70

wanted("plain HTTP", request(), UNEXPECTED)
wanted("plain HTTP with a body", request("/post", "POST", bytes(20_000)), UNEXPECTED)
wanted("a hello of SSL 2.0", b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10" + bytes(40), UNEXPECTED)
wanted("an alert", b"\x15\x03\x01\0\x02\x02\x28", UNEXPECTED)
wanted("a ServerHello", b"\x16\x03\x01\0\x04\x02\0\0\0", UNEXPECTED)
wanted("records of version 2", b"\x16\x02\x01" + good[3:], VERSION)
wanted("a hello of SSL 3.0", good[:9] + b"\x03\0" + good[11:], VERSION)
wanted("an empty record", b"\x16\x03\x01\0\0" + good, DECODE)
wanted("an empty record later", records(good, 50)[:55] + b"\x16\x03\x01\0\0", DECODE)
wanted("a record of 2^14 + 1 octets", b"\x16\x03\x01\x40\x01" + bytes(100), OVERFLOW)
wanted("a session identifier of 33 octets", good[:43] + b"\x21" + good[44:], DECODE)


def changed(change):
    hello = Hello(good)
    change(hello)
    return hello.octets()


def name_list(*names):
    entries = b"".join(b"\0" + struct.pack("!H", len(name)) + name for name in names)
    return struct.pack("!H", len(entries)) + entries


wanted("an odd octet of cipher suites", changed(lambda h: setattr(h, "ciphers", h.ciphers + b"\0")), DECODE)
wanted("no compression method", changed(lambda h: setattr(h, "compression", b"")), DECODE)
wanted("octets behind the extensions", Hello(good).octets(b"\0\0\0\0"), DECODE)
wanted("an empty list of protocols", changed(lambda h: h.extensions.append((16, b"\0\0"))), DECODE)
wanted("two lists of names", changed(lambda h: h.extensions.append((0, h.find(0)))), ILLEGAL)
wanted("two names", changed(lambda h: h.put(0, name_list(b"a.example", b"b.example"))), ILLEGAL)
wanted("an extension behind pre_shared_key",
       changed(lambda h: h.extensions.extend([(41, bytes(50)), (0x1a1a, b"")])), ILLEGAL)
for name in b"", b"10.0.0.100", b"a.example.", b"a..example", b"a example", b"a.example\0.b.example", b"x" * 64 + b".example":
    wanted(f"the name {name!r}", changed(lambda h: h.put(0, name_list(name))), ILLEGAL)

# Longer than the limit: known from the length in its header, or when it is there.
wanted("a ClientHello of 16 KB and an octet",
       changed(lambda h: h.extensions.append((21, bytes(16385 - len(good) - 4)))), ILLEGAL)
wanted("a ClientHello of 1.5 KB where 1 KB is the limit", good, ILLEGAL, port=444)
wanted("the length of a long one", b"\x16\x03\x01\x20\0\x01\x01\0\0\x03\x03", ILLEGAL)
wanted("one in many records, with whose headers it is too long", records(good, 1)[:1024] + bytes(1), ILLEGAL, port=444)

# Bad only at the end, after many octets in pieces.
with Client((VIP, 443)) as c:
    bad = Hello(good).octets(b"\0")
    for at in range(0, len(bad), 200):
        c.send(bad[at:at + 200])
        time.sleep(0.005)
    check(c.fill(7), "no alert")
    same("the alert", c.buffer[5:], bytes([2, DECODE]))
    count += 1

# The end of the stream is no end of a ClientHello.
for n in 1, 5, 100, len(good) - 1:
    wanted(f"{n} octets and the end", good[:n], DECODE, half_close=True)

# At the other kind of service it is no HTTP.
for n in len(good), 100:
    with Client() as c:
        c.send(good[:n])
        same("TLS where HTTP is spoken", c.answer(status=None).status, 400)
        c.at_end()
with open("count", "w") as f:
    f.write(str(count))
PY
same "alerts counted" "$(($(stat_switch answered_alert) - alerts))" "$(cat count)"
same "whole ClientHellos among them" "$(stat_switch tls_hellos)" "$hellos"

step "no server: internal_error"
hellos=$(stat_switch tls_hellos)
py client <<'PY'
from tls_client import *

good = hello_of("a.example")
alert("an empty pool", good, 80, 446)
alert("an empty pool, with more behind it", good + b"\x14\x03\x03\0\1\1" + bytes(20_000), 80, 446)
alert("no route, no pool", hello_of("b.example"), 80, 447)
with Tls("a.example", 447) as c:
    same("with a route", c.server(), 1)
PY
same "ClientHellos counted" "$(($(stat_switch tls_hellos) - hellos))" 4

step "slow, silent and hasty clients"
timeouts=$(stat_switch hello_timeouts)
py client <<'PY'
import select
from tls_client import *

good = hello_of("a.example", version=ssl.TLSVersion.TLSv1_2)
check(len(good) < 1024, "too long for this")
begun = time.monotonic()
slow = []
for data in good[:1], good[:100], good[:-1]:
    slow.append(Client((VIP, 444)))
    slow[-1].send(data)
for c in slow:
    c.at_end()
    check(time.monotonic() - begun > 1.2, "closed too early")
    c.close()
# An octet now and then does not prolong it.
with Client((VIP, 444)) as c:
    for octet in good[:30]:
        c.send(bytes([octet]))
        time.sleep(0.1)
    check(select.select([c.socket], [], [], 0)[0], "a client that sends an octet now and then is not timed out")
    c.at_end()
# In time, though in pieces.
same("in time", server_of(good, 444, [good[:50], good[50:]]), 4)
for data in b"", good[:1], good[:100], good:
    with Client((VIP, 443)) as c:
        c.send(data)
    with Client((VIP, 443)) as c:
        c.send(data)
        c.reset()
with Client((VIP, 443)) as c:
    c.half_close()
    c.at_end()
PY
same "timeouts" "$(($(stat_switch hello_timeouts) - timeouts))" 4
same "the next client" "$(ask a.example)" "200 2 server1"

step "HTTP/2 in the clear, where it has a pool; HTTP/1.1 beside it"
prefaces=$(stat_switch http2_prefaces)
same "curl, with prior knowledge" "$(fetch /1k --http2-prior-knowledge -w '%{http_code} %{http_version} %header{x-server}')" "200 2 server4"
on client curl -sS -m 60 --http2-prior-knowledge "http://$VIP/1m" | cmp - "$WWW/files/1m" || fail "1 MB over HTTP/2 differs"
for i in 1 2 3; do fetch /1k -w '%{http_version} %header{x-server}\n'; done | sort >turns
same "HTTP/1.1 on the same port" "$(paste -sd, turns)" "1.1 server1,1.1 server2,1.1 server3"
py client <<'PY'
from http_client import *

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GOAWAY = bytes.fromhex("000000040000000000" + "000008070000000000" + "00000000")


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def answer(c):
    """What the server says in DATA frames of stream 1."""
    data = b""
    while True:
        check(c.fill(9), f"the connection ended: {c.buffer!r}")
        length, kind, flags = int.from_bytes(c.buffer[:3]), *c.buffer[3:5]
        check(c.fill(9 + length), "the connection ended in a frame")
        payload, c.buffer = c.buffer[9:9 + length], c.buffer[9 + length:]
        check(kind != 7, f"GOAWAY: {payload!r}")
        if kind == 0:
            data += payload
            if flags & 1:
                return data


# GET http /who of `test` (RFC 7541: 82 is :method GET, 86 :scheme http, 04 :path, 01 :authority).
block = b"\x82\x86\x04\x04/who\x01\x04test"
asked = PREFACE + frame(4, 0, 0) + frame(1, 5, 1, block)
for what, pieces in (
    ("all at once", [asked]),
    ("the preface alone", [PREFACE, asked[24:]]),
    ("in single octets", [asked[n:n + 1] for n in range(len(asked))]),
    *((f"cut at {n}", [asked[:n], asked[n:]]) for n in (1, 3, 14, 16, 18, 20, 23, 25)),
):
    with Client() as c:
        for piece in pieces:
            c.send(piece)
            time.sleep(0.01)
        same(f"the preface {what}: server", answer(c).split()[0], b"server4")

# Where it has none: the frames that say so, and the end.
for what, port, data, error in (("no pool", 81, PREFACE, 13), ("no pool, and a request", 81, asked, 13),
                                ("no pool, and much more", 81, asked + bytes(20_000), 13),
                                ("no server", 82, asked, 0)):
    with Client((VIP, port)) as c:
        c.send(data)
        check(c.fill(len(GOAWAY) + 4), f"{what}: {c.buffer!r}")
        same(what, c.buffer, GOAWAY + bytes([0, 0, 0, error]))
        c.buffer = b""
        c.at_end()
# Not quite the preface.
for data in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n":
    with Client() as c:
        c.send(data)
        check(c.answer(status=None).status in (400, 505), f"{data}: {c.buffer!r}")
for port in 80, 81, 82:
    same("HTTP/1.1", get("/1k", to=(VIP, port)).body, file("1k"))
PY
same "prefaces that were taken" "$(($(stat_switch http2_prefaces) - prefaces))" 14
same "refusals" "$(stat_switch answered_goaway)" 4
for counter in moved unanswered answered_503 answered_504 table_full request_too_long; do
	same "$counter" "$(stat_switch $counter)" 0
done

step "the configuration is read back as it was written"
on switch cat /proc/net/thop_switch/config | cmp - configuration || fail "it differs"
