// SPDX-License-Identifier: GPL-2.0

//! Why a ClientHello is refused, and the alert that says so.

use core::fmt;

/// Why a ClientHello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is longer than allowed.
    TooLarge,
    /// It is not TLS, or not a sound ClientHello.
    Malformed(Reason),
}

impl Error {
    /// The description of the alert that tells the client (RFC 8446, 6.2).
    pub const fn alert(self) -> u8 {
        match self {
            // As OpenSSL does.
            Self::TooLarge => ILLEGAL_PARAMETER,
            Self::Malformed(reason) => match reason {
                Reason::ContentType | Reason::HandshakeType => UNEXPECTED_MESSAGE,
                Reason::RecordVersion | Reason::Version => PROTOCOL_VERSION,
                Reason::RecordLength => RECORD_OVERFLOW,
                Reason::EmptyRecord | Reason::Length => DECODE_ERROR,
                Reason::DuplicateExtension | Reason::PskNotLast | Reason::ServerName => {
                    ILLEGAL_PARAMETER
                }
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("ClientHello too large"),
            Self::Malformed(reason) => reason.fmt(f),
        }
    }
}

/// What is wrong with a malformed ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A record is not one of a handshake. The first octet of plain HTTP and of SSL 2.0 is found so.
    ContentType,
    /// The version of a record is not 3.x.
    RecordVersion,
    /// A record is empty.
    EmptyRecord,
    /// A record is longer than 2^14 octets.
    RecordLength,
    /// The first message of the handshake is not a ClientHello.
    HandshakeType,
    /// The version of the client is lower than TLS 1.0.
    Version,
    /// A length contradicts another one, or is none that its field can have.
    Length,
    /// An extension that matters here comes twice.
    DuplicateExtension,
    /// An extension follows `pre_shared_key`.
    PskNotLast,
    /// The server name is not a single DNS name.
    ServerName,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentType => "not a handshake record",
            Self::RecordVersion => "bad record version",
            Self::EmptyRecord => "empty record",
            Self::RecordLength => "record too long",
            Self::HandshakeType => "not a ClientHello",
            Self::Version => "TLS version not supported",
            Self::Length => "bad length",
            Self::DuplicateExtension => "duplicate extension",
            Self::PskNotLast => "pre_shared_key is not the last extension",
            Self::ServerName => "bad server name",
        })
    }
}

/// Alert: an inappropriate message was received.
pub const UNEXPECTED_MESSAGE: u8 = 10;
/// Alert: a record is too long.
pub const RECORD_OVERFLOW: u8 = 22;
/// Alert: a field contradicts another one, or has a value that it must not have.
pub const ILLEGAL_PARAMETER: u8 = 47;
/// Alert: a message cannot be decoded.
pub const DECODE_ERROR: u8 = 50;
/// Alert: the version of the protocol is not supported.
pub const PROTOCOL_VERSION: u8 = 70;
/// Alert: something went wrong that is not the client's fault.
pub const INTERNAL_ERROR: u8 = 80;
/// Alert: there is no server of this name (RFC 6066, 3).
pub const UNRECOGNIZED_NAME: u8 = 112;

/// A record with a fatal alert of this description (RFC 8446, 6), in the clear;
/// [`INTERNAL_ERROR`] if the description is none of those above.
pub const fn alert_response(description: u8) -> &'static [u8] {
    /// The record; its version is the one that all clients take.
    const fn fatal(description: u8) -> [u8; 7] {
        [21, 3, 1, 0, 2, 2, description]
    }
    match description {
        UNEXPECTED_MESSAGE => &const { fatal(UNEXPECTED_MESSAGE) },
        RECORD_OVERFLOW => &const { fatal(RECORD_OVERFLOW) },
        ILLEGAL_PARAMETER => &const { fatal(ILLEGAL_PARAMETER) },
        DECODE_ERROR => &const { fatal(DECODE_ERROR) },
        PROTOCOL_VERSION => &const { fatal(PROTOCOL_VERSION) },
        UNRECOGNIZED_NAME => &const { fatal(UNRECOGNIZED_NAME) },
        _ => &const { fatal(INTERNAL_ERROR) },
    }
}
