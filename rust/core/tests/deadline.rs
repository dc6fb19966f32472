// SPDX-License-Identifier: GPL-2.0

//! The queue of deadlines against a `BTreeMap`, on a heap that fails.

use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;
use thop_core::{deadline::Deadlines, heap::OutOfMemory};

mod scarce;

use scarce::{ScarceHeap, ROOM};

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u64),
    PushWithoutMemory(u64),
    PopDue(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let time = || prop_oneof![6 => 0u64..20, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    prop_oneof![
        4 => time().prop_map(Step::Push),
        1 => time().prop_map(Step::PushWithoutMemory),
        4 => time().prop_map(Step::PopDue),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn keys_come_when_they_are_due(steps in vec(step(), 0..200)) {
        let mut queue = Deadlines::<ScarceHeap, usize>::new();
        let mut model = BTreeMap::<u64, Vec<usize>>::new();
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(due_ms) => {
                    prop_assert_eq!(queue.push(due_ms, key), Ok(()));
                    model.entry(due_ms).or_default().push(key);
                }
                Step::PushWithoutMemory(due_ms) => {
                    ROOM.set(0);
                    let pushed = queue.push(due_ms, key);
                    ROOM.set(u64::MAX);
                    prop_assert_eq!(pushed, Err(OutOfMemory));
                }
                Step::PopDue(now_ms) => match queue.pop_due(now_ms) {
                    None => {
                        prop_assert!(model.keys().next().is_none_or(|due_ms| *due_ms > now_ms));
                    }
                    Some(key) => {
                        let mut first = model.first_entry().unwrap();
                        prop_assert!(*first.key() <= now_ms);
                        // Keys of one time come in any order.
                        let at = first.get().iter().position(|k| *k == key);
                        prop_assert!(at.is_some(), "key {} was not first", key);
                        first.get_mut().swap_remove(at.unwrap());
                        if first.get().is_empty() {
                            first.remove();
                        }
                    }
                },
            }
            prop_assert_eq!(queue.next(), model.keys().next().copied());
            prop_assert_eq!(queue.len(), model.values().map(Vec::len).sum::<usize>());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn everything_comes_out_in_order(times in vec(any::<u16>(), 0..500)) {
        let mut queue = Deadlines::<ScarceHeap, u16>::default();
        for &time in &times {
            queue.push(u64::from(time), time).unwrap();
        }
        let mut sorted = times;
        sorted.sort_unstable();
        for time in sorted {
            prop_assert_eq!(queue.pop_due(u64::MAX), Some(time));
        }
        prop_assert_eq!(queue.pop_due(u64::MAX), None);
    }
}
