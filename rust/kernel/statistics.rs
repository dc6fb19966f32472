// SPDX-License-Identifier: GPL-2.0

//! What one side of THOP counts: events of its own, and what both sides count alike, refusals and
//! malformed messages.

use core::fmt::{
    self,
    Write, //
};

use kernel::prelude::*;
use thop_core::wire::{
    DecodeError,
    DropReason, //
};

use crate::{
    counters::Counters,
    gate::Denied,
    messages::Malformed,
    text::Underscored, //
};

/// An event that one side counts. [`crate::counted_events!`] implements it.
pub trait Event {
    /// The names of all events, in the order of their indices.
    const NAMES: &'static [&'static str];

    /// The event's place among them.
    fn index(self) -> usize;
}

/// Declares an enum of events, each with its documentation and the name it is shown under.
#[macro_export]
macro_rules! counted_events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An event that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl $crate::statistics::Event for Counter {
            const NAMES: &'static [&'static str] = &[$($text,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// The counters of a side whose events are `E`, per CPU.
pub struct Statistics<E: Event> {
    counters: Counters,
    _events: core::marker::PhantomData<fn(E)>,
}

impl<E: Event> Statistics<E> {
    const REFUSALS: usize = E::NAMES.len();
    const MALFORMED: usize = Self::REFUSALS + DropReason::COUNT;
    const DENIED: usize = Self::MALFORMED + Malformed::COUNT;
    const COUNT: usize = Self::DENIED + Denied::COUNT;

    /// All zero. Process context.
    pub fn new() -> Result<Self> {
        Ok(Self {
            counters: Counters::new(Self::COUNT as u32)?,
            _events: core::marker::PhantomData,
        })
    }

    /// Counts an event. Any context.
    #[inline]
    pub fn count(&self, event: E) {
        self.counters.add(event.index(), 1);
    }

    /// Counts a refusal. Any context.
    pub fn refused(&self, reason: DropReason) {
        self.counters.add(Self::REFUSALS + reason.index(), 1);
    }

    /// Counts a packet that is no message. Any context.
    pub fn malformed(&self, how: Malformed) {
        self.counters.add(Self::MALFORMED + how.index(), 1);
    }

    /// Counts a message that is not believed. Any context.
    pub fn denied(&self, why: Denied) {
        self.counters.add(Self::DENIED + why.index(), 1);
    }

    /// Prints all, a line `name value` each.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        for (index, name) in E::NAMES.iter().enumerate() {
            writeln!(out, "{name} {}", self.counters.sum(index))?;
        }
        for reason in DropReason::ALL {
            let value = self.counters.sum(Self::REFUSALS + reason.index());
            writeln!(out, "refused_{} {value}", Underscored(reason))?;
        }
        for error in DecodeError::ALL {
            let index = Self::MALFORMED + Malformed::Decode(error).index();
            let value = self.counters.sum(index);
            writeln!(out, "malformed_{} {value}", Underscored(error))?;
        }
        let value = self
            .counters
            .sum(Self::MALFORMED + Malformed::Checksum.index());
        writeln!(out, "malformed_checksum {value}")?;
        for (why, name) in Denied::ALL {
            let value = self.counters.sum(Self::DENIED + why.index());
            writeln!(out, "denied_{name} {value}")?;
        }
        Ok(())
    }
}
