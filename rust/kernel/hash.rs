// SPDX-License-Identifier: GPL-2.0

//! The module parameter `hash`, which both modules have: `xor` or `siphash`.
//!
//! A parameter that is a word is none of those that `module!` knows, so it is C's (`helpers/hash.c`).

use crate::bindings;

/// Whether this module was loaded with `hash=siphash`.
pub fn is_keyed() -> bool {
    // SAFETY: No requirements; the parameter does not change once the module is loaded.
    unsafe { bindings::thop_hash_is_keyed() }
}
