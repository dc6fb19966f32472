// SPDX-License-Identifier: GPL-2.0

//! `maglev`.

use crate::pool::{client, kind, Policy, Pool};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;
use thop_core::{
    policy::{hash::mix, Class},
    request::Request,
};

/// The size of the table of up to 655 servers.
const SIZE: usize = 65_537;

/// A pool whose servers have identities as they might be.
fn pool(weights: &[u32]) -> Pool {
    let identities = (0..weights.len() as u64).map(mix).collect();
    Pool {
        identities,
        ..Pool::of(weights)
    }
}

fn policy(pool: &Pool) -> Policy {
    pool.policy(kind("maglev"), &[], None)
}

/// The identities in the table: a class that is less than its size is a place.
fn table(pool: &Pool, size: usize) -> Vec<u64> {
    let policy = policy(pool);
    let select = |place| policy.select(Class(place as u64), pool).unwrap();
    (0..size)
        .map(|place| pool.identities[select(place)])
        .collect()
}

/// How many places each server has.
fn shares(pool: &Pool, table: &[u64]) -> Vec<usize> {
    let count = |id: &u64| table.iter().filter(|owner| *owner == id).count();
    pool.identities.iter().map(count).collect()
}

/// How many places have another owner, though neither of the two is `concerned`.
fn disruption(before: &[u64], after: &[u64], concerned: u64) -> f64 {
    let moved = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after && **before != concerned && **after != concerned);
    moved.count() as f64 / before.len() as f64
}

#[test]
fn shares_are_equal() {
    for servers in [2, 3, 5, 10, 37, 100, 200] {
        let pool = pool(&vec![1; servers]);
        let shares = shares(&pool, &table(&pool, SIZE));
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        let average = SIZE as f64 / servers as f64;
        assert!(
            (most - least) as f64 <= 0.01 * average,
            "{servers}: {least} to {most}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn shares_are_as_the_weights(weights in vec(0u32..100, 1..40), factor in 1u32..600) {
        prop_assume!(weights.iter().any(|&w| w > 0));
        let pool = pool(&weights.iter().map(|w| w * factor).collect::<Vec<_>>());
        let sum: u32 = weights.iter().sum();
        for (&weight, share) in weights.iter().zip(shares(&pool, &table(&pool, SIZE))) {
            let ideal = f64::from(weight) / f64::from(sum) * SIZE as f64;
            // Each has one place for the beginning of an interval: so many are not shared by weight.
            let least = ideal * (1.0 - weights.len() as f64 / SIZE as f64);
            let share = share as f64;
            prop_assert!(share >= least - 0.1, "{} instead of {}", share, ideal);
            prop_assert!(share <= ideal + 1.1, "{} instead of {}", share, ideal);
            prop_assert!(weight == 0 || share >= 1.0);
        }
    }

    /// Each switch may have the servers in another order, and places of servers that are gone.
    #[test]
    fn the_order_does_not_matter(
        members in vec((0u32..4, any::<u64>()), 1..30).prop_flat_map(|all| {
            (Just(all.clone()), Just(all).prop_shuffle())
        }),
        gone in 0usize..3,
    ) {
        let (one, mut other) = members;
        prop_assume!(one.iter().any(|&(weight, _)| weight > 0));
        other.extend(vec![(0, 77); gone]);
        let tables = [one, other].map(|members| {
            let (weights, identities): (Vec<_>, _) = members.into_iter().unzip();
            table(&Pool { identities, ..Pool::of(&weights) }, SIZE)
        });
        prop_assert!(tables[0] == tables[1]);
    }
}

/// Ideally no other place would change. The paper (section 5.3) finds a few percent with hundreds of
/// servers and this size.
#[test]
fn few_other_places_change_when_a_server_comes_or_goes() {
    for (servers, bound) in [(3, 0.002), (10, 0.005), (50, 0.01), (200, 0.015)] {
        let mut worst = 0.0f64;
        for leaver in (0..servers).step_by(servers / 3) {
            let mut pool = pool(&vec![1; servers]);
            let before = table(&pool, SIZE);
            pool.weights[leaver] = 0;
            let after = table(&pool, SIZE);
            let identity = pool.identities[leaver];
            assert!(!after.contains(&identity));
            worst = worst.max(disruption(&before, &after, identity));
        }
        println!(
            "{servers} servers, one leaves: {:.2} % of the others' places",
            worst * 100.0
        );
        assert!(worst < bound, "{servers}: {worst}");
    }
}

/// Slow start: a server's weight goes up step by step.
#[test]
fn few_other_places_change_with_a_weight() {
    for (others, weight) in [(9, 1000), (9, 100), (99, 100)] {
        let mut weights = vec![weight; others];
        weights.push(0);
        let mut pool = pool(&weights);
        let identity = pool.identities[others];
        let mut before = table(&pool, SIZE);
        let mut sum = 0.0;
        for step in 1..=10 {
            pool.weights[others] = weight * step / 10;
            let after = table(&pool, SIZE);
            let moved = disruption(&before, &after, identity);
            assert!(moved < 0.01, "{others} others, step {step}: {moved}");
            sum += moved;
            before = after;
        }
        println!(
            "{others} others, ten steps to {weight}: {:.2} % in all",
            sum * 100.0
        );
    }
}

/// A request that cannot go to its server goes to the same other one each time, and different
/// requests go to different ones.
#[test]
fn unusable_servers_are_replaced_by_all() {
    let mut pool = pool(&[1; 10]);
    let policy = policy(&pool);
    let classes: Vec<_> = (0..SIZE as u64).map(Class).collect();
    let choose = |pool: &Pool| -> Vec<_> {
        let select = |&class| policy.select(class, pool).unwrap();
        classes.iter().map(select).collect()
    };
    let before = choose(&pool);
    pool.servers[4].usable = false;
    let after = choose(&pool);
    assert_eq!(after, choose(&pool));
    let mut moved = [0; 10];
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == 4);
        moved[*after] += usize::from(*before == 4);
    }
    assert_eq!(moved[4], 0);
    // 6554 requests, 728 for each: the standard deviation is 25.
    for (server, moved) in moved.iter().enumerate() {
        assert!(server == 4 || (600..860).contains(moved), "{moved}");
    }
    // One is left.
    for (n, server) in pool.servers.iter_mut().enumerate() {
        server.usable = n == 7;
    }
    assert!(choose(&pool).iter().all(|&server| server == 7));
}

