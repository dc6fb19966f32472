// SPDX-License-Identifier: GPL-2.0

//! What the pure logic costs that every connection and every segment goes through: reading a request, finding
//! a connection's bucket, reading, judging and rewriting a segment, writing and reading a CREATE, keeping its deadline.
//!
//! The table itself, its buckets' chains and locks, is the kernel's: what it costs, `make bench-forward` and `make bench-web` count.
//!
//! `make bench-dispatch`.

use criterion::Criterion;
use dispatch::keep_best;
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use thop_core::{
    addr::{Endpoint, FlowKey},
    checksum::Sum,
    deadline::Deadlines,
    flow::Flow,
    hash::Hasher,
    heap::StdHeap,
    http::{Parser, Progress},
    packet::{parse_ipv4, rewrite_destination_ipv4, Flags, Ipv4Tcp, TcpChecksum, MAX_WRITTEN},
    wire::{set_checksum, Body, Handoff, Haste, Message, Parties, TcpOptions, TcpState, MAX_FIXED},
};

/// What `curl` sends, and what a browser does.
const CURL: &str = "GET /images/albums/17/4711.jpg HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";
const BROWSER: &str = "GET /images/albums/17/4711.jpg HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/images/albums/17/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes; SERVER=s3\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n";

/// A head read whole, as it nearly always comes.
fn read(head: &str) -> bool {
    let mut parser = Parser::new(1 << 16);
    matches!(parser.feed(head.as_bytes()), Ok(Progress::Complete))
}

/// The same by `httparse`.
fn read_by_httparse(head: &str) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    matches!(
        request.parse(head.as_bytes()),
        Ok(httparse::Status::Complete(_))
    )
}

fn endpoint(host: u8, port: u16) -> Endpoint {
    Endpoint::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), port)
}

/// A client's acknowledgement, as most of its segments are.
fn segment() -> Vec<u8> {
    let mut octets = vec![0; MAX_WRITTEN];
    let length = Ipv4Tcp {
        source: endpoint(1, 40_000),
        destination: endpoint(2, 80),
        seq: 1,
        ack: 2,
        flags: Flags::ACK,
        window: 512,
        timestamps: Some((3, 4)),
        payload_len: 0,
        checksum: TcpChecksum::Complete(Sum::new()),
    }
    .write(&mut octets)
    .expect("the buffer is long enough");
    octets.truncate(length);
    octets
}

fn create(request: &[u8]) -> Message {
    Message {
        handoff: Handoff { epoch: 1, id: 2 },
        parties: Parties {
            client: endpoint(1, 40_000),
            service: endpoint(2, 80),
            server: endpoint(3, 8080),
        },
        body: Body::Create {
            state: TcpState {
                isn_client: 1,
                isn_switch: 2,
                ts_recent: 3,
                ts_last: 4,
                window: 65_536,
                rtt_us: 20_000,
                mss: 1460,
                snd_wscale: 7,
                rcv_wscale: 7,
                options: TcpOptions::WSCALE.with(TcpOptions::TIMESTAMP, true),
            },
            lease_ms: 1100,
            deadline_ms: 5,
            haste: Haste::NONE,
            request_len: request.len() as u32,
        },
    }
}

/// The fixed part of a CREATE, with the checksum of all of it.
fn write(message: &Message, request: &[u8]) -> [u8; MAX_FIXED] {
    let mut fixed = [0; MAX_FIXED];
    let length = message.encode(&mut fixed).expect("it is sound");
    let mut sum = Sum::new();
    sum.add(&fixed[..length]);
    sum.add(request);
    set_checksum(&mut fixed, sum);
    fixed
}

/// What a round of `f` takes, the best of all samples, nanoseconds.
fn best<T>(criterion: &mut Criterion, what: &str, mut f: impl FnMut() -> T) {
    let mut best = f64::INFINITY;
    criterion.bench_function(what, |bencher| keep_best(bencher, &mut best, &mut f));
    println!("logic: {what}: {:.2} ns", best * 1e9);
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();

    for (name, head) in [("curl", CURL), ("a browser", BROWSER)] {
        assert!(read(head) && read_by_httparse(head));
        let what = format!("request of {name}, {} octets", head.len());
        best(&mut criterion, &what, || read(black_box(head)));
        best(&mut criterion, &format!("{what}, by httparse"), || {
            read_by_httparse(black_box(head))
        });
    }

    let key = FlowKey {
        client: endpoint(1, 40_000),
        service: endpoint(2, 80),
    };
    for (name, keyed) in [("xor", false), ("siphash", true)] {
        let hasher = Hasher::new(keyed, || 0x0123_4567_89ab_cdef);
        best(
            &mut criterion,
            &format!("hash of a connection, {name}"),
            || hasher.flow(black_box(&key)),
        );
    }

    let mut ack = segment();
    let len = ack.len() as u32;
    best(&mut criterion, "segment, read", || {
        parse_ipv4(black_box(&ack), len).is_ok()
    });
    let header = usize::from(parse_ipv4(&ack, len).expect("a segment").ip_header_len);
    let mut flow = Flow::new(0);
    flow.taken();
    best(&mut criterion, "segment, judged", || {
        black_box(&mut flow).on_segment(black_box(Flags::ACK), 1, 2, 3)
    });
    let mut port = 0;
    best(&mut criterion, "segment, rewritten", || {
        port ^= 1;
        let target = (Ipv4Addr::new(192, 0, 2, 3), 8080 + port);
        rewrite_destination_ipv4(black_box(&mut ack), header, target, false)
    });
    let full = vec![0x5a; 1460];
    best(&mut criterion, "checksum of 1,460 octets", || {
        let mut sum = Sum::new();
        sum.add(black_box(&full));
        sum.finish()
    });

    let message = create(CURL.as_bytes());
    best(&mut criterion, "CREATE, written", || {
        write(black_box(&message), CURL.as_bytes())
    });
    let fixed = write(&message, CURL.as_bytes());
    let total = message.fixed_len() + CURL.len();
    best(&mut criterion, "CREATE, read", || {
        Message::decode(black_box(&fixed), total).is_ok()
    });

    // As many are on their way as are handed over in 5 ms at 20,000 per second.
    let (mut deadlines, mut now) = (Deadlines::<StdHeap, u64>::new(), 0);
    for n in 0..100 {
        deadlines.push(n, n).expect("there is memory");
    }
    best(&mut criterion, "deadline, set and due", || {
        now += 1;
        let set = deadlines.push(now + 99, now).is_ok();
        (set, deadlines.pop_due(now))
    });
    criterion.final_summary();
}
