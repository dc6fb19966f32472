// SPDX-License-Identifier: GPL-2.0

//! Properties of round-trip times that are known of handshakes by cookies.

use proptest::prelude::*;
use std::net::Ipv4Addr;
use thop_core::rtt::{Handshake, MOST_DOUBTFUL_US, WORDS};

prop_compose! {
    fn handshakes()(client: u32, from: u16, service: u32, to: u16, first: u32) -> Handshake {
        Handshake::of((Ipv4Addr::from(client), from), (Ipv4Addr::from(service), to), first)
    }
}

/// How old an echo is at `now_us`, of a SYN-ACK sent at `sent_us` with these options: `cookie_init_timestamp()`.
fn age_ms(now_us: u64, sent_us: u64, options: u64) -> u32 {
    let ms = sent_us / 1000;
    let stamp = ms / 64 * 64 + options;
    let stamp = if stamp > ms { stamp - 64 } else { stamp };
    (now_us / 1000 - stamp) as u32
}

proptest! {
    #[test]
    fn what_was_measured_is_said_for_as_long_as_a_cookie_lives(
        handshake in handshakes(),
        sent in 100_000u64..1 << 52,
        rtt in 1u64..1 << 22,
        think in 0u64..240_000_000,
        options in 0u64..64,
    ) {
        let word = handshake.ended(handshake.answered(sent), sent + rtt);
        prop_assert!(word.is_some());
        let now = sent + rtt + think;
        let said = handshake.round_trip_us(word.unwrap(), now, age_ms(now, sent, options));
        prop_assert_eq!(u64::from(said), rtt);
    }

    #[test]
    fn what_was_not_measured_is_exact_or_unknown(
        handshake in handshakes(),
        sent in 100_000u64..1 << 52,
        later in 1u64..240_000_000,
        options in 0u64..64,
    ) {
        let now = sent + later;
        let said = handshake.round_trip_us(handshake.answered(sent), now, age_ms(now, sent, options));
        let wanted = if later <= u64::from(MOST_DOUBTFUL_US) { later } else { 0 };
        prop_assert_eq!(u64::from(said), wanted);
    }

    #[test]
    fn a_word_of_another_is_as_good_as_none(
        handshake in handshakes(),
        other in handshakes(),
        sent in 100_000u64..1 << 52,
        rtt in 1u64..1 << 22,
        age in 0u32..1000,
    ) {
        let word = other.ended(other.answered(sent), sent + rtt).unwrap();
        // One in a million has the same tag.
        if handshake.ended(other.answered(sent), sent).is_none() {
            let none = handshake.round_trip_us(!handshake.answered(0), sent, age);
            prop_assert_eq!(handshake.round_trip_us(word, sent + rtt, age), none);
            prop_assert!(none <= MOST_DOUBTFUL_US);
        }
    }

    #[test]
    fn nothing_that_can_be_read_or_come_does_harm(
        handshake in handshakes(),
        word: u64,
        now: u64,
        age: u32,
        mine: bool,
    ) {
        prop_assert!(handshake.index < WORDS);
        // One with the right tag, and anything behind it.
        let word = if mine { handshake.answered(0) | (word >> 20) } else { word };
        let _ = handshake.ended(word, now);
        prop_assert!(handshake.round_trip_us(word, now, age) < 1 << 22);
    }
}
