// SPDX-License-Identifier: GPL-2.0

//! Work on a workqueue.

use kernel::{
    macros::kunit_tests,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use thop_kernel::{
    testing::{
        stay_on,
        Hourly, //
    },
    time::now_ms, //
};

/// How often it is tried: what can go wrong takes two processors that pass each other within a few instructions.
const TIMES: u32 = 2_000;
/// How long a run may take to come, milliseconds.
const PATIENCE_MS: u64 = 20_000;

/// Whether work has run so often before patience ends.
fn has_run(work: &Hourly, times: u64) -> bool {
    let end = now_ms() + PATIENCE_MS;
    // The first moments without sleeping, so that what follows comes while that run goes on.
    for _ in 0..100_000 {
        if work.runs() >= times {
            return true;
        }
        core::hint::spin_loop();
    }
    while work.runs() < times {
        if now_ms() > end {
            return false;
        }
        fsleep(Delta::from_micros(50));
    }
    true
}

#[kunit_tests(thop_work)]
mod tests {
    use super::*;

    #[test]
    fn of_the_times_that_are_asked_for_the_earliest_counts() -> Result {
        let work = KBox::pin_init(Hourly::new(), GFP_KERNEL)?;
        for ms in [Hourly::HOUR_MS, 20, Hourly::HOUR_MS, 0] {
            work.kick_in(ms);
        }
        let ran = has_run(&work, 1);
        work.stop();
        assert!(ran);
        // The earlier of the two has been, the later is an hour away.
        assert_eq!(work.runs(), 1);
        Ok(())
    }

    #[test]
    fn work_that_asks_for_a_late_run_misses_no_early_one() -> Result {
        let work = KBox::pin_init(Hourly::new(), GFP_KERNEL)?;
        // The work is on the other one.
        stay_on(1)?;
        let (mut done, mut missed) = (0, false);
        while done < TIMES && !missed {
            let runs = work.runs();
            work.start_on(0);
            missed = !has_run(&work, runs + 1);
            for _ in 0..done % (2 * Hourly::PAUSE) {
                core::hint::spin_loop();
            }
            work.kick_in(0);
            missed |= !has_run(&work, runs + 2);
            done += 1;
        }
        work.stop();
        pr_info!(
            "the last of {done} kicks was {}\n",
            if missed { "missed" } else { "heard" }
        );
        assert!(!missed);
        Ok(())
    }
}
