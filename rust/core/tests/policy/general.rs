// SPDX-License-Identifier: GPL-2.0

//! What holds for every policy.

use crate::pool::{client, Policy, Pool, Server, ROOM};
use proptest::{collection::vec, option, prelude::*};
use std::collections::HashSet;
use thop_core::{
    policy::{Class, Kind},
    request::Request,
};

fn server() -> impl Strategy<Value = Server> {
    let connections = prop_oneof![0u32..3, 0u32..200, any::<u32>()];
    (any::<bool>(), any::<bool>(), connections, 0u32..1100).prop_map(
        |(usable, reachable, connections, cpu)| Server {
            usable,
            reachable: usable || reachable,
            connections,
            cpu,
        },
    )
}

/// A pool of any state. All servers may be unusable.
fn pool() -> impl Strategy<Value = Pool> {
    let weight = prop_oneof![2 => Just(0), 4 => 1u32..5, 1 => 1u32..70_000, 1 => Just(u32::MAX)];
    let state = (vec((weight, server()), 0..20), any::<u64>(), any::<bool>());
    state.prop_map(|(members, now_ms, gone)| {
        let (weights, servers): (Vec<_>, _) = members.into_iter().unzip();
        let mut pool = Pool::of(&weights);
        if let (true, [first, .., last]) = (gone, &mut pool.names[..]) {
            // The last one's place is that of a server that was replaced by the first.
            last.clone_from(first);
            pool.weights[weights.len() - 1] = 0;
        }
        Pool {
            servers,
            now_ms,
            ..pool
        }
    })
}

#[derive(Clone, Debug)]
struct Asked {
    client: u32,
    path: String,
    class: u16,
    cookie: Option<usize>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let cookie = option::of(0usize..22);
    (0u32..4, "/[a-d]?", 0u16..300, cookie).prop_map(|(client, path, class, cookie)| Asked {
        client,
        path,
        class,
        cookie,
    })
}

fn classify(policy: &Policy, asked: &Asked) -> Class {
    let fields = asked
        .cookie
        .map_or_else(String::new, |n| format!("Cookie: SERVER=s{n}\r\n"));
    policy.classify(&Request {
        path: asked.path.as_bytes(),
        class: asked.class,
        fields: fields.as_bytes(),
        ..Request::of(client(asked.client))
    })
}

#[test]
fn names_are_unique_and_known() {
    let names: HashSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for &kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name().as_bytes()), Some(kind));
        let fallback = Kind::fallback(kind.name().as_bytes());
        assert_eq!(fallback.is_some(), kind != Kind::Sticky);
    }
    for unknown in ["", "RR", "rr ", "lard/", "first"] {
        assert_eq!(Kind::named(unknown.as_bytes()), None);
    }
}

#[test]
fn a_pool_without_servers_has_none_to_choose() {
    for &kind in Kind::ALL {
        for weights in [&[][..], &[0, 0]] {
            let pool = Pool::of(weights);
            let policy = pool.policy(kind, &[], None);
            assert_eq!(policy.kind(), kind);
            assert_eq!(policy.select(Class(5), &pool), None, "{kind:?}");
        }
    }
}

#[test]
fn the_largest_pool() {
    let mut pool = Pool::of(&(0..4096).map(|n| n % 300).collect::<Vec<_>>());
    for server in &mut pool.servers {
        server.usable = false;
    }
    pool.servers[4095].usable = true;
    for &kind in Kind::ALL {
        let policy = pool.policy(kind, &[], None);
        for class in 0..20 {
            assert_eq!(policy.select(Class(class), &pool), Some(4095), "{kind:?}");
        }
    }
}

/// Without memory there is an error, wherever it runs out, and nothing else.
#[test]
fn memory_runs_out() {
    let pool = Pool::of(&[1, 2, 3, 0, 1]);
    for &kind in Kind::ALL {
        let options = [("entries", "1024"), ("key", "cookie:ID")];
        ROOM.set(u64::MAX);
        let policy = pool.policy(kind, &options, None);
        let needed = u64::MAX - ROOM.get();
        let step = needed / 100 + 1;
        for room in (0..needed).step_by(step as usize).chain([needed - 1]) {
            ROOM.set(room);
            let made = pool.try_policy(kind, &options, Some(&policy));
            assert!(made.is_err(), "{kind:?} with room for {room} of {needed}");
        }
        ROOM.set(needed);
        assert!(pool.try_policy(kind, &options, Some(&policy)).is_ok());
        ROOM.set(u64::MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    /// A server that is not usable or has no weight is not chosen, and some server is chosen
    /// whenever there is one; through changes of state, weights and policies.
    #[test]
    fn chooses_who_may_be_chosen(
        first in pool(),
        rounds in vec((pool(), vec(asked(), 1..12)), 1..4),
        replaced in any::<bool>(),
    ) {
        let options = [("entries", "1024")];
        for &kind in Kind::ALL {
            let other = Kind::ALL[(kind as usize + 1) % Kind::ALL.len()];
            let start = if replaced { other } else { kind };
            let mut policy = first.policy(start, &options, None);
            for (pool, requests) in &rounds {
                policy = pool.policy(kind, &options, Some(&policy));
                for asked in requests {
                    let class = classify(&policy, asked);
                    let chosen = policy.select(class, pool);
                    let may = |n: usize| pool.weights[n] > 0 && pool.servers[n].usable;
                    let named = asked.cookie.filter(|_| kind == Kind::Sticky).filter(|&n| {
                        n < pool.servers.len() && pool.servers[n].reachable
                            && pool.names[n] == format!("s{n}")
                    });
                    match chosen {
                        Some(server) if Some(server) == named => {}
                        Some(server) => prop_assert!(may(server), "{:?}", kind),
                        None => prop_assert!(!(0..pool.servers.len()).any(may), "{:?}", kind),
                    }
                    if kind == Kind::Sticky {
                        prop_assert!(named.is_none() || chosen == named);
                    } else {
                        prop_assert!(class.0 <= Class::MASK, "{:?}", kind);
                    }
                    if let Some(server) = chosen {
                        policy.done(server, pool);
                    }
                }
            }
            policy.shutdown();
        }
    }
}
