// SPDX-License-Identifier: GPL-2.0

//! Many CPUs at once.

use crate::pool::{client, kind, Pool};
use std::{
    sync::{Arc, Barrier, RwLock},
    thread,
};
use thop_core::{
    policy::{Class, Kind, Servers},
    request::Request,
};

const THREADS: usize = 4;

/// A pool in which a request's earlier servers are not usable.
struct Offer<'a> {
    pool: &'a Pool,
    tried: Option<usize>,
    now_ms: u64,
}

impl Servers for Offer<'_> {
    fn usable(&self, server: usize) -> bool {
        self.tried != Some(server) && self.pool.usable(server)
    }

    fn reachable(&self, server: usize) -> bool {
        self.tried != Some(server) && self.pool.reachable(server)
    }

    fn connections(&self, server: usize) -> u32 {
        // Some servers are overloaded at any time.
        ((self.now_ms / 7 + server as u64 * 50) % 200) as u32
    }

    fn cpu(&self, server: usize) -> u32 {
        self.pool.cpu(server)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

/// Threads select while others make the policy anew, as the switch does when weights change.
#[test]
fn selections_go_on_while_weights_change() {
    let options = [
        ("entries", "1024"),
        ("decay", "100ms"),
        ("fallback", "lard/r"),
    ];
    for &kind in Kind::ALL {
        let mut pool = Pool::of(&[1, 2, 3, 4, 5, 6]);
        // Its weight is that of a drained server now and then.
        pool.servers[2].usable = false;
        let policy = RwLock::new(Arc::new(pool.policy(kind, &options, None)));
        let start = Barrier::new(THREADS + 1);
        thread::scope(|scope| {
            for thread in 0..THREADS as u32 {
                let (policy, pool, start) = (&policy, &pool, &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..3000u32 {
                        let number = (n.wrapping_mul(2_654_435_761) >> 20) ^ thread;
                        let policy = policy.read().unwrap().clone();
                        let path = format!("/{number}");
                        let class = policy.classify(&Request {
                            path: path.as_bytes(),
                            class: (number % 256) as u16,
                            ..Request::of(client(number))
                        });
                        let mut offer = Offer {
                            pool,
                            tried: None,
                            now_ms: u64::from(n),
                        };
                        let first = policy.select(class, &offer).unwrap();
                        assert!(first < 6 && first != 2, "{kind:?}");
                        offer.tried = Some(first);
                        let second = policy.select(class, &offer).unwrap();
                        assert!(second < 6 && second != 2 && second != first, "{kind:?}");
                        policy.done(first, &offer);
                        policy.done(second, &offer);
                    }
                });
            }
            start.wait();
            let mut pool = pool.clone();
            for round in 0..30 {
                pool.weights[2] = round % 3;
                pool.weights[round as usize % 2] = 1 + round;
                let before = policy.read().unwrap().clone();
                let after = pool.policy(kind, &options, Some(&before));
                *policy.write().unwrap() = Arc::new(after);
            }
        });
    }
}

/// However many select at once, each turn is taken by one.
#[test]
fn turns_are_exact() {
    for (name, expected) in [("rr", [4000, 4000, 4000]), ("wrr", [2000, 4000, 6000])] {
        let pool = Pool::of(&[1, 2, 3]);
        let policy = pool.policy(kind(name), &[], None);
        let counts = thread::scope(|scope| {
            let count = || pool.counts(&policy, Class(0), 12_000 / THREADS);
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
            threads.into_iter().fold([0; 3], |sum, thread| {
                let counts = thread.join().unwrap();
                [0, 1, 2].map(|n| sum[n] + counts[n])
            })
        });
        assert_eq!(counts, expected, "{name}");
    }
}
