// SPDX-License-Identifier: GPL-2.0

//! Messages that are said together.

use core::net::Ipv4Addr;

use kernel::prelude::*;
use thop_core::wire::{
    Bundle,
    Message,
    Unfit, //
};

use super::Channel;
use crate::{
    memory::AtomicHeap,
    skb::SkBuff, //
};

/// Messages to say: those that follow each other to one machine, in as few datagrams as they fit.
///
/// Any context. What is not sent with [`Outbox::send()`] at the end is not said.
#[must_use = "what is in it is not said yet"]
pub struct Outbox<'a> {
    channel: &'a Channel,
    /// Whose address the messages come from, and who they are for.
    way: (Ipv4Addr, Ipv4Addr),
    /// The only one so far: most are alone, and need no bundle.
    first: Option<Message>,
    bundle: Bundle<AtomicHeap>,
}

impl<'a> Outbox<'a> {
    /// Nothing to say.
    pub fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            way: (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
            first: None,
            bundle: Default::default(),
        }
    }

    /// Says a message with the others, or now. `from` may be unspecified: the route chooses. On failure
    /// something was lost, this message or others.
    pub fn push(&mut self, message: &Message, from: Ipv4Addr, to: Ipv4Addr) -> Result {
        let before = if self.way == (from, to) {
            Ok(())
        } else {
            self.flush()
        };
        self.way = (from, to);
        if self.bundle.is_empty() {
            let Some(first) = self.first.take() else {
                self.first = Some(*message);
                return before;
            };
            before.and(self.add(&first)).and(self.add(message))
        } else {
            before.and(self.add(message))
        }
    }

    fn add(&mut self, message: &Message) -> Result {
        let mut before = Ok(());
        let mut added = self.bundle.push(message);
        if added == Err(Unfit::Full) {
            before = self.flush();
            added = self.bundle.push(message);
        }
        match added {
            Ok(()) => before,
            // A datagram of its own wants less memory than a bundle.
            Err(_) => before.and(self.channel.send(message, self.way.0, self.way.1)),
        }
    }

    /// Sends what is there.
    fn flush(&mut self) -> Result {
        let (from, to) = self.way;
        if let Some(first) = self.first.take() {
            return self.channel.send(&first, from, to);
        }
        if self.bundle.is_empty() {
            return Ok(());
        }
        let packet = SkBuff::new(self.bundle.finish(), 0);
        self.bundle.clear();
        self.channel.send_packet(packet?, from, to)
    }

    /// Says all that has not been said.
    pub fn send(mut self) -> Result {
        self.flush()
    }
}
