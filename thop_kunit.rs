// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of `thop_kernel`: the abstractions against slow and obvious models of them, in a
//! kernel that watches. They run when the module is loaded.
//!
//! Built for kernels with `CONFIG_KUNIT=y` only, such as that of `scripts/debug-kernel`.

#![forbid(unsafe_code)]

use kernel::prelude::*;

#[path = "rust/kunit/counters.rs"]
mod counters;
#[path = "rust/kunit/deadlines.rs"]
mod deadlines;
#[path = "rust/kunit/packets.rs"]
mod packets;
#[path = "rust/kunit/random.rs"]
mod random;
#[path = "rust/kunit/sync.rs"]
mod sync;
#[path = "rust/kunit/table.rs"]
mod table;
#[path = "rust/kunit/work.rs"]
mod work;

module! {
    type: ThopKunit,
    name: "thop_kunit",
    authors: ["THOP developers"],
    description: "KUnit suites of THOP's kernel abstractions",
    license: "GPL",
}

struct ThopKunit;

impl kernel::Module for ThopKunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // KUnit finds the suites by itself.
        Ok(Self)
    }
}
