// SPDX-License-Identifier: GPL-2.0

//! The policies by which servers take turns: `rr`, `wrr`, `cap`.

use crate::pool::{client, get, kind, Pool};
use proptest::{collection::vec, prelude::*};
use thop_core::{policy::Class, request::Request};

/// Smooth weighted round robin as nginx does it, one turn after another.
fn smooth(weights: &[u32], len: usize) -> Vec<usize> {
    let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
    let mut credits = vec![0; weights.len()];
    let mut turn = || {
        let mut best = None;
        for (server, &weight) in weights.iter().enumerate() {
            credits[server] += i64::from(weight);
            if weight > 0 && best.is_none_or(|best: usize| credits[server] > credits[best]) {
                best = Some(server);
            }
        }
        let best = best.unwrap();
        credits[best] -= sum;
        best
    };
    (0..len).map(|_| turn()).collect()
}

#[test]
fn the_example_of_nginx() {
    let pool = Pool::of(&[5, 1, 1]);
    let policy = pool.policy(kind("wrr"), &[], None);
    let sequence = pool.sequence(&policy, Class(0), 7);
    assert_eq!(sequence, [0, 0, 1, 0, 2, 0, 0]);
}

proptest! {
    #[test]
    fn wrr_is_smooth(weights in vec(0u32..12, 1..12), factor in 1u32..5000) {
        prop_assume!(weights.iter().any(|&w| w > 0));
        let weights: Vec<_> = weights.iter().map(|w| w * factor).collect();
        let pool = Pool::of(&weights);
        let policy = pool.policy(kind("wrr"), &[], None);
        prop_assert_eq!(pool.sequence(&policy, Class(0), 300), smooth(&weights, 300));
    }

    #[test]
    fn rr_ignores_weights(weights in vec(0u32..3, 1..12)) {
        let takes_part: Vec<_> = (0..weights.len()).filter(|&n| weights[n] > 0).collect();
        prop_assume!(!takes_part.is_empty());
        let pool = Pool::of(&weights);
        let policy = pool.policy(kind("rr"), &[], None);
        let expected: Vec<_> = takes_part.iter().copied().cycle().take(50).collect();
        prop_assert_eq!(pool.sequence(&policy, Class(0), 50), expected);
    }

    /// Each class is served as if it were alone.
    #[test]
    fn cap_has_turns_of_each_class(
        weights in vec(0u32..5, 1..8),
        classes in vec(prop_oneof![0u16..3, 0u16..256], 1..200),
    ) {
        prop_assume!(weights.iter().any(|&w| w > 0));
        let pool = Pool::of(&weights);
        let mut policy = pool.policy(kind("cap"), &[], None);
        let expected = smooth(&weights, classes.len());
        let mut turns = [0; 256];
        for (n, &class) in classes.iter().enumerate() {
            if n % 50 == 49 {
                policy = pool.policy(kind("cap"), &[], Some(&policy));
            }
            let request = Request { class, ..Request::of(client(1)) };
            let server = policy.select(policy.classify(&request), &pool);
            let turn = &mut turns[usize::from(class)];
            prop_assert_eq!(server, Some(expected[*turn]));
            *turn += 1;
        }
    }

    /// Making the policy anew between requests changes nothing, if the weights are the same.
    #[test]
    fn the_cursor_outlives_its_policy(
        weights in vec(1u32..9, 1..8),
        stretches in vec(0usize..20, 1..10),
    ) {
        for name in ["rr", "wrr"] {
            let pool = Pool::of(&weights);
            let mut policy = pool.policy(kind(name), &[], None);
            let all = pool.sequence(&policy, Class(0), stretches.iter().sum());
            policy = pool.policy(kind(name), &[], None);
            let mut parts = Vec::new();
            for &len in &stretches {
                policy = pool.policy(kind(name), &[], Some(&policy));
                parts.extend(pool.sequence(&policy, Class(0), len));
            }
            prop_assert_eq!(parts, all);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Weights whose period is too long are scaled; the sequence is still as smooth.
    #[test]
    fn wrr_scales_long_periods(mut weights in vec(1u32..=65535, 2..40)) {
        weights.push(65521);
        let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let pool = Pool::of(&weights);
        let policy = pool.policy(kind("wrr"), &[], None);
        let len = 1 << 17;
        let counts = pool.counts(&policy, Class(0), len);
        for (&weight, &count) in weights.iter().zip(&counts) {
            let (share, is) = (f64::from(weight) / sum, count as f64 / len as f64);
            prop_assert!((share - is).abs() < 1.0 / 30_000.0, "{} instead of {}", is, share);
        }
        // No server gets ahead or behind by more than some turns on the way.
        let mut so_far = vec![0.0; weights.len()];
        for (turn, server) in pool.sequence(&policy, Class(0), 5000).into_iter().enumerate() {
            so_far[server] += 1.0;
            let ideal = f64::from(weights[server]) / sum * (turn + 1) as f64;
            prop_assert!((so_far[server] - ideal).abs() < 4.0);
        }
    }
}

#[test]
fn cap_separates_heavy_from_light() {
    // Every third request is heavy. By turns alone the third of three servers would get all of them.
    let pool = Pool::of(&[1, 1, 1]);
    let policy = pool.policy(kind("cap"), &[], None);
    let mut heavy = [0; 3];
    for n in 0..300 {
        let class = u16::from(n % 3 == 2);
        let request = Request { class, ..get("/") };
        let server = policy.select(policy.classify(&request), &pool).unwrap();
        heavy[server] += class;
    }
    assert_eq!(heavy, [33 + 1, 33, 33]);
}

/// The turns of a server that is not usable are shared by all others.
#[test]
fn unusable_servers_are_passed_over_evenly() {
    for name in ["rr", "wrr", "cap"] {
        let mut pool = Pool::of(&[1, 1, 1, 1]);
        pool.servers[1].usable = false;
        let policy = pool.policy(kind(name), &[], None);
        assert_eq!(pool.counts(&policy, Class(0), 300), [100, 0, 100, 100]);
    }
    let mut pool = Pool::of(&[5, 3, 2]);
    pool.servers[0].usable = false;
    let policy = pool.policy(kind("wrr"), &[], None);
    assert_eq!(pool.counts(&policy, Class(0), 500), [0, 300, 200]);
    // Its turns are too many to be passed over one by one.
    for others in [2, 3, 4, 5, 64, 65] {
        let mut weights = vec![1; others];
        weights.insert(0, 60_000);
        let mut pool = Pool::of(&weights);
        pool.servers[0].usable = false;
        let policy = pool.policy(kind("wrr"), &[], None);
        let counts = pool.counts(&policy, Class(0), others * 100);
        assert!(
            counts[1..].iter().all(|n| (95..=105).contains(n)),
            "{counts:?}"
        );
    }
}
