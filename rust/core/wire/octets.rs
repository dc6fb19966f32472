// SPDX-License-Identifier: GPL-2.0

//! The octets of a message, one field after the other, and what every message begins with.

use super::{
    DecodeError,
    EncodeError,
    VERSION, //
};
use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

/// Length of what every message begins with, octets.
pub(super) const HEADER: usize = 8;

/// What every message begins with, as far as a reader cares.
pub(super) struct Header {
    /// The operation code.
    pub(super) opcode: u16,
    /// The id of a seal's key; of other messages the octet that must be zero.
    pub(super) reserved: u8,
}

/// Octets still to be read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The octets of a message of `total_len`; `fixed` are its first, or more than it has.
    #[inline]
    pub(super) fn new(fixed: &'a [u8], total_len: usize) -> Self {
        Self(fixed.get(..total_len).unwrap_or(fixed))
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take().map(u8::from_be_bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_be_bytes)
    }

    /// The header of a message of `total_len` octets whose operation code is one of `known`.
    #[inline]
    pub(super) fn header(
        &mut self,
        known: impl FnOnce(u16) -> bool,
        total_len: usize,
    ) -> Result<Header, DecodeError> {
        let opcode = self.u16()?;
        let _checksum = self.u16()?;
        if self.u8()? != VERSION {
            return Err(DecodeError::Version);
        }
        if !known(opcode) {
            return Err(DecodeError::Opcode);
        }
        let reserved = self.u8()?;
        if usize::from(self.u16()?) != total_len {
            return Err(DecodeError::Length);
        }
        Ok(Header { opcode, reserved })
    }

    /// The family of the message's addresses: whether it is IPv6.
    #[inline]
    pub(super) fn family(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            4 => Ok(false),
            6 => Ok(true),
            _ => Err(DecodeError::Family),
        }
    }

    #[inline]
    pub(super) fn address(&mut self, v6: bool) -> Result<IpAddr, DecodeError> {
        Ok(if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        })
    }
}

/// Room still to be written.
pub(super) struct Writer<'a>(pub(super) &'a mut [u8]);

impl Writer<'_> {
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, field: [u8; N]) -> Result<(), EncodeError> {
        let (room, rest) = core::mem::take(&mut self.0)
            .split_first_chunk_mut()
            .ok_or(EncodeError::Length)?;
        *room = field;
        self.0 = rest;
        Ok(())
    }

    /// The header of a message of `length` octets. The checksum is zero.
    #[inline]
    pub(super) fn header(&mut self, opcode: u16, length: u16) -> Result<(), EncodeError> {
        self.header_of_key(opcode, 0, length)
    }

    /// The same, of a seal: with the id of its key.
    #[inline]
    pub(super) fn header_of_key(
        &mut self,
        opcode: u16,
        key: u8,
        length: u16,
    ) -> Result<(), EncodeError> {
        self.put(opcode.to_be_bytes())?;
        self.put([0; 2])?;
        self.put([VERSION, key])?;
        self.put(length.to_be_bytes())
    }

    /// The family of the message's addresses.
    #[inline]
    pub(super) fn family(&mut self, v6: bool) -> Result<(), EncodeError> {
        self.put([if v6 { 6 } else { 4 }])
    }

    #[inline]
    pub(super) fn address(&mut self, address: IpAddr) -> Result<(), EncodeError> {
        match address {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
    }
}
