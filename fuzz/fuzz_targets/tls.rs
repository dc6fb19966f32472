// SPDX-License-Identifier: GPL-2.0

//! ClientHellos: cutting a stream must change nothing, and `tls-parser` and `rustls` must agree.
//!
//! The first octets of the input say how to cut the rest, what the limit is, and whether the rest is
//! the stream or the body of a ClientHello, which gets sound headers then.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../rust/core/tests/tls.rs"]
mod oracle;

fuzz_target!(|data: &[u8]| {
    let Some((&[framed, first, second, limit], rest)) = data.split_first_chunk() else {
        return;
    };
    let limit = match limit {
        255 => u32::MAX,
        _ => 16 * u32::from(limit),
    };
    let stream = if framed & 1 == 0 {
        rest.to_vec()
    } else {
        frame(rest, 1 + 4 * usize::from(first))
    };
    let lengths = [1 + 2 * usize::from(first), usize::from(second)];
    oracle::check_segmentation(&stream, limit, &lengths);
    oracle::check_records(&stream, 1 + usize::from(second));
    oracle::check_oracles(&stream);
});

/// A ClientHello with this body, in records with fragments of `length` octets.
fn frame(body: &[u8], length: usize) -> Vec<u8> {
    let [.., l2, l1, l0] = body.len().to_be_bytes();
    let message = [&[1, l2, l1, l0], body].concat();
    let mut stream = Vec::new();
    for fragment in message.chunks(length) {
        let [.., l1, l0] = fragment.len().to_be_bytes();
        stream.extend([22, 3, 1, l1, l0]);
        stream.extend(fragment);
    }
    stream
}
