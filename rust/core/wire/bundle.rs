// SPDX-License-Identifier: GPL-2.0

//! Several messages in one datagram: BUNDLE.
//!
//! Looking at a datagram costs more than looking at what it says. What is not urgent is said together: a bundle is a
//! header, as every message has it, and behind it whole messages about handoffs, which need have
//! nothing in common but who sends them and who gets them.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |        opcode: BUNDLE         |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |  version = 1  |       0       |  length (whole, octets)       |
//! +---------------+---------------+-------------------------------+
//! |     messages, one behind the other, their checksums zero      |
//! +---------------------------------------------------------------+
//! ```
//!
//! No CREATE is in a bundle, and no bundle.

use super::{
    octets::{
        Header,
        Reader,
        Writer,
        HEADER, //
    },
    Body,
    DecodeError,
    Message,
    MAX_FIXED, //
};
use crate::{
    checksum::Sum,
    heap::{
        Heap,
        List, //
    },
};

/// The operation code of a bundle.
pub(super) const BUNDLE: u16 = 13;

/// The longest bundle, octets: what fits into the smallest MTU of IPv6 (1,280, RFC 8200) with its seal and
/// an IP header, so that no bundle is ever cut into fragments.
pub const MAX_BUNDLE: usize = 1_152;

/// The shortest bundle, octets: its header and that of a message.
const MIN_BUNDLE: usize = 2 * HEADER;

/// Why a message was not put into a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The bundle is full: the message must go with the next.
    Full,
    /// It cannot be sent in a bundle, or not at all.
    Message,
    /// There is no memory.
    Memory,
}

/// Messages that are put together.
pub struct Bundle<H: Heap> {
    octets: H::List<u8>,
}

impl<H: Heap> Default for Bundle<H> {
    fn default() -> Self {
        Self {
            octets: Default::default(),
        }
    }
}

impl<H: Heap> Bundle<H> {
    /// Adds a message. When that fails the bundle is as it was.
    pub fn push(&mut self, message: &Message) -> Result<(), Unfit> {
        if matches!(message.body, Body::Create { .. }) {
            return Err(Unfit::Message);
        }
        let mut fixed = [0; MAX_FIXED];
        let len = message.encode(&mut fixed).map_err(|_| Unfit::Message)?;
        let before = self.octets.len();
        if before.max(HEADER).saturating_add(len) > MAX_BUNDLE {
            return Err(Unfit::Full);
        }
        // What the header says is known at the end: see `finish()`.
        let header = [0; HEADER];
        let added = match before {
            0 => self.octets.try_extend(&header),
            _ => Ok(()),
        };
        let fixed = fixed.get(..len).ok_or(Unfit::Message)?;
        if added.and_then(|()| self.octets.try_extend(fixed)).is_err() {
            if before == 0 {
                self.clear();
            }
            return Err(Unfit::Memory);
        }
        Ok(())
    }

    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The bundle as it is sent, with its checksum. It has nothing to say if there is no message in it.
    pub fn finish(&mut self) -> &[u8] {
        // It is never longer than `MAX_BUNDLE`.
        let length = self.octets.len() as u16;
        if let Some(header) = self.octets.get_mut(..HEADER) {
            // There is room for a header in a header.
            let _ = Writer(header).header(BUNDLE, length);
            let mut sum = Sum::new();
            sum.add(&self.octets);
            if let Some(field) = self.octets.get_mut(2..4) {
                field.copy_from_slice(&sum.finish().to_be_bytes());
            }
        }
        &self.octets
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        self.octets.clear();
    }
}

/// The messages of a bundle, as they came.
///
/// The first that is not well formed is the last.
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Those in a bundle without its header: what [`check_bundle()`] has accepted, from the end of the header on.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    fn read(&mut self) -> Result<Message, DecodeError> {
        let length = self
            .rest
            .get(HEADER - 2..HEADER)
            .and_then(|field| field.try_into().ok())
            .map(u16::from_be_bytes)
            .ok_or(DecodeError::Short)?;
        let (message, rest) = self
            .rest
            .split_at_checked(usize::from(length))
            .ok_or(DecodeError::Length)?;
        self.rest = rest;
        let (message, _) = Message::decode(message, message.len())?;
        match message.body {
            Body::Create { .. } => Err(DecodeError::Opcode),
            _ => Ok(message),
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

/// Looks at the header of a bundle of `total_len` octets, and returns its length.
pub(super) fn check_bundle(octets: &[u8], total_len: usize) -> Result<usize, DecodeError> {
    let mut r = Reader::new(octets, total_len);
    let Header { reserved, .. } = r.header(|opcode| opcode == BUNDLE, total_len)?;
    if reserved != 0 {
        return Err(DecodeError::Reserved);
    }
    if total_len < MIN_BUNDLE {
        return Err(DecodeError::Short);
    }
    if total_len > MAX_BUNDLE {
        return Err(DecodeError::Length);
    }
    Ok(HEADER)
}

/// The first message in a bundle whose first octets these are.
pub(super) fn first_of(bundle: &[u8]) -> Option<&[u8]> {
    bundle.get(HEADER..)
}
