// SPDX-License-Identifier: GPL-2.0

//! The spinlock and RCU-protected replacement.

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
};
use thop_kernel::{
    new_rcu_box,
    new_spin_lock_bh, //
};

/// A value that says when it goes.
struct Value {
    number: u32,
    gone: Arc<Atomic<i32>>,
}

impl Value {
    fn new(number: u32, gone: &Arc<Atomic<i32>>) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                number,
                gone: gone.clone(),
            },
            GFP_KERNEL,
        )?)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Relaxed);
    }
}

#[kunit_tests(thop_sync)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_protects_what_is_in_it() -> Result {
        let lock = KBox::pin_init(new_spin_lock_bh!(1u64), GFP_KERNEL)?;
        for _ in 0..100 {
            *lock.lock() += 1;
        }
        // A second lock of the kind, in order: lockdep sees no recursion as long as one is held.
        let other = KBox::pin_init(new_spin_lock_bh!(1u64), GFP_KERNEL)?;
        *other.lock() += 1;
        assert_eq!(*lock.lock(), 101);
        assert_eq!(*other.lock(), 2);
        Ok(())
    }

    #[test]
    fn readers_see_one_value_or_the_other() -> Result {
        let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let value = KBox::pin_init(new_rcu_box!(Value::new(0, &gone)?), GFP_KERNEL)?;
        for number in 1..20 {
            {
                let guard = rcu::read_lock();
                assert_eq!(value.read(&guard).number, number - 1);
            }
            let old = value.write().replace(Value::new(number, &gone)?);
            assert_eq!(old.number, number - 1);
            assert_eq!(gone.load(Relaxed), number as i32 - 1);
        }
        drop(value);
        assert_eq!(gone.load(Relaxed), 20);
        Ok(())
    }

    #[test]
    fn what_is_retired_lives_until_its_readers_are_gone() -> Result {
        let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let value = KBox::pin_init(new_rcu_box!(Value::new(0, &gone)?), GFP_KERNEL)?;
        let next = Value::new(1, &gone)?;
        let writer = value.write();
        assert_eq!(writer.number, 0);
        let mut retired = writer.retire(next);
        {
            let guard = rcu::read_lock();
            assert_eq!(value.read(&guard).number, 1);
        }
        assert_eq!(gone.load(Relaxed), 0);
        assert_eq!(retired.wait().number, 0);
        // Waiting has ended the grace period, and so it stays.
        assert!(retired.is_over());
        drop(retired);
        assert_eq!(gone.load(Relaxed), 1);
        // One that is dropped at once waits by itself.
        drop(value.write().retire(Value::new(2, &gone)?));
        assert_eq!(gone.load(Relaxed), 2);
        drop(value);
        assert_eq!(gone.load(Relaxed), 3);
        Ok(())
    }

    #[test]
    fn a_writer_that_changes_nothing_leaves_the_value() -> Result {
        let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let value = KBox::pin_init(new_rcu_box!(Value::new(7, &gone)?), GFP_KERNEL)?;
        drop(value.write());
        assert_eq!(value.write().number, 7);
        assert_eq!(gone.load(Relaxed), 0);
        Ok(())
    }
}