#[test]
fn keys() {
    let pool = pool(&[1; 3]);
    let mut policies = BTreeMap::new();
    let mut ask = |key: &'static str, request: &Request<'_>| {
        let make = || pool.policy(kind("maglev"), &[("key", key)], None);
        policies.entry(key).or_insert_with(make).classify(request)
    };
    let fields = b"X-User: ann\r\nCookie: ID=7; id=8\r\n\r\n";
    let base = Request {
        host: Some(b"example.com"),
        path: b"/a",
        query: b"q",
        uri: b"/a?q",
        fields,
        ..Request::of(client(1))
    };
    let changes: [(&str, Request<'_>); 6] = [
        (
            "client",
            Request {
                client: client(2),
                ..base
            },
        ),
        (
            "host",
            Request {
                host: Some(b"example.org"),
                ..base
            },
        ),
        (
            "path",
            Request {
                path: b"/b",
                ..base
            },
        ),
        (
            "uri",
            Request {
                uri: b"/a?r",
                ..base
            },
        ),
        (
            "header:x-user",
            Request {
                fields: b"X-User: bob\r\nCookie: ID=7\r\n",
                ..base
            },
        ),
        (
            "cookie:ID",
            Request {
                fields: b"X-User: ann\r\nCookie: ID=8\r\n",
                ..base
            },
        ),
    ];
    for (key, _) in &changes {
        for (changed, request) in &changes {
            let same = ask(key, &base) == ask(key, request);
            assert_eq!(same, key != changed, "{key}, changed {changed}");
        }
    }
    assert_eq!(
        ask("host", &base),
        ask(
            "host",
            &Request {
                host: Some(b"EXAMPLE.com."),
                ..base
            }
        )
    );
    // Without the part it is the client that counts.
    for key in [
        "client",
        "host",
        "path",
        "uri",
        "header:x-none",
        "cookie:none",
    ] {
        let request = Request {
            fields,
            ..Request::of(client(3))
        };
        assert_eq!(ask(key, &request), ask("client", &request), "{key}");
    }
    // Without the option too.
    let policy = policy(&pool);
    assert_eq!(policy.classify(&base), ask("client", &base));
}
