// SPDX-License-Identifier: GPL-2.0

//! What is asked for: files of many sizes, of which few are popular.

use std::f64::consts::TAU;
use thop_core::policy::hash::{mix, GOLDEN};

const FILES: usize = 30_000;
const REQUESTS: usize = 300_000;
/// The middle one of all sizes, octets.
const MEDIAN: f64 = 7168.0;
/// The standard deviation of their logarithms.
const SIGMA: f64 = 1.3;
const LARGEST: f64 = (4 << 20) as f64;

/// Files and requests for them.
pub struct Trace {
    /// The files' sizes, octets: log-normal, and independent of how popular a file is.
    pub sizes: Vec<u32>,
    /// Which files are asked for, one after another. The n-th most popular has a probability in
    /// proportion to n to the power of minus the exponent.
    pub requests: Vec<u32>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Between 0 and 1, without either.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        ((mix(self.0) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }
}

impl Trace {
    pub fn new(exponent: f64, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut size = || {
            // Box and Muller's way to a normal distribution.
            let normal = (-2.0 * random.next().ln()).sqrt() * (TAU * random.next()).cos();
            (MEDIAN * (SIGMA * normal).exp()).clamp(64.0, LARGEST) as u32
        };
        let sizes = (0..FILES).map(|_| size()).collect();
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=FILES)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        let mut request = || {
            let point = random.next() * sum;
            sums.partition_point(|&sum| sum < point).min(FILES - 1) as u32
        };
        Self {
            sizes,
            requests: (0..REQUESTS).map(|_| request()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_the_distribution_says() {
        for exponent in [0.8, 1.0] {
            let trace = Trace::new(exponent, 1);
            assert_eq!(trace.requests, Trace::new(exponent, 1).requests);
            let sum: f64 = (1..=FILES).map(|rank| (rank as f64).powf(-exponent)).sum();
            for rank in [1, 2, 10] {
                let file = rank as u32 - 1;
                let count = trace.requests.iter().filter(|&&f| f == file).count() as f64;
                let expected = REQUESTS as f64 * (rank as f64).powf(-exponent) / sum;
                // Five standard deviations.
                assert!(
                    (count - expected).abs() < 5.0 * expected.sqrt(),
                    "{rank}: {count}"
                );
            }
        }
    }
}
