// SPDX-License-Identifier: GPL-2.0

//! What a decision costs: `classify` and `select`, for each policy.
//!
//! ```text
//! make bench-dispatch
//! ```
//!
//! Besides criterion's own report, the last lines give each policy's cost as a multiple of `rr`'s:
//! a figure that says more on another machine than nanoseconds do.

use criterion::{BenchmarkId, Criterion};
use dispatch::keep_best;
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use thop_core::{
    policy::{Any, Kind, Servers},
    request::Request,
};

#[path = "../../../rust/core/tests/policy/pool.rs"]
#[allow(dead_code)]
mod pool;

use pool::{Pool, ScarceHeap};

/// How many different requests there are. They are made beforehand.
const REQUESTS: usize = 1024;

/// A decision for each of the requests.
fn decide(policy: &Any<ScarceHeap>, requests: &[Request<'_>], servers: &impl Servers) -> usize {
    let decision = |request| policy.select(policy.classify(request), servers);
    requests.iter().filter_map(decision).sum()
}

fn main() {
    let text: Vec<(String, String)> = (0..REQUESTS)
        .map(|n| {
            (
                format!("/images/albums/{}/{n}.jpg", n % 37),
                format!(
                    "User-Agent: curl/8.14.1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\
                     Cookie: theme=dark; SERVER=s{}\r\n\r\n",
                    n % 16
                ),
            )
        })
        .collect();
    let requests: Vec<_> = (0u32..)
        .zip(&text)
        .map(|(n, (path, fields))| Request {
            host: Some(b"www.example.com"),
            path: path.as_bytes(),
            uri: path.as_bytes(),
            fields: fields.as_bytes(),
            class: (n % 4) as u16,
            ..Request::of(IpAddr::V4(Ipv4Addr::from(n)))
        })
        .collect();

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let mut ratios = String::new();
    for servers in [4usize, 64] {
        let weights: Vec<u32> = (0..servers as u32).map(|n| 1 + n % 3).collect();
        let pool = Pool::of(&weights);
        let mut group = criterion.benchmark_group(format!("{servers} servers"));
        let mut first = None;
        for &kind in Kind::ALL {
            let policy = pool.policy(kind, &[], None);
            let mut best = f64::INFINITY;
            let id = BenchmarkId::from_parameter(kind.name());
            group.bench_function(id, |bencher| {
                keep_best(bencher, &mut best, || {
                    decide(&policy, black_box(&requests), &pool)
                });
            });
            // The first in the registry is `rr`.
            let first = *first.get_or_insert(best);
            ratios += &format!(
                "{servers:3} servers  {:8} {:6.1} ns a decision, {:5.1} times rr\n",
                kind.name(),
                best / REQUESTS as f64 * 1e9,
                best / first
            );
        }
        group.finish();
    }
    criterion.final_summary();
    print!("{ratios}");
}
