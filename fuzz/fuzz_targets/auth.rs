// SPDX-License-Identifier: GPL-2.0

//! Seals, what is asked before any code is compared; the load monitor's messages behind them; and the
//! texts of keys and networks. What is understood of a message is written back to the same octets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thop_core::{
    auth::{Access, Judged, Window, MAX_KEY, MIN_KEY},
    heap::StdHeap,
    wire::{is_sealed, Monitor, Seal, Side, MAX_FIXED, SEAL_LEN},
};

fuzz_target!(|data: &[u8]| {
    if let Ok((seal, mac)) = Seal::decode(data, data.len()) {
        assert!(is_sealed(data));
        let covered = seal.covered(data.len() - SEAL_LEN).unwrap();
        let written = Seal::finish(covered, &mac);
        assert_eq!(written[..2], data[..2]);
        assert_eq!(written[4..], data[4..SEAL_LEN]);
        for len in 0..SEAL_LEN {
            assert!(Seal::decode(&data[..len], data.len()).is_err());
        }
        // Its number is taken once, whatever comes between.
        let mut window = Window::new();
        assert_eq!(window.judge(seal.sequence), Judged::New);
        for octets in data[SEAL_LEN..].chunks_exact(8) {
            window.judge(u64::from_be_bytes(octets.try_into().unwrap()));
        }
        assert_ne!(window.judge(seal.sequence), Judged::New);
    }
    if let Ok((message, len)) = Monitor::decode(data, data.len()) {
        assert_eq!(len, data.len());
        let mut fixed = [0; MAX_FIXED];
        assert_eq!(message.encode(&mut fixed), Ok(len));
        assert_eq!((&fixed[..2], &fixed[4..len]), (&data[..2], &data[4..]));
        // Each is for one side.
        let heard = [Side::Switch, Side::Server].map(|side| side.hears(data));
        assert!(heard == [Some(true), Some(false)] || heard == [Some(false), Some(true)]);
    }
    if let Ok(access) = Access::<StdHeap>::parse(data) {
        for key in access.keys() {
            assert!(key.id() != 0 && (MIN_KEY..=MAX_KEY).contains(&key.octets().len()));
        }
        assert_eq!(access.send() == 0, access.keys().next().is_none());
        assert!(access.send() == 0 || access.key(access.send()).is_some());
    }
});
