// SPDX-License-Identifier: GPL-2.0

//! The policy of docs/policies.md is what the document says: it compiles as it stands there, and does
//! what it promises.

#[path = "policy/pool.rs"]
#[allow(dead_code)]
mod pool;

/// Where the file of a policy is, there are these.
mod heap {
    pub use thop_core::heap::{Heap, List, OutOfMemory};
}

mod policy {
    pub use thop_core::policy::{hash, Choice, Class, Member, Policy, Servers, Setup};

    #[path = "../policy_example/two.rs"]
    pub mod two;

    pub const NAME: &str = two::NAME;
    pub const OPTIONS: &[Choice] = two::OPTIONS;
}

use pool::{Pool, ScarceHeap};
use thop_core::policy::{Class, Kind, Member, Policy as _, Setup};

type Two = policy::two::TwoChoices<ScarceHeap>;

fn two(weights: &[u32], before: Option<&Two>) -> Two {
    let members: Vec<_> = weights
        .iter()
        .map(|&weight| Member {
            name: "",
            identity: 0,
            weight,
        })
        .collect();
    Two::initialise(&Setup { option: &|_| None }, &members, before).unwrap()
}

#[test]
fn the_document_has_this_file() {
    let document = include_str!("../../../docs/policies.md");
    let file = include_str!("policy_example/two.rs");
    let code = document.split("```rust\n").skip(1);
    let mut code = code.filter_map(|text| text.split("```").next());
    assert!(code.any(|code| code == file));
    // The registry knows no policy of that name, so the example can be followed to the letter.
    assert_eq!(Kind::named(policy::NAME.as_bytes()), None);
    assert_eq!(policy::OPTIONS, &[]);
    assert!(document.contains("    TwoChoices(two::TwoChoices<H>) = two,\n"));
}

/// The document names each policy and each option.
#[test]
fn the_document_is_complete() {
    let document = include_str!("../../../docs/policies.md");
    for &kind in Kind::ALL {
        let name = kind.name();
        let section = document.split(&format!("\n### `{name}`\n")).nth(1);
        let section = section.and_then(|text| text.split("\n##").next());
        let section = section.unwrap_or_else(|| panic!("no section on {name}"));
        assert!(section.contains(&format!("policy {name}")), "{name}");
        for option in kind.options() {
            assert!(section.contains(&format!("`{}", option.name)), "{option:?}");
        }
    }
}

/// Of each pair the less loaded one is chosen, so the most loaded of four is chosen when both are it:
/// once in sixteen times.
#[test]
fn two_random_choices() {
    let mut pool = Pool::of(&[1; 4]);
    for (n, server) in pool.servers.iter_mut().enumerate() {
        server.connections = n as u32;
    }
    let two = two(&[1; 4], None);
    let mut counts = [0u32; 4];
    for _ in 0..16_000 {
        counts[two.select(Class(0), &pool).unwrap()] += 1;
    }
    for (count, expected) in counts.into_iter().zip([7000u32, 5000, 3000, 1000]) {
        assert!(count.abs_diff(expected) < 250, "{counts:?}");
    }
}

#[test]
fn who_may_not_be_chosen_is_not() {
    let mut pool = Pool::of(&[1; 20]);
    for server in &mut pool.servers {
        server.usable = false;
    }
    let mut weights = [1; 20];
    weights[5] = 0;
    let two = two(&weights, Some(&two(&[], None)));
    assert_eq!(two.select(Class(0), &pool), None);
    pool.servers[5].usable = true;
    assert_eq!(two.select(Class(0), &pool), None);
    pool.servers[9].usable = true;
    assert_eq!(two.select(Class(0), &pool), Some(9));
}
