// SPDX-License-Identifier: GPL-2.0

//! The round-trip time of a handshake whose SYN was answered with a cookie.
//!
//! Nothing is kept of such a connection, so that nobody knows when the SYN was answered. The time stamp that the
//! client echoes says it, but not well: its low six bits are options, so that it may lie up to 63 ms too far
//! back (`cookie_init_timestamp()` in net/ipv4/syncookies.c). And a request may come long after the
//! handshake, when the client has thought meanwhile; it still echoes the same.
//!
//! So a word is kept for a handshake: when its SYN was answered, and then how long the acknowledgement took that ended
//! it. Words stand in an array of a fixed size, at the place that the flow's hash says, and the last who comes has the place.
//! Whether a word is about this flow its tag says, and whether about this SYN-ACK (not one that was sent again) the echo:
//! the two must tell the same time. What is not there, or does not fit, is not believed; then the echo alone must
//! do. A flood of SYNs so takes nothing but precision.
//!
//! ```text
//!  63                  44 43 42                                          0
//! |          tag         | 0|   when the SYN was answered, µs            |
//! |          tag         | 1| the same, 1024 µs (21) | round trip, µs (22)|
//! ```

use core::net::Ipv4Addr;

/// How many words there are. At 100,000 connections per second and a round trip of 50 ms some 5,000 handshakes are
/// under way.
pub const WORDS: usize = 1 << 15;

/// From which bit on there is the tag, and the bit that says that the handshake has ended.
const TAG_AT: u32 = 44;
const ENDED: u64 = 1 << 43;
/// A time in microseconds: 101 days, and then from 0 on.
const US: u64 = ENDED - 1;
/// A time in units of 1024 microseconds: 35 minutes, and then from 0 on. A cookie lives for no more than four.
const COARSE: u64 = (1 << 21) - 1;
const COARSE_BITS: u32 = 10;
/// A round-trip time: 4.2 s.
const RTT_BITS: u32 = 22;
const RTT: u64 = (1 << RTT_BITS) - 1;

/// By how much an echo can lie too far back, milliseconds.
const ECHO_MS: i64 = 63;
/// By how much the clock can have gone on between when it was read here and when by the kernel, milliseconds.
const SLACK_MS: i64 = 8;

/// The longest time that is believed when it may be that the client has thought meanwhile, or 63 ms too long,
/// microseconds. A socket that begins with it has no timer longer than the second of one that knows nothing: RFC 6298,
/// section 2, takes three times the first sample.
pub const MOST_DOUBTFUL_US: u32 = 333_000;

/// Where the word of a handshake is, and how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Which of the [`WORDS`].
    pub index: usize,
    tag: u64,
}

impl Handshake {
    /// The one between two endpoints in which the client's SYN had the number before `first`.
    pub fn of(client: (Ipv4Addr, u16), service: (Ipv4Addr, u16), first: u32) -> Self {
        // The number is the client's secret: who does not know it cannot write a word with this tag, but only over it.
        let endpoint =
            |(ip, port): (Ipv4Addr, u16)| (u64::from(ip.to_bits()) << 16) | u64::from(port);
        let hash = mix(mix(endpoint(client) ^ (u64::from(first) << 32)) ^ endpoint(service));
        Self {
            index: hash as usize % WORDS,
            tag: (hash >> TAG_AT) << TAG_AT,
        }
    }

    /// The word of one whose SYN is being answered.
    pub fn answered(self, now_us: u64) -> u64 {
        self.tag | (now_us & US)
    }

    /// What follows on `word` when the acknowledgement has come that ends the handshake. `None`: it is another's, or
    /// such an acknowledgement has come before, or too late to tell.
    pub fn ended(self, word: u64, now_us: u64) -> Option<u64> {
        if !self.is_of(word) || word & ENDED != 0 {
            return None;
        }
        let since = now_us.wrapping_sub(word) & US;
        // A clock that has not moved means less than a microsecond.
        let rtt = since.max(1);
        let at = ((word & US) >> COARSE_BITS) & COARSE;
        (rtt <= RTT).then_some(self.tag | ENDED | (at << RTT_BITS) | rtt)
    }

    /// The round-trip time, microseconds, when a segment has come that echoes a time stamp which says that it was sent `age_ms`
    /// milliseconds ago. 0: not known.
    pub fn round_trip_us(self, word: u64, now_us: u64, age_ms: u32) -> u32 {
        if !self.is_of(word) {
            return by_echo_us(age_ms);
        }
        // How long ago the SYN was answered, and what that says of the round trip.
        let (since_us, rtt) = if word & ENDED != 0 {
            let since = (now_us >> COARSE_BITS).wrapping_sub(word >> RTT_BITS) & COARSE;
            (since << COARSE_BITS, word & RTT)
        } else {
            let since = now_us.wrapping_sub(word) & US;
            let doubtful = since > u64::from(MOST_DOUBTFUL_US);
            (since, if doubtful { 0 } else { since.max(1) })
        };
        // The echo says when the SYN-ACK was sent that the client has heard.
        let too_far = i64::from(age_ms) - (since_us / 1000) as i64;
        if (-SLACK_MS..=ECHO_MS + SLACK_MS).contains(&too_far) {
            rtt as u32
        } else {
            by_echo_us(age_ms)
        }
    }

    fn is_of(self, word: u64) -> bool {
        (word ^ self.tag) >> TAG_AT == 0
    }
}

