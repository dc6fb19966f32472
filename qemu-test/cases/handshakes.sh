# SPDX-License-Identifier: GPL-2.0
# What the switch's handshake agrees on, the connection has: with any sysctls of the switch, with ECN and Accurate ECN, for
# every size of segments; and no odd segment has any effect but on its own connection.
# run: --servers 1 --timeout 300
set -euo pipefail
. "$TOOLS/helpers.sh"
shield 20000-29999

cat >shows.py <<'PY'
import subprocess
from http_client import *

def ss(port):
    """What both kernels say of a connection: the client's, the server's."""
    def words(*command):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return text.split()
    return (words("ss", "-Htino", f"sport = :{port}"),
            words("ip", "netns", "exec", "server1", "ss", "-Htino", f"dport = :{port}"))

def number(words, name):
    """The number behind NAME: in what ss says; 0 if it does not say it."""
    return next((int(w.split(":")[1]) for w in words if w.startswith(name + ":")), 0)
PY

# agreed WHAT WORDS WITHOUT: what both ends of a connection through the switch have, and have not.
agreed() {
	on client python3 - "$@" <<-'PY' || fail "$1"
		from shows import *

		what, wanted, unwanted = sys.argv[1:]
		with Client() as c:
		    check(c.ask("/100k").body == file("100k"), "the download differs")
		    for end, words in zip(("client", "server"), ss(c.port)):
		        words = {w.split(":")[0] for w in words}
		        for word in wanted.split():
		            check(word in words, f"{what}: no {word} at the {end}: {sorted(words)}")
		        for word in unwanted.split():
		            check(word not in words, f"{what}: {word} at the {end}: {sorted(words)}")
	PY
}
export PYTHONPATH=$TOOLS:$PWD
knob() { on "$1" sysctl -qw "net.ipv4.$2"; }

step "sysctls of the switch: each takes what it says, and nothing else"
agreed "all as it comes" "ts sack wscale" ""
knob switch tcp_timestamps=0
agreed "tcp_timestamps=0" "sack wscale" "ts"
knob switch tcp_timestamps=1
before=$(stat_switch handoffs_first_segment)
knob switch tcp_sack=0
agreed "tcp_sack=0" "ts wscale" "sack"
knob switch tcp_sack=1
knob switch tcp_window_scaling=0
agreed "tcp_window_scaling=0" "ts sack" "wscale"
knob switch tcp_window_scaling=1
case " ${SWITCH_ARGS-} ${SWITCH_DEFAULTS-} " in *first_segment=0*) wanted=0 ;; *) wanted=2 ;; esac
[ "$before" != 0 ] || wanted=0
same "without a socket" $(($(stat_switch handoffs_first_segment) - before)) $wanted

step "ECN: as tcp_ecn says, or a route"
knob client tcp_ecn=1
for ecn in 1 2; do
	knob switch tcp_ecn=$ecn
	agreed "tcp_ecn=$ecn" "ts sack wscale ecn" ""
done
knob switch tcp_ecn=0
agreed "tcp_ecn=0" "ts sack wscale" "ecn"
on switch ip route add "$CLIENT/32" dev eth0 features ecn
agreed "tcp_ecn=0, and a route with ECN" "ts sack wscale ecn" ""
on switch ip route del "$CLIENT/32"
knob switch tcp_ecn=2

