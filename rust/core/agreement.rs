// SPDX-License-Identifier: GPL-2.0

//! Whether two ways to judge the same thing agree, by samples.
//!
//! One sample proves little. What differs once may be odd in itself, or be made so by somebody who wants
//! the shorter way closed; what is the same once may not be next time. So the last of them count: the
//! shorter way is open as long as few of them differ, and opens again when they do not any more.

/// How many samples count: the last.
const SAMPLES: u32 = u16::BITS;
/// The two agree as long as no more than one in so many differs.
const ONE_IN: u32 = 4;

/// What the last samples have shown. As a number it can be kept in an atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Bit n: whether the sample before n others differed.
    differed: u16,
    /// How many samples there were, up to [`SAMPLES`].
    samples: u16,
}

impl Agreement {
    /// With one sample more.
    #[must_use]
    pub fn after(self, same: bool) -> Self {
        Self {
            differed: (self.differed << 1) | u16::from(!same),
            samples: (self.samples + 1).min(SAMPLES as u16),
        }
    }

    /// Whether the two agree: there is a sample, and of the last 16 no more than a quarter differed.
    pub fn holds(self) -> bool {
        self.samples > 0 && self.differed.count_ones() * ONE_IN <= u32::from(self.samples)
    }

    /// As [`Agreement::to_bits()`] gave it; of another number, one without samples.
    pub fn from_bits(bits: u32) -> Self {
        let samples = (bits >> 16) as u16;
        if u32::from(samples) > SAMPLES {
            return Self::default();
        }
        Self {
            differed: bits as u16,
            samples,
        }
    }

    /// As a number; 0 is one without samples.
    pub fn to_bits(self) -> u32 {
        (u32::from(self.samples) << 16) | u32::from(self.differed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(agreement: Agreement, samples: &str) -> Agreement {
        samples
            .chars()
            .fold(agreement, |agreement, c| agreement.after(c == '='))
    }

    #[test]
    fn one_sample_is_enough_to_begin_with() {
        assert!(!Agreement::default().holds());
        assert!(after(Agreement::default(), "=").holds());
    }

    #[test]
    fn a_first_sample_that_differs_is_made_up_for() {
        assert!(!after(Agreement::default(), "x").holds());
        assert!(!after(Agreement::default(), "x==").holds());
        assert!(after(Agreement::default(), "x===").holds());
    }

    #[test]
    fn one_that_differs_changes_nothing_and_many_do() {
        let long = after(Agreement::default(), "=====================");
        assert!(after(long, "x").holds());
        assert!(after(long, "xxxx").holds());
        let ended = after(long, "xxxxx");
        assert!(!ended.holds());
        // Not before most of what counts is the same again.
        assert!(!after(ended, "===========").holds());
        assert!(after(ended, "============").holds());
    }

    #[test]
    fn what_always_differs_never_agrees() {
        let mut agreement = Agreement::default();
        for _ in 0..1000 {
            agreement = agreement.after(false);
            assert!(!agreement.holds());
        }
    }

    #[test]
    fn one_in_four_is_borne_and_one_in_three_is_not() {
        let mut agreement = after(Agreement::default(), "================");
        for n in 0..100 {
            agreement = agreement.after(n % 4 != 0);
            assert!(agreement.holds());
        }
        let mut ended = false;
        for n in 0..100 {
            agreement = agreement.after(n % 3 != 0);
            ended |= !agreement.holds();
        }
        assert!(ended);
    }

    #[test]
    fn a_number_says_it_all() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.to_bits(), 0);
        for n in 0..100u32 {
            assert_eq!(Agreement::from_bits(agreement.to_bits()), agreement);
            agreement = agreement.after(n * n % 7 < 4);
        }
        assert!(!Agreement::from_bits(u32::MAX).holds());
    }
}
