// SPDX-License-Identifier: GPL-2.0

//! Another machine's clock, as well as it can be known from here without agreeing on the time.
//!
//! A message that carries its sender's clock was sent before it came. So at the moment of arrival that clock
//! shows *at least* what the message says, and a time derived from it is never too late there: a
//! deadline that is set with it has passed at the other machine when it has passed here, however
//! long either message was under way. It may pass there too early, by as much as the message that
//! told the clock was delayed.
//!
//! Clocks are milliseconds that begin anywhere. On the wire they are 32 bits wide and wrap; two times of
//! one clock are compared only if they are close.

/// How coarse a clock may be, milliseconds: a tick, on a kernel that has 100 in a second.
const GRAIN_MS: u32 = 10;

/// What is known of a clock: what it showed, and when that was here.
///
/// It fits a word, so that it can be kept in an atomic variable: the upper half counts seconds of our
/// clock, from 1, and the lower is what must be added to our clock to get theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading(u64);

impl Reading {
    /// Nothing is known.
    pub const NONE: Self = Self(0);

    /// Their clock showed `theirs_ms` at some moment before ours showed `ours_ms`.
    #[inline]
    pub const fn new(theirs_ms: u32, ours_ms: u64) -> Self {
        let second = ((ours_ms / 1000) as u32).saturating_add(1);
        let offset = theirs_ms.wrapping_sub(ours_ms as u32);
        Self(((second as u64) << 32) | offset as u64)
    }

    /// What [`to_bits()`](Self::to_bits) gave.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As one word; 0 for [`NONE`](Self::NONE).
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// What their clock shows at least when ours will show `ours_ms`, which is not before the reading.
    /// `None` when nothing is known.
    ///
    /// Two clocks may drift apart by one thousandth: twice what NTP corrects at most on each side
    /// (500 parts in a million, RFC 5905, section 11.3). Our own may have been a tick behind when it was
    /// read.
    #[inline]
    pub const fn at_least(self, ours_ms: u64) -> Option<u32> {
        let second = (self.0 >> 32) as u32;
        if second == 0 {
            return None;
        }
        // A thousandth of a second that has begun is a millisecond.
        let age = ((ours_ms / 1000) as u32)
            .saturating_add(2)
            .wrapping_sub(second);
        let theirs = (ours_ms as u32).wrapping_add(self.0 as u32);
        Some(theirs.wrapping_sub(age).wrapping_sub(GRAIN_MS))
    }
}

/// How long it is until `deadline_ms`, if it is later than `now_ms` by at most `longest_ms`, or by a tick
/// more. Both are times of one clock.
#[inline]
pub const fn remaining(deadline_ms: u32, now_ms: u32, longest_ms: u16) -> Option<u16> {
    let left = deadline_ms.wrapping_sub(now_ms);
    if longest_ms != 0 && left != 0 && left <= longest_ms as u32 + GRAIN_MS {
        Some(if left < longest_ms as u32 {
            left as u16
        } else {
            longest_ms
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_known_until_it_is() {
        assert_eq!(Reading::NONE.at_least(0), None);
        assert_eq!(Reading::NONE.at_least(u64::MAX), None);
        assert_eq!(Reading::NONE.to_bits(), 0);
        let reading = Reading::new(5, 7);
        assert_ne!(reading, Reading::NONE);
        assert_eq!(Reading::from_bits(reading.to_bits()), reading);
        assert_eq!(reading.at_least(107), Some(104 - GRAIN_MS));
        assert_eq!(reading.at_least(10_107), Some(10_105 - 11 - GRAIN_MS));
    }

    #[test]
    fn a_deadline_is_ahead_but_not_far() {
        assert_eq!(remaining(10, 10, 100), None);
        assert_eq!(remaining(11, 10, 100), Some(1));
        assert_eq!(remaining(110, 10, 100), Some(100));
        assert_eq!(remaining(110 + GRAIN_MS, 10, 100), Some(100));
        assert_eq!(remaining(111 + GRAIN_MS, 10, 100), None);
        assert_eq!(remaining(9, 10, u16::MAX), None);
        assert_eq!(remaining(11, 10, 0), None);
        assert_eq!(remaining(3, u32::MAX, 100), Some(4));
    }

    proptest! {
        /// A clock that goes wrong by half a thousandth, as does ours, has passed what was derived from
        /// its reading, whatever the delay; and not by more than that delay and the drift.
        #[test]
        fn a_deadline_has_passed_there_when_it_has_here(
            base: u32,
            ours in 0u64..1 << 42,
            delay in 0u64..5_000,
            ahead in 0u64..3_600_000,
            drift in -1_000i64..=1_000,
        ) {
            let told = base;
            let reading = Reading::new(told, ours);
            let deadline = reading.at_least(ours + ahead).unwrap();
            // What their clock really shows then: `delay` was over when it was told.
            let real = told
                .wrapping_add((delay + ahead) as u32)
                .wrapping_add(((ahead as i64) * drift / 1_000_000) as u32);
            let early = real.wrapping_sub(deadline);
            prop_assert!(early < 1 << 31, "{early}");
            prop_assert!(u64::from(early) <= delay + ahead / 500 + 2 + u64::from(GRAIN_MS), "{early}");
        }
    }
}
