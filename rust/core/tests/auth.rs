// SPDX-License-Identifier: GPL-2.0

//! Which messages have come before, against a list of them all; and any text as keys.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};
use thop_core::{
    auth::{Access, Judged, Window, WINDOW},
    heap::StdHeap,
};

/// Steps from one number to the next, most of them small.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -3i64..4,
        4 => -200i64..200,
        2 => -(2 * WINDOW as i64)..2 * WINDOW as i64,
        1 => any::<i32>().prop_map(i64::from),
        1 => any::<i64>(),
    ]
}

proptest! {
    #[test]
    fn nothing_is_taken_twice(first: u64, steps in vec(step(), 0..600)) {
        let mut window = Window::new();
        let mut came = HashSet::new();
        let (mut number, mut highest) = (first, None);
        for step in steps {
            let judged = window.judge(number);
            let behind = highest.map_or(0, |highest: u64| highest.saturating_sub(number));
            match judged {
                Judged::New => prop_assert!(came.insert(number), "{number} is taken twice"),
                Judged::Again => prop_assert!(came.contains(&number), "{number} is new"),
                Judged::Late => prop_assert!(behind > WINDOW, "{number} is {behind} behind"),
            }
            // What lies within is never late, and what lies far out always is.
            prop_assert!(behind < WINDOW + 64 || judged == Judged::Late);
            highest = highest.max(Some(number));
            number = number.wrapping_add_signed(step);
        }
    }

    #[test]
    fn any_order_within_the_window_is_taken(first in 0u64..u64::MAX - WINDOW, numbers in vec(0..WINDOW, 0..400)) {
        let mut window = Window::new();
        let mut came = HashSet::new();
        for number in numbers {
            let expected = if came.insert(number) { Judged::New } else { Judged::Again };
            prop_assert_eq!(window.judge(first + number), expected);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(key|send|from|#|[0-9a-fx./ \n]){0,40}", octets: Vec<u8>) {
        let _ = Access::<StdHeap>::parse(text.as_bytes());
        let _ = Access::<StdHeap>::parse(&octets);
    }
}
