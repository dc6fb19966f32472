// SPDX-License-Identifier: GPL-2.0

//! THOP messages: what is understood is written back to the same octets, and no part of it is a
//! message too. The same octets are read as messages of a bundle.
//!
//! The first two octets of the input are the length of the whole message, or, if they are zero, it is
//! as long as the input is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thop_core::{
    checksum::Sum,
    wire::{checksum_ok, set_checksum, Body, Message, Messages, MAX_FIXED, MAX_LEN, MIN_LEN},
};

fuzz_target!(|data: &[u8]| {
    let Some((&total, octets)) = data.split_first_chunk() else {
        return;
    };
    let total = match u16::from_be_bytes(total) {
        0 => octets.len(),
        total => usize::from(total),
    };
    // A bundle's messages, the header aside: each as it would be alone, but no CREATE.
    for message in Messages::new(octets).flatten() {
        let mut fixed = [0; MAX_FIXED];
        let len = message.encode(&mut fixed).unwrap();
        assert_eq!(Message::decode(&fixed, len), Ok((message, len)));
        assert!(!matches!(message.body, Body::Create { .. }));
    }

    let Ok((message, fixed_len)) = Message::decode(octets, total) else {
        return;
    };
    assert!((MIN_LEN..=MAX_LEN).contains(&total));
    assert!(fixed_len <= MAX_FIXED && fixed_len <= octets.len());
    assert_eq!(message.fixed_len(), fixed_len);

    // No more is looked at than the first octets, and all of those are needed.
    let enough = &octets[..octets.len().min(MAX_FIXED)];
    assert_eq!(Message::decode(enough, total), Ok((message, fixed_len)));
    for len in 0..fixed_len {
        assert!(Message::decode(&octets[..len], total).is_err());
        assert!(Message::decode(octets, len).is_err());
    }
    assert!(Message::decode(octets, total + 1).is_err());

    // There is one way to write it; the checksum is not a part of what it says.
    let mut fixed = [0xee; MAX_FIXED];
    assert_eq!(message.encode(&mut fixed), Ok(fixed_len));
    assert_eq!(fixed[..2], octets[..2]);
    assert_eq!(fixed[2..4], [0, 0]);
    assert_eq!(fixed[4..fixed_len], octets[4..fixed_len]);
    assert_eq!(fixed[fixed_len..], [0xee; MAX_FIXED][fixed_len..]);

    // What was written passes for sound, with any request behind it.
    let request = match message.body {
        Body::Create { request_len, .. } => vec![0xa5; request_len as usize],
        _ => Vec::new(),
    };
    let mut whole = Sum::new();
    whole.add(&fixed[..fixed_len]);
    whole.add(&request);
    set_checksum(&mut fixed, whole);
    let mut whole = Sum::new();
    whole.add(&fixed[..fixed_len]);
    whole.add(&request);
    assert!(checksum_ok(whole));
});
