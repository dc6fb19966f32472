// SPDX-License-Identifier: GPL-2.0

//! What it costs to find the route of a request: it should hardly depend on how many there are.
//!
//! `make bench-dispatch`. Each measurement goes through requests for 64 routes spread over all
//! of them, and so tells the time of 64 lookups.

use criterion::{BenchmarkId, Criterion, Throughput};
use dispatch::keep_best;
use std::{
    fmt::Write,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use thop_core::{
    config::{self, ServiceId},
    heap::StdHeap,
    http::Parser,
    request::Request,
};

type Config = config::Config<StdHeap>;

const LOOKUPS: u32 = 64;

/// What a browser sends besides.
const FIELDS: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n";

/// A request that takes route `n`: who asks, and the head.
type Asked = (IpAddr, String);

/// The condition of route `n`, and a request that meets it.
type Kind = (&'static str, fn(u32) -> String, fn(u32) -> Asked);

fn ask(host: &str, target: &str, more: &str) -> Asked {
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{FIELDS}{more}\r\n");
    (client, head)
}

fn third_octets(n: u32) -> (u32, u32) {
    (n / 256, n % 256)
}

const KINDS: [Kind; 8] = [
    (
        "host",
        |n| format!("host h{n}.example.com"),
        |n| ask(&format!("h{n}.example.com"), "/index.html", ""),
    ),
    (
        "domain",
        |n| format!("host *.h{n}.example.com"),
        |n| ask(&format!("www.h{n}.example.com"), "/index.html", ""),
    ),
    (
        "path",
        |n| format!("host www.example.com path /p{n}/"),
        |n| ask("www.example.com", &format!("/p{n}/index.html"), ""),
    ),
    (
        "header",
        |n| format!("header x-tenant=t{n}"),
        |n| {
            ask(
                "www.example.com",
                "/index.html",
                &format!("X-Tenant: t{n}\r\n"),
            )
        },
    ),
    (
        "cookie",
        |n| format!("cookie tenant=t{n}"),
        |n| {
            let cookies = format!("Cookie: session=0123456789abcdef; tenant=t{n}\r\n");
            ask("www.example.com", "/index.html", &cookies)
        },
    ),
    (
        "query",
        |n| format!("query tenant=t{n}"),
        |n| {
            ask(
                "www.example.com",
                &format!("/index.html?a=b&tenant=t{n}"),
                "",
            )
        },
    ),
    (
        "client",
        |n| {
            let (b, c) = third_octets(n);
            format!("client 10.{b}.{c}.0/24")
        },
        |n| {
            let (b, c) = third_octets(n);
            let client = Ipv4Addr::new(10, b as u8, c as u8, 7);
            (client.into(), ask("www.example.com", "/index.html", "").1)
        },
    ),
    (
        "host and header",
        |n| format!("host h{}.example.com header x-tenant=t{}", n / 10, n % 10),
        |n| {
            let host = format!("h{}.example.com", n / 10);
            ask(&host, "/index.html", &format!("X-Tenant: t{}\r\n", n % 10))
        },
    ),
];

fn main() {
    let mut c = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .sample_size(20)
        .configure_from_args();
    let mut costs = String::new();
    for (kind, condition, request) in KINDS {
        let mut bench = c.benchmark_group(kind);
        bench.throughput(Throughput::Elements(u64::from(LOOKUPS)));
        for routes in [10, 100, 1_000, 10_000] {
            let mut text = String::from("pool p\nservice s address 192.0.2.1:80\n");
            for n in 0..routes {
                text += &format!("route service s {} pool p\n", condition(n));
            }
            let config = Config::parse(text.as_bytes()).expect("a configuration");
            let asked: Vec<_> = (0..LOOKUPS).map(|n| request(n * 7919 % routes)).collect();
            let requests: Vec<_> = asked
                .iter()
                .map(|(client, head)| {
                    let mut parser = Parser::new(u32::MAX);
                    parser.feed(head.as_bytes()).expect("a request");
                    Request::http(*client, parser.head().expect("all of it"), head.as_bytes())
                })
                .collect();
            let service = ServiceId::new(0);
            assert!(requests.iter().all(|r| config.route(service, r).is_some()));
            let mut best = f64::INFINITY;
            bench.bench_function(BenchmarkId::from_parameter(routes), |b| {
                keep_best(b, &mut best, || {
                    for request in &requests {
                        black_box(config.route(service, black_box(request)));
                    }
                });
            });
            let cost = best / f64::from(LOOKUPS) * 1e9;
            let _ = writeln!(
                costs,
                "{routes:6} routes by {kind:15} {cost:6.1} ns a lookup"
            );
        }
        bench.finish();
    }
    c.final_summary();
    print!("{costs}");
}
