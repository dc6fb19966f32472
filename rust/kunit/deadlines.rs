// SPDX-License-Identifier: GPL-2.0

//! Deadlines, and the kernel's vectors below them.

use kernel::{
    macros::kunit_tests,
    prelude::*, //
};
use thop_core::{
    deadline::Deadlines,
    heap::{
        Heap,
        List, //
    },
};
use thop_kernel::memory::{
    AtomicHeap,
    ProcessHeap, //
};

use crate::random::Random;

/// Whether keys come out when they are due, in order, and all of them.
fn keep_time<H: Heap>(seed: u64) -> Result<bool> {
    let mut random = Random::new(seed);
    let mut deadlines: Deadlines<H, u64> = Deadlines::new();
    // How many wait for each time.
    let mut model = [0u32; 64];
    let mut now = 0;
    while now < 64 {
        for _ in 0..random.below(20) {
            let due = (now as usize + random.below(20)).min(63);
            deadlines.push(due as u64, due as u64).map_err(|_| ENOMEM)?;
            if let Some(count) = model.get_mut(due) {
                *count += 1;
            }
        }
        if model.iter().sum::<u32>() as usize != deadlines.len() {
            return Ok(false);
        }
        while let Some(due) = deadlines.pop_due(now) {
            // None is early, and none of an earlier time is left.
            match model.iter_mut().enumerate().find(|(_, count)| **count > 0) {
                Some((first, count)) if first as u64 == due && due <= now => *count -= 1,
                _ => return Ok(false),
            }
        }
        if deadlines.next().is_some_and(|due| due <= now) {
            return Ok(false);
        }
        now += 1;
    }
    Ok(deadlines.is_empty())
}

/// Whether a vector holds what it is given, in order, however far it grows.
fn keep_order<H: Heap>() -> Result<bool> {
    let mut list: H::List<u64> = Default::default();
    for value in 0..5000 {
        list.try_push(value).map_err(|_| ENOMEM)?;
    }
    let in_order = list
        .iter()
        .enumerate()
        .all(|(at, value)| at as u64 == *value);
    for value in (0..5000).rev() {
        if list.pop() != Some(value) {
            return Ok(false);
        }
    }
    Ok(in_order && list.pop().is_none())
}

#[kunit_tests(thop_deadlines)]
mod tests {
    use super::*;

    #[test]
    fn process_heap_keeps_order() -> Result {
        assert!(keep_order::<ProcessHeap>()?);
        Ok(())
    }

    #[test]
    fn atomic_heap_keeps_order() -> Result {
        assert!(keep_order::<AtomicHeap>()?);
        Ok(())
    }

    #[test]
    fn come_when_they_are_due() -> Result {
        for seed in 1..20 {
            assert!(keep_time::<ProcessHeap>(seed)?);
            assert!(keep_time::<AtomicHeap>(seed)?);
        }
        Ok(())
    }
}
