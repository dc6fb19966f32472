// SPDX-License-Identifier: GPL-2.0

//! What the benchmarks in `benches/` have in common.

use criterion::Bencher;
use std::{hint::black_box, time::Instant};

/// Measures `f`, and keeps in `best` what it took in the quickest sample, seconds: the mean tells more of what else
/// the machine had to do.
pub fn keep_best<T>(bencher: &mut Bencher<'_>, best: &mut f64, mut f: impl FnMut() -> T) {
    bencher.iter_custom(|rounds| {
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(f());
        }
        let took = start.elapsed();
        *best = best.min(took.as_secs_f64() / rounds as f64);
        took
    });
}
