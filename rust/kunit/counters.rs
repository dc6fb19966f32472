// SPDX-License-Identifier: GPL-2.0

//! Per-CPU counters.

use kernel::{
    macros::kunit_tests,
    prelude::*, //
};
use thop_kernel::counters::Counters;

use crate::random::Random;

#[kunit_tests(thop_counters)]
mod tests {
    use super::*;

    #[test]
    fn begin_at_zero() -> Result {
        // More than the smallest unit of the per-CPU allocator.
        let counters = Counters::new(300)?;
        for index in 0..300 {
            assert_eq!(counters.sum(index), 0);
        }
        Ok(())
    }

    #[test]
    fn add_up() -> Result {
        let counters = Counters::new(7)?;
        let mut random = Random::new(1);
        let mut sums = [0u64; 7];
        for _ in 0..2000 {
            let index = random.below(7);
            let value = random.next();
            counters.add(index, value);
            if let Some(sum) = sums.get_mut(index) {
                *sum = sum.wrapping_add(value);
            }
        }
        for (index, sum) in sums.iter().enumerate() {
            assert_eq!(counters.sum(index), *sum);
        }
        Ok(())
    }

    #[test]
    fn what_does_not_exist_is_ignored() -> Result {
        let counters = Counters::new(2)?;
        for index in [2, 3, 1000, usize::MAX] {
            counters.add(index, 1);
            assert_eq!(counters.sum(index), 0);
        }
        assert_eq!(counters.sum(0) + counters.sum(1), 0);
        Ok(())
    }
}
