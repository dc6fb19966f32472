// SPDX-License-Identifier: GPL-2.0

//! Request heads: cutting a stream must change nothing, and `httparse` must agree.
//!
//! The first octets of the input say how to cut the rest and what the limit is.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../rust/core/tests/http.rs"]
mod oracle;

fuzz_target!(|data: &[u8]| {
    let Some((&[first, second, limit], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = match limit {
        255 => u32::MAX,
        _ => 4 * u32::from(limit),
    };
    let lengths = [1 + usize::from(first), usize::from(second)];
    oracle::check_segmentation(stream, limit, &lengths);
    oracle::check_oracle(stream);
});
