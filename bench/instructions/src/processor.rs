// SPDX-License-Identifier: GPL-2.0

//! Which processor executes.
//!
//! If QEMU has a thread for each processor it says so. With one thread for all, as `-icount` wants it, it gives the
//! processor that a block was translated for instead of the one that executes it. But each has a state of its own,
//! which shows who it is: whoever translates a block is the first to execute it. So the first block that a
//! processor translates tells whose state that is. What it has executed before, as others have left it, belongs to nobody.

use crate::PROCESSORS;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Where each processor's state is; 0: not known yet.
static STATES: [AtomicUsize; PROCESSORS] = [const { AtomicUsize::new(0) }; PROCESSORS];

/// The number of the processor with this state; `translator` is what QEMU says.
#[inline]
pub fn which(translator: usize, state: usize) -> Option<usize> {
    if STATES.get(translator)?.load(Relaxed) == state {
        return Some(translator);
    }
    let known = STATES.iter().position(|of| of.load(Relaxed) == state);
    known.or_else(|| {
        let new = STATES[translator].compare_exchange(0, state, Relaxed, Relaxed);
        new.is_ok().then_some(translator)
    })
}

/// Whether all of the first `count` are told apart.
pub fn all_known(count: usize) -> bool {
    STATES.iter().take(count).all(|of| of.load(Relaxed) != 0)
}
