// SPDX-License-Identifier: GPL-2.0

//! `lard` and `lard/r` against the pseudo-code of the paper (figures 2 and 3).

use crate::pool::{client, get, kind, Pool};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeSet, HashMap};
use thop_core::request::Request;

const T_LOW: u32 = 25;
const T_HIGH: u32 = 65;
const K_MS: u64 = 20_000;

fn least(loads: &[u32], among: impl Iterator<Item = usize>) -> usize {
    among.min_by_key(|&n| loads[n]).unwrap()
}

fn overloaded(loads: &[u32], n: usize) -> bool {
    let idle = loads.iter().any(|&load| load < T_LOW);
    (loads[n] > T_HIGH && idle) || loads[n] >= 2 * T_HIGH
}

/// Figure 2.
#[derive(Default)]
struct Lard {
    server: HashMap<u8, usize>,
}

impl Lard {
    fn fetch(&mut self, target: u8, loads: &[u32]) -> usize {
        let all = 0..loads.len();
        let n = match self.server.get(&target) {
            None => least(loads, all),
            Some(&n) if overloaded(loads, n) => least(loads, all),
            Some(&n) => n,
        };
        self.server.insert(target, n);
        n
    }
}

/// Figure 3.
#[derive(Default)]
struct LardR {
    sets: HashMap<u8, (BTreeSet<usize>, u64)>,
}

impl LardR {
    fn fetch(&mut self, target: u8, loads: &[u32], time: u64) -> usize {
        let all = 0..loads.len();
        let (set, last_mod) = self.sets.entry(target).or_default();
        let before = set.clone();
        let mut n;
        if set.is_empty() {
            n = least(loads, all);
            set.insert(n);
        } else {
            n = least(loads, set.iter().copied());
            let m = set.iter().copied().max_by_key(|&n| loads[n]).unwrap();
            if overloaded(loads, n) {
                let p = least(loads, all);
                set.insert(p);
                n = p;
            }
            if set.len() > 1 && time - *last_mod > K_MS {
                set.remove(&m);
            }
        }
        if *set != before {
            *last_mod = time;
        }
        n
    }
}

/// Different loads, so that the least loaded server is one.
fn loads() -> impl Strategy<Value = Vec<u32>> {
    let range = prop_oneof![Just(20u32), Just(70), Just(100), Just(150)];
    range.prop_flat_map(|most| {
        let all: Vec<u32> = (0..most).collect();
        Just(all).prop_shuffle().prop_map(|all| all[..6].to_vec())
    })
}

type Step = (u8, Vec<u32>, u64);

fn trace() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0u64..100, 0u64..30_000];
    vec((0u8..4, loads(), wait), 1..150)
}

proptest! {
    #[test]
    fn decides_as_the_paper_does(trace in trace(), start in any::<u64>(), renewed in any::<bool>()) {
        let mut pool = Pool::of(&[1; 6]);
        pool.now_ms = start >> 1;
        let mut policies = [kind("lard"), kind("lard/r")].map(|kind| pool.policy(kind, &[("entries", "1024")], None));
        let mut lard = Lard::default();
        let mut lard_r = LardR::default();
        for (step, (target, loads, wait)) in trace.iter().enumerate() {
            if renewed && step % 40 == 39 {
                policies = policies.map(|p| pool.policy(p.kind(), &[("entries", "1024")], Some(&p)));
            }
            pool.now_ms += wait;
            for (server, &load) in pool.servers.iter_mut().zip(loads) {
                server.connections = load;
            }
            let path = format!("/{target}");
            let expected = [lard.fetch(*target, loads), lard_r.fetch(*target, loads, pool.now_ms)];
            for (policy, expected) in policies.iter().zip(expected) {
                let chosen = policy.select(policy.classify(&get(&path)), &pool);
                prop_assert_eq!(chosen, Some(expected), "{} at step {}", policy.kind().name(), step);
            }
        }
    }
}

#[test]
fn options_are_the_thresholds() {
    for name in ["lard", "lard/r"] {
        for (options, low, high) in [(&[][..], 25, 65), (&[("low", "5"), ("high", "8")], 5, 8)] {
            let stays = |ours, other| {
                let mut pool = Pool::of(&[1, 1]);
                let policy = pool.policy(kind(name), options, None);
                let class = policy.classify(&get("/"));
                pool.servers[1].connections = 1;
                assert_eq!(policy.select(class, &pool), Some(0));
                pool.servers[0].connections = ours;
                pool.servers[1].connections = other;
                policy.select(class, &pool) == Some(0)
            };
            assert!(stays(high, 0) && !stays(high + 1, 0));
            assert!(!stays(high + 1, low - 1) && stays(high + 1, low));
            assert!(stays(high * 2 - 1, low) && !stays(high * 2, low));
        }
    }
}