/// What the echo alone says. It is up to 63 ms too long, and more if the client has thought.
fn by_echo_us(age_ms: u32) -> u32 {
    match age_ms.max(1).checked_mul(1000) {
        Some(us) if us <= MOST_DOUBTFUL_US => us,
        _ => 0,
    }
}

/// Spreads a number over all bits: the end of MurmurHash3, which is reversible.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(port: u16, first: u32) -> Handshake {
        Handshake::of(
            (Ipv4Addr::new(192, 0, 2, 1), port),
            (Ipv4Addr::new(198, 51, 100, 80), 80),
            first,
        )
    }

    /// What the client echoes of a SYN-ACK sent at `us`, as the kernel makes it.
    fn stamp_ms(us: u64, options: u64) -> u64 {
        let ms = us / 1000;
        let stamp = ms / 64 * 64 + options;
        if stamp > ms {
            stamp - 64
        } else {
            stamp
        }
    }

    fn age_ms(now_us: u64, stamp: u64) -> u32 {
        (now_us / 1000 - stamp) as u32
    }

    /// Some times since boot: a minute, and such at which a part of the word wraps.
    const TIMES: [u64; 6] = [
        60_000_000,
        1 << 21,
        (1 << 21) * 1000 - 1_000,
        (1 << 32) - 10,
        (1 << 43) - 50_000,
        1 << 50,
    ];

    #[test]
    fn what_was_measured_holds_whatever_the_client_thinks() {
        for sent in TIMES {
            for rtt in [1, 200, 20_000, 80_500, 300_000, 600_000, 4_000_000] {
                for options in [0, 0x17, 0x37, 0x3f] {
                    for think in [0, 1_000, 5_000_000, 110_000_000] {
                        let h = handshake(1024, 77);
                        let word = h.ended(h.answered(sent), sent + rtt).unwrap();
                        let now = sent + rtt + think;
                        let age = age_ms(now, stamp_ms(sent, options));
                        assert_eq!(
                            h.round_trip_us(word, now, age),
                            rtt as u32,
                            "{sent} {rtt} {think}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_acknowledgement_counts() {
        let h = handshake(1024, 77);
        let word = h.ended(h.answered(5_000), 9_000).unwrap();
        assert_eq!(h.ended(word, 12_000), None);
    }

    #[test]
    fn a_handshake_of_many_seconds_is_not_measured() {
        let h = handshake(1024, 77);
        assert_eq!(h.ended(h.answered(5_000), 5_000 + (1 << 22)), None);
    }

    #[test]
    fn without_an_acknowledgement_short_times_are_believed() {
        for sent in TIMES {
            for (later, rtt) in [
                (300, 300),
                (40_000, 40_000),
                (333_000, 333_000),
                (334_000, 0),
                (9_000_000, 0),
            ] {
                let h = handshake(1024, 77);
                let now = sent + later;
                let age = age_ms(now, stamp_ms(sent, 0x17));
                assert_eq!(
                    h.round_trip_us(h.answered(sent), now, age),
                    rtt,
                    "{sent} {later}"
                );
            }
        }
    }

    #[test]
    fn a_syn_that_comes_again_spoils_nothing() {
        // The first SYN-ACK was lost, or is only late; the client echoes the one or the other.
        let (first, second, rtt) = (60_000_000, 61_000_000, 50_000);
        let h = handshake(1024, 77);
        let now = second + rtt;
        let word = h.ended(h.answered(second), now).unwrap();
        let heard_second = age_ms(now, stamp_ms(second, 0));
        assert_eq!(h.round_trip_us(word, now, heard_second), rtt as u32);
        let heard_first = age_ms(now, stamp_ms(first, 0));
        assert_eq!(h.round_trip_us(word, now, heard_first), 0);
    }

    #[test]
    fn another_ones_word_is_not_believed() {
        let (a, b) = (handshake(1024, 77), handshake(1024, 78));
        assert_ne!(a, b);
        assert_eq!(b.ended(a.answered(5_000), 6_000), None);
        let word = a.ended(a.answered(60_000_000), 60_001_000).unwrap();
        // The echo must do: too long, but not much.
        assert_eq!(b.round_trip_us(word, 60_040_000, 70), 70_000);
        assert_eq!(b.round_trip_us(word, 60_040_000, 0), 1_000);
        assert_eq!(b.round_trip_us(word, 60_040_000, 333), 333_000);
        assert_eq!(b.round_trip_us(word, 60_040_000, 334), 0);
        assert_eq!(b.round_trip_us(word, 60_040_000, u32::MAX), 0);
        assert_eq!(b.round_trip_us(0, 60_040_000, 400), 0);
    }

    #[test]
    fn an_echo_that_lies_changes_nothing_but_what_is_believed() {
        let h = handshake(1024, 77);
        let word = h.ended(h.answered(60_000_000), 60_020_000).unwrap();
        for age in [0, 11, 92, 1_000, u32::MAX] {
            let us = h.round_trip_us(word, 60_020_000, age);
            assert!(us <= MOST_DOUBTFUL_US, "{age}: {us}");
        }
    }

    #[test]
    fn handshakes_are_spread() {
        let mut used = std::vec![0u32; WORDS];
        for port in 1024..1024 + 32 * 1024 {
            used[handshake(port, 1).index] += 1;
        }
        assert!(used.iter().all(|&n| n < 16));
        assert!(used.iter().filter(|&&n| n > 0).count() > WORDS / 2);
    }
}
