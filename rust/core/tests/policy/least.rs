// SPDX-License-Identifier: GPL-2.0

//! The policies that look for the least loaded server: `lc`, `wlc`.

use crate::pool::{kind, Pool};
use proptest::{collection::vec, prelude::*};
use thop_core::policy::Class;

/// Whether the first server is before the second by the definition, with exact fractions.
fn before(pool: &Pool, weighted: bool, a: usize, b: usize) -> bool {
    let load = |n: usize, other: usize| {
        let weight = if weighted { pool.weights[other] } else { 1 };
        (u128::from(pool.servers[n].connections) + 1) * u128::from(weight)
    };
    let cpu = |n: usize| pool.servers[n].cpu / 125;
    (load(a, b), cpu(a)) < (load(b, a), cpu(b))
}

proptest! {
    #[test]
    fn nobody_is_less_loaded(
        states in vec((0u32..4, any::<bool>(), prop_oneof![0u32..4, any::<u32>()], 0u32..400), 1..30),
        large in any::<bool>(),
    ) {
        let weights: Vec<_> = states
            .iter()
            .map(|&(weight, ..)| if large && weight > 0 { u32::MAX - weight } else { weight })
            .collect();
        let mut pool = Pool::of(&weights);
        for (server, &(_, usable, connections, cpu)) in pool.servers.iter_mut().zip(&states) {
            (server.usable, server.connections, server.cpu) = (usable, connections, cpu);
        }
        let may: Vec<_> = (0..states.len())
            .filter(|&n| pool.weights[n] > 0 && pool.servers[n].usable)
            .collect();
        for (name, weighted) in [("lc", false), ("wlc", true)] {
            let policy = pool.policy(kind(name), &[], None);
            let best: Vec<_> = may
                .iter()
                .copied()
                .filter(|&n| !may.iter().any(|&other| before(&pool, weighted, other, n)))
                .collect();
            if best.is_empty() {
                prop_assert_eq!(policy.select(Class(0), &pool), None);
                continue;
            }
            // The best take turns, in the same order each time.
            let mut round = pool.sequence(&policy, Class(0), best.len());
            prop_assert_eq!(&pool.sequence(&policy, Class(0), best.len()), &round);
            round.sort_unstable();
            prop_assert_eq!(&round, &best);
        }
    }
}

/// Each request stays: connections come to be as the definitions want them.
#[test]
fn connections_fill_up() {
    for (name, expected) in [("lc", [400, 400, 400]), ("wlc", [200, 400, 600])] {
        let mut pool = Pool::of(&[1, 2, 3]);
        let mut policy = pool.policy(kind(name), &[], None);
        for n in 0..1200 {
            if n % 100 == 0 {
                policy = pool.policy(kind(name), &[], Some(&policy));
            }
            let server = policy.select(Class(0), &pool).unwrap();
            pool.servers[server].connections += 1;
        }
        for (server, expected) in pool.servers.iter().zip(expected) {
            assert!(
                server.connections.abs_diff(expected) <= 1,
                "{name}: {pool:?}"
            );
        }
    }
}

#[test]
fn whose_turn_it_is_outlives_the_policy() {
    let pool = Pool::of(&[1; 5]);
    let mut policy = pool.policy(kind("lc"), &[], None);
    for _ in 0..4 {
        let mut round: Vec<_> = (0..5)
            .map(|_| {
                policy = pool.policy(kind("lc"), &[], Some(&policy));
                policy.select(Class(0), &pool).unwrap()
            })
            .collect();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 3, 4]);
    }
}