#[test]
fn a_replica_leaves_after_the_decay() {
    for (options, decay) in [
        (&[][..], 20_000),
        (&[("decay", "3s")], 3000),
        (&[("decay", "2m")], 120_000),
    ] {
        let mut pool = Pool::of(&[1, 1]);
        let policy = pool.policy(kind("lard/r"), options, None);
        let class = policy.classify(&get("/"));
        let mut ask = |loads: [u32; 2], wait| {
            pool.now_ms += wait;
            for (server, load) in pool.servers.iter_mut().zip(loads) {
                server.connections = load;
            }
            policy.select(class, &pool)
        };
        assert_eq!(ask([0, 1], 0), Some(0));
        assert_eq!(ask([70, 1], 1), Some(1));
        // Both have it now, and the less loaded one gets it.
        assert_eq!(ask([4, 5], decay), Some(0));
        assert_eq!(ask([5, 4], 0), Some(1));
        // The more loaded one leaves.
        assert_eq!(ask([4, 5], 1), Some(0));
        assert_eq!(ask([5, 4], 0), Some(0));
    }
}

/// The query is not part of the target; the host is, in whatever case.
#[test]
fn targets_are_host_and_path() {
    for name in ["lard", "lard/r"] {
        let pool = Pool::of(&[1; 3]);
        let policy = pool.policy(kind(name), &[], None);
        let class = |host: Option<&'static str>, path: &'static str, query: &'static str| {
            policy.classify(&Request {
                host: host.map(str::as_bytes),
                path: path.as_bytes(),
                query: query.as_bytes(),
                ..Request::of(client(9))
            })
        };
        let one = class(Some("www.example.com"), "/a", "b=c");
        assert_eq!(one, class(Some("WWW.Example.COM."), "/a", "d"));
        assert_ne!(one, class(Some("www.example.com"), "/A", "b=c"));
        assert_ne!(one, class(Some("example.com"), "/a", "b=c"));
        assert_ne!(one, class(None, "/a", "b=c"));
    }
}

/// Weight 0 drains, and a server that cannot be used gives its targets to others.
#[test]
fn targets_leave_servers_that_are_gone() {
    for name in ["lard", "lard/r"] {
        let mut pool = Pool::of(&[1; 4]);
        let mut policy = pool.policy(kind(name), &[], None);
        let paths: Vec<_> = (0..100).map(|n| format!("/{n}")).collect();
        let homes = |policy: &crate::pool::Policy, pool: &Pool| -> Vec<_> {
            let select = |path: &String| policy.select(policy.classify(&get(path)), pool).unwrap();
            paths.iter().map(select).collect()
        };
        let before = homes(&policy, &pool);
        assert!((0..4).all(|server| before.contains(&server)));
        pool.servers[2].usable = false;
        let after = homes(&policy, &pool);
        pool.servers[2].usable = true;
        pool.weights[3] = 0;
        policy = pool.policy(kind(name), &[], Some(&policy));
        let drained = homes(&policy, &pool);
        assert!(!drained.contains(&3));
        for (path, &home) in before.iter().enumerate() {
            assert_ne!(after[path], 2);
            // Who was not concerned stays.
            assert!(home == 2 || after[path] == home);
            assert!(after[path] == 3 || name == "lard/r" || drained[path] == after[path]);
        }
        // Another size of the map is another map: all targets are new.
        let other = pool.policy(kind(name), &[("entries", "1024")], Some(&policy));
        pool.servers[0].connections = 1;
        pool.servers[2].connections = 1;
        assert_ne!(homes(&policy, &pool), [1; 100]);
        assert_eq!(homes(&other, &pool), [1; 100]);
    }
}

/// The least loaded server is the one with the fewest connections in proportion to its weight.
#[test]
fn new_targets_go_by_weight() {
    for name in ["lard", "lard/r"] {
        let mut pool = Pool::of(&[1, 2, 5]);
        let policy = pool.policy(kind(name), &[], None);
        for n in 0..160 {
            let path = format!("/{n}");
            let server = policy.select(policy.classify(&get(&path)), &pool).unwrap();
            pool.servers[server].connections += 1;
        }
        for (server, expected) in pool.servers.iter().zip([20, 40, 100]) {
            assert!(server.connections.abs_diff(expected) <= 1, "{pool:?}");
        }
    }
}

/// The map is bounded. What is asked for again and again stays in it, the rest goes.
#[test]
fn what_is_not_asked_for_is_forgotten() {
    for name in ["lard", "lard/r"] {
        let mut pool = Pool::of(&[1; 2]);
        let policy = pool.policy(kind(name), &[("entries", "1024")], None);
        let home = |pool: &Pool, path: &str| policy.select(policy.classify(&get(path)), pool);
        // The popular target is with server 0, and so is another one.
        pool.servers[1].connections = 5;
        assert_eq!(home(&pool, "/popular"), Some(0));
        assert_eq!(home(&pool, "/rare"), Some(0));
        pool.servers[0].connections = 10;
        for n in 0..20_000 {
            pool.now_ms += 1;
            assert_eq!(home(&pool, &format!("/{n}")), Some(1));
            if n % 100 == 0 {
                assert_eq!(home(&pool, "/popular"), Some(0));
            }
        }
        assert_eq!(home(&pool, "/rare"), Some(1));
    }
}
