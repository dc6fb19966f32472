// SPDX-License-Identifier: GPL-2.0

//! `sticky`.

use crate::pool::{client, get, kind, Policy, Pool};
use thop_core::request::Request;

fn ask(policy: &Policy, pool: &Pool, cookies: &str) -> Option<usize> {
    let fields = format!("Cookie: {cookies}\r\n");
    let request = Request {
        fields: fields.as_bytes(),
        ..get("/")
    };
    policy.select(policy.classify(&request), pool)
}

#[test]
fn the_cookie_names_the_server() {
    let mut pool = Pool::of(&[1; 300]);
    pool.weights[7] = 0;
    for (options, cookie) in [(&[][..], "SERVER"), (&[("cookie", "id")], "id")] {
        let policy = pool.policy(kind("sticky"), options, None);
        for n in 0..300 {
            let cookies = format!("a=b; {cookie}=s{n}");
            assert_eq!(ask(&policy, &pool, &cookies), Some(n));
        }
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_not_chosen() {
    let mut pool = Pool::of(&[1, 1, 1]);
    let policy = pool.policy(kind("sticky"), &[], None);
    pool.servers[1].usable = false;
    assert_eq!(ask(&policy, &pool, "SERVER=s1"), Some(1));
    pool.servers[1].reachable = false;
    for _ in 0..9 {
        assert_ne!(ask(&policy, &pool, "SERVER=s1"), Some(1));
    }
}

#[test]
fn the_other_requests_are_for_the_fallback() {
    let pool = Pool::of(&[3, 1, 0]);
    for name in ["", "S1", "s1x", "s", "s3"] {
        let policy = pool.policy(kind("sticky"), &[], None);
        let mut counts = [0; 3];
        for _ in 0..400 {
            counts[ask(&policy, &pool, &format!("SERVER={name}")).unwrap()] += 1;
        }
        // By default it is `wrr`.
        assert_eq!(counts, [300, 100, 0], "{name}");
    }
    // What the other policy has understood reaches it.
    for name in ["maglev", "cap", "lard"] {
        let pool = Pool::of(&[1; 10]);
        let sticky = pool.policy(kind("sticky"), &[("fallback", name)], None);
        let alone = pool.policy(kind(name), &[], None);
        for n in 0..500 {
            let request = Request {
                class: (n % 7) as u16,
                path: &[b'/', n as u8],
                ..Request::of(client(n))
            };
            assert_eq!(
                sticky.select(sticky.classify(&request), &pool),
                alone.select(alone.classify(&request), &pool),
            );
        }
    }
}

/// The other policy is not started anew when weights change.
#[test]
fn the_fallback_outlives_its_policy() {
    let pool = Pool::of(&[1; 4]);
    let mut policy = pool.policy(kind("sticky"), &[], None);
    for n in 0..8 {
        policy = pool.policy(kind("sticky"), &[], Some(&policy));
        assert_eq!(ask(&policy, &pool, ""), Some(n % 4));
    }
}

/// Of two places of one name, the server is where the weight is.
#[test]
fn a_place_that_is_left_does_not_count() {
    for (weights, expected) in [([0, 1], 1), ([1, 0], 0), ([0, 0], 0)] {
        let mut pool = Pool::of(&weights);
        pool.names = vec!["s".into(), "s".into()];
        let policy = pool.policy(kind("sticky"), &[], None);
        assert_eq!(ask(&policy, &pool, "SERVER=s"), Some(expected));
    }
}

#[test]
fn sticky_cannot_ask_itself() {
    let pool = Pool::of(&[1, 1]);
    let policy = pool.policy(kind("sticky"), &[("fallback", "sticky")], None);
    assert_eq!(ask(&policy, &pool, ""), Some(0));
    assert_eq!(ask(&policy, &pool, ""), Some(1));
}
