// SPDX-License-Identifier: GPL-2.0

//! Why a message cannot be written or was not understood.

use core::fmt;

/// Why a message cannot be written. Its `decode` would refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The endpoints are not of one family.
    Family,
    /// A port is zero.
    Port,
    /// The MSS is below [`MIN_MSS`](super::MIN_MSS).
    Mss,
    /// A window scale is too large, or there is one without the option.
    WindowScale,
    /// The window is larger than its scale can express.
    Window,
    /// A boot epoch is zero, or a share is more than the whole.
    Range,
    /// The message is longer than [`MAX_LEN`](super::MAX_LEN).
    Length,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Family => "mixed address families",
            Self::Port => "port zero",
            Self::Mss => "MSS too small",
            Self::WindowScale => "bad window scale",
            Self::Window => "window too large",
            Self::Range => "value out of range",
            Self::Length => "request too long",
        })
    }
}

/// Why a message was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There are too few octets.
    Short,
    /// Another version.
    Version,
    /// An operation code that nobody knows.
    Opcode,
    /// The length field is not the message's length, or something follows the message.
    Length,
    /// A field that must be zero is not.
    Reserved,
    /// An address family that nobody knows.
    Family,
    /// A NOTIFYDROP without a known reason, or another message with one.
    Reason,
    /// A port is zero.
    Port,
    /// The MSS is below [`MIN_MSS`](super::MIN_MSS).
    Mss,
    /// A window scale is too large, or there is one without the option.
    WindowScale,
    /// The window is larger than its scale can express.
    Window,
    /// A boot epoch is zero, or a share is more than the whole.
    Range,
    /// The request is not as long as the message says.
    RequestLen,
}

impl DecodeError {
    /// Every error there is.
    pub const ALL: [Self; 13] = [
        Self::Short,
        Self::Version,
        Self::Opcode,
        Self::Length,
        Self::Reserved,
        Self::Family,
        Self::Reason,
        Self::Port,
        Self::Mss,
        Self::WindowScale,
        Self::Window,
        Self::Range,
        Self::RequestLen,
    ];

    /// How many errors there are.
    pub const COUNT: usize = Self::ALL.len();

    /// A number below [`Self::COUNT`], for counters.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "message too short",
            Self::Version => "unknown version",
            Self::Opcode => "unknown operation code",
            Self::Length => "wrong length",
            Self::Reserved => "reserved field in use",
            Self::Family => "unknown address family",
            Self::Reason => "bad reason",
            Self::Port => "port zero",
            Self::Mss => "MSS too small",
            Self::WindowScale => "bad window scale",
            Self::Window => "window too large",
            Self::Range => "value out of range",
            Self::RequestLen => "wrong request length",
        })
    }
}