step "segments of all sizes: a cookie may make them a 64th shorter"
for mtu in 1500 1492 1480 1450 1420 1400 1360 1340 1280 700; do
	ip -n client link set eth0 mtu $mtu
	on client python3 - $mtu <<-'PY' || fail "MTU $mtu"
		from shows import *

		mss = int(sys.argv[1]) - 40
		with Client() as c:
		    c.ask("/1k")
		    got = number(ss(c.port)[1], "mss") + 12
		    check(mss - mss // 64 <= got <= mss, f"an MSS of {mss} octets became {got}")
	PY
done
ip -n client link set eth0 mtu 1500
knob client tcp_ecn=2

step "odd segments change nothing for others"
received() { on switch nstat -asz TcpExtSyncookiesRecv | awk '/Sync/ { print $2 }'; }
py client <<'PY'
from raw_tcp import *
from http_client import *

# A client that says with its first segment what it has not said with its SYN, or what it has, or with FIN.
for n in range(24):
    c = RawTcp(21000 + n, ecn=n % 3 == 1)
    c.syn()
    c.pump(lambda: c.irs is not None, 10, "SYN/ACK")
    if n % 3 != 1:
        c.ts_recent = (c.ts_recent | 0x20) & MASK
    flags = (CWR, CWR | FIN, CWR | ECE)[n // 3 % 3]
    c.emit(ACK | PSH | flags, c.nxt, b"G")
    time.sleep(0.05)
    c.nxt = (c.nxt + 1) & MASK
    c.rst()
    c.forget()
PY
before=$(received)
for ((i = 0; i < 12; i++)); do same "others" "$(fetch /1k | cut -c1-3)" 200; done
# One in 256 is compared always.
[ $(($(received) - before)) -le 3 ] || fail "the stack has verified $(($(received) - before)) of 12 requests"
same "cookies that the kernel takes for something else" "$(stat_switch cookies_differ)" 0

# marks WHERE: what comes to a node of a service's connections has met congestion. unmarked WHERE.
marks() {
	on "$1" nft -f - <<-NFT
		table netdev marks {
			chain c {
				type filter hook ingress device "eth0" priority -300;
				tcp $2 80 ip ecn { ect0, ect1 } limit rate 40/second ip ecn set ce counter
			}
		}
	NFT
}
unmarked() { on "$1" nft delete table netdev marks; }

# congestion WHAT ECN: a download and an upload without congestion, and with it. ECN: whether it is agreed on.
congestion() {
	local way node
	for way in none download upload; do
		case $way in
		none) node='' ;;
		download) node=client; marks client sport ;;
		upload) node=server1; marks server1 dport ;;
		esac
		on client python3 - "$1" $way "$2" <<-'PY' || fail "$1, congestion: $way"
			from shows import *

			what, way, ecn = sys.argv[1:]
			with Client() as c:
			    check(c.ask("/1m").body == file("1m"), "the download differs")
			    body = octets(1_000_000)
			    server = c.ask("/upload/c", "PUT", body).server
			    check(uploaded(server, "c") == body, "the upload differs")
			    client, server = ss(c.port)
			    for end, words in ("client", client), ("server", server):
			        check(("ecn" in words) == (ecn == "1"), f"{what}: ecn at the {end}: {words}")
			        told = number(words, "delivered_ce")
			        wanted = (way, end) in (("download", "server"), ("upload", "client"))
			        check((told > 0) == (wanted and ecn == "1"),
			              f"{what}, congestion: {way}: the {end} was told of {told} marks: {words}")
			    print(f"  {what}, congestion: {way}: client {number(client, 'delivered_ce')}, server {number(server, 'delivered_ce')}")
		PY
		[ -z "$node" ] || unmarked $node
	done
}

step "congestion is told to who sends, and none that there is not"
for ways in as-it-comes first_segment=0; do
	if [ $ways != as-it-comes ]; then
		unload_modules
		load_modules $ways
		default_configuration | configure
	fi
	for ecn in 2 3 4 5; do
		for node in switch server1; do knob $node tcp_ecn=$ecn; done
		for asks in 1 3; do
			[ "$ecn $asks" != "4 1" ] && [ "$ecn $asks" != "5 1" ] || continue
			knob client tcp_ecn=$asks
			congestion "$ways, tcp_ecn $asks asks $ecn" 1
		done
	done
	knob client tcp_ecn=0
	congestion "$ways, no ECN" 0
done
# Nobody is shut out for what the first octet of its handshake says: RFC 9768, 3.1.2.
step "SYNs with any code of Accurate ECN are answered without it"
for node in switch server1; do knob $node tcp_ecn=3; done
py client <<'PY'
from raw_tcp import *
from http_client import *

class Coded(RawTcp):
    """Its SYN has a code of three bits: AE, CWR, ECE."""

    code = 0

    def segment(self, flags, seq, data=b"", ack=None):
        segment = super().segment(flags, seq, data, ack)
        if not flags & SYN:
            return segment
        bits = struct.unpack("!H", segment[12:14])[0] & ~0x1C0 | self.code << 6
        segment = segment[:12] + struct.pack("!H", bits) + segment[14:16] + b"\0\0" + segment[18:]
        pseudo = socket.inet_aton(self.me[0]) + socket.inet_aton(self.to[0])
        pseudo += struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
        return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]

    def take(self, packet):
        ihl = (packet[0] & 15) * 4 if packet else 0
        if len(packet) >= 40 and packet[ihl + 13] & SYN:
            self.agreed = struct.unpack("!H", packet[ihl + 12:ihl + 14])[0] >> 6 & 7
        return super().take(packet)

for n, timestamps in enumerate((True, False)):
    for code in range(8):
        c = Coded(22000 + n * 8 + code, timestamps=timestamps)
        c.code = code
        c.connect()
        same(f"the answer to code {code:03b}, time stamps {timestamps}", f"{c.agreed:03b}", "001" if code in (3, 7) else "000")
        c.send(request("/1k"))
        check(c.answer().body == file("1k"), "the download differs")
        c.close()
PY
