// SPDX-License-Identifier: GPL-2.0

//! The seal: what stands in front of a message, so that nobody can forge or repeat it.
//!
//! A sealed message is a message as it is without a seal, behind this header:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |         opcode: SEALED        |   checksum (of this header)   |
//! +---------------+---------------+-------------------------------+
//! |  version = 1  |  key, 1..255  |  length (whole, octets)       |
//! +---------------+---------------+-------------------------------+
//! |                   epoch of the sender (64 bits, not 0)        |
//! |                   epoch of the receiver (64 bits, 0: unknown) |
//! |                   sequence (64 bits)                          |
//! |                   MAC (128 bits)                              |
//! +---------------------------------------------------------------+
//! ```
//!
//! With nothing behind it, the header alone is EPOCH: what you sent named an epoch that is not
//! mine; this is mine.
//!
//! The MAC is HMAC-SHA-256 (RFC 2104), of which the first 128 bits are sent (section 5 there), over
//! the addresses of the IP header ([`pseudo_header()`]), this header with checksum and MAC zero, and
//! the message. Thus a message is good only for its receiver, and only from its sender.
//!
//! The epochs make repetition useless: a message names the epoch in which its receiver is now, and
//! within one epoch of the sender every sequence number is taken once: see [`crate::auth`].

use super::{
    octets::{
        Header,
        Reader,
        Writer, //
    },
    DecodeError,
    EncodeError, //
};
use crate::checksum::Sum;
use core::net::IpAddr;

/// The operation code of a sealed message.
pub const SEALED: u16 = 11;

/// Length of the seal's header, octets.
pub const SEAL_LEN: usize = 48;

/// Length of the MAC, octets.
pub const MAC_LEN: usize = 16;

/// Where the MAC begins, octets from the beginning of the header.
const MAC_AT: usize = SEAL_LEN - MAC_LEN;

/// The code that only a holder of the key can make.
pub type Mac = [u8; MAC_LEN];

/// What a seal says, its MAC aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Which key. Not 0.
    pub key: u8,
    /// The sender's boot epoch. Not 0.
    pub sender: u64,
    /// The receiver's boot epoch, as far as the sender knows; 0 if it does not.
    pub receiver: u64,
    /// The message's number within the sender's epoch.
    pub sequence: u64,
}

impl Seal {
    /// The header for a message of `len` octets, checksum and MAC zero: as the MAC covers it.
    pub fn covered(&self, len: usize) -> Result<[u8; SEAL_LEN], EncodeError> {
        let length = len
            .checked_add(SEAL_LEN)
            .and_then(|len| u16::try_from(len).ok())
            .ok_or(EncodeError::Length)?;
        if self.key == 0 || self.sender == 0 {
            return Err(EncodeError::Range);
        }
        let mut header = [0; SEAL_LEN];
        let mut w = Writer(&mut header);
        w.header_of_key(SEALED, self.key, length)?;
        w.put(self.sender.to_be_bytes())?;
        w.put(self.receiver.to_be_bytes())?;
        w.put(self.sequence.to_be_bytes())?;
        Ok(header)
    }

    /// The header as it is sent: what [`Seal::covered()`] gave, with the MAC over it and the message.
    pub fn finish(mut header: [u8; SEAL_LEN], mac: &Mac) -> [u8; SEAL_LEN] {
        if let Some(field) = header.last_chunk_mut() {
            *field = *mac;
        }
        let mut sum = Sum::new();
        sum.add(&header);
        let [high, low] = sum.finish().to_be_bytes();
        header[2] = high;
        header[3] = low;
        header
    }

    /// Reads the header of a message of `total_len` octets, of which it is the first.
    ///
    /// Whether the MAC is right, and the checksum, is not looked at.
    pub fn decode(octets: &[u8], total_len: usize) -> Result<(Self, Mac), DecodeError> {
        let mut r = Reader::new(octets, total_len);
        let Header { reserved: key, .. } = r.header(|opcode| opcode == SEALED, total_len)?;
        let seal = Self {
            key,
            sender: r.u64()?,
            receiver: r.u64()?,
            sequence: r.u64()?,
        };
        let mac = octets
            .get(MAC_AT..SEAL_LEN)
            .and_then(|mac| mac.try_into().ok())
            .ok_or(DecodeError::Short)?;
        if total_len < SEAL_LEN {
            return Err(DecodeError::Short);
        }
        if key == 0 || seal.sender == 0 {
            return Err(DecodeError::Range);
        }
        Ok((seal, mac))
    }
}

/// Whether a message that begins with these octets is sealed, or says so.
#[inline]
pub fn is_sealed(octets: &[u8]) -> bool {
    octets
        .first_chunk()
        .is_some_and(|opcode| u16::from_be_bytes(*opcode) == SEALED)
}

/// Whether a seal's header arrived as it was sent.
pub fn header_ok(header: &[u8; SEAL_LEN]) -> bool {
    let mut sum = Sum::new();
    sum.add(header);
    super::checksum_ok(sum)
}

/// What the MAC covers of the IP header: who sends, and to whom. IPv4 addresses stand as IPv6 ones
/// that are mapped (RFC 4291, section 2.5.5.2).
pub fn pseudo_header(from: IpAddr, to: IpAddr) -> [u8; 32] {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut header = [0; 32];
    let (first, second) = header.split_at_mut(16);
    first.copy_from_slice(&octets(from));
    second.copy_from_slice(&octets(to));
    header
}
