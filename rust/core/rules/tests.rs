// SPDX-License-Identifier: GPL-2.0

//! How rules are put into lists. What is found by them is tested from outside.

use super::*;
use crate::{
    config::{Config, ServiceId},
    heap::StdHeap,
};
use std::{format, string::String, vec::Vec};

const S0: ServiceId = ServiceId::new(0);

fn config(conditions: impl Iterator<Item = String>) -> Config<StdHeap> {
    let mut text = String::from("pool p\nservice s address 192.0.2.1:80\n");
    for condition in conditions {
        text += &format!("route service s {condition} pool p\n");
    }
    Config::parse(text.as_bytes()).unwrap()
}

/// The lengths of the lists that are not empty, the longest first.
fn lists(config: &Config<StdHeap>) -> Vec<u32> {
    let rules = config.rules(S0).unwrap();
    let mut lengths: Vec<_> = rules.keys.iter().map(|key| key.rules.len).collect();
    lengths.retain(|&length| length > 0);
    lengths.sort_by_key(|&length| core::cmp::Reverse(length));
    lengths
}

#[test]
fn rules_that_differ_in_anything_are_alone_in_their_lists() {
    let networks = |n: u32| format!("client 10.{}.{}.0/24", n / 256, n % 256);
    let kinds: [&dyn Fn(u32) -> String; 12] = [
        &|n| format!("host h{n}.example"),
        &|n| format!("host *.h{n}.example path /"),
        &|n| format!("host h path /p{n}/"),
        &|n| format!("path-exact /p{n} path /"),
        &|n| format!("path-suffix .{n} path / host h"),
        &|n| format!("method M{n}"),
        &|n| format!("header x={n} host h path /"),
        &|n| format!("header x{n} header x"),
        &|n| format!("cookie c={n} client 10.0.0.0/8"),
        &|n| format!("query q={n} method GET"),
        &networks,
        &|n| format!("host h{} path /{}", n / 100, n % 100),
    ];
    for kind in kinds {
        let config = config((0..2000).map(kind));
        assert_eq!(lists(&config), [1; 2000], "{}", kind(0));
    }
}

#[test]
fn a_rule_is_found_by_what_the_fewest_share() {
    let config = config((0..100).map(|n| format!("host h{} header x={}", n / 10, n % 5)));
    // Ten rules for each host, twenty for each value.
    assert_eq!(lists(&config), [10; 10]);
}

#[test]
fn what_is_within_another_knows_the_first_rule_of_both() {
    let config = config((0..9).map(|n| format!("path /{} host h", &"aaaaaaaaa"[n..])));
    let rules = config.rules(S0).unwrap();
    let host = rules.key(config.text(), Kind::Host, 0, b"h").unwrap();
    let host = rules.hosts[host as usize];
    let found: Vec<_> = rules
        .prefixes
        .that_begin(host.prefixes, config.text(), b"/aaaaaa")
        .map(|node| node.least)
        .collect();
    // The longest has the first rule, so a lookup leaves it at that.
    assert_eq!(found, [3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_domain_is_not_under_itself() {
    let config = config(["host *.a.example".into()].into_iter());
    let matches = |host: &[u8]| {
        let mut request = Request::of([192, 0, 2, 1].into());
        request.host = Some(host);
        config.route(S0, &request).is_some()
    };
    assert!(matches(b"x.A.example.") && matches(b"x.y.a.example"));
    assert!(!matches(b".a.example") && !matches(b"a.example") && !matches(b"xa.example"));
    let mut long = std::vec![b'x'; MAX_HOST - 10];
    long.extend_from_slice(b".a.example");
    assert!(matches(&long));
    long.insert(0, b'x');
    assert!(!matches(&long));
}

#[test]
fn a_lookup_fits_a_kernel_stack() {
    assert!(core::mem::size_of::<Search<'_, StdHeap>>() + MAX_HOST <= 768);
}
