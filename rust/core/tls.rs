// SPDX-License-Identifier: GPL-2.0

//! The TLS ClientHello: which server name and protocols a client asks for, read without any key.
//!
//! The parser is told the stream in whatever pieces it arrives. It keeps copies of the server name
//! and the protocol names, for the headers of records may lie across them; all other octets stay
//! with the caller. The result depends only on the octets, never on how they were cut.
//!
//! The ClientHello and its records are those of RFC 8446 (TLS 1.3), sections 4.1.2 and 5.1, which
//! are also those of RFC 5246 (TLS 1.2); the extensions are those of RFC 6066 (server name), RFC
//! 7301 (protocol names) and RFC 9849 (encrypted ClientHello). What is unknown is skipped, be it
//! reserved for that (RFC 8701) or of the future. The switch and the server behind it must not
//! understand a ClientHello differently, so that whatever could be taken in two ways is refused:
//!
//! - Records are of handshake type, not empty, and not longer than 2^14 octets. A ClientHello may
//!   span several. Their version is 3.x, whatever the x (RFC 5246, E.1).
//! - Every length agrees exactly with those around it.
//! - No extension that matters here comes twice. Others that do are the server's to find.
//! - The list of server names has one entry, a host name (RFC 6066, 3). It has no more than 253
//!   octets, in labels of letters, digits, `-` and `_`, each of 1 to 63 octets, with single dots
//!   between them; the last label is not a number, which would make it an IPv4 address.
//! - `pre_shared_key` is the last extension (RFC 8446, 4.2.11).
//!
//! SSL 3.0 and the format of SSL 2.0 are refused (RFC 7568, RFC 6176). What the client is able to
//! do, and whether that is enough, is the server's to judge.

mod refusal;

pub use refusal::{
    alert_response, Error, Reason, DECODE_ERROR, ILLEGAL_PARAMETER, INTERNAL_ERROR,
    PROTOCOL_VERSION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE, UNRECOGNIZED_NAME,
};

/// The longest server name, octets (RFC 1035, 2.3.4: 255 on the wire, with the length of the first
/// label and the root).
pub const MAX_SERVER_NAME: usize = 253;

/// How much is kept of the list of protocol names, octets with the length before each name.
///
/// Browsers send 12 or so.
pub const MAX_ALPN: usize = 128;

/// The longest label of a domain name, octets (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// The longest fragment in a record, octets (RFC 8446, 5.1).
const MAX_FRAGMENT: u16 = 1 << 14;

/// The content type of records that carry handshake messages (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// The message type of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u32 = 1;

/// Length of a handshake message's header: type and length, octets.
const MESSAGE_HEADER: u32 = 4;

/// The version of TLS 1.0: the lowest that is not refused.
const TLS10: u32 = 0x0301;

/// Length of the random value, octets.
const RANDOM: u32 = 32;

/// The longest session identifier, octets.
const MAX_SESSION_ID: u32 = 32;

/// The type of a server name that is a host name (RFC 6066, 3).
const HOST_NAME: u32 = 0;

/// How far the parser has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The ClientHello has not ended yet.
    NeedMore,
    /// The ClientHello has ended.
    Complete,
}

/// What a ClientHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Octets of the stream up to the end of the ClientHello.
    ///
    /// A record ends there too, if the client keeps to the protocol (RFC 8446, 5.1).
    pub len: u32,
    /// Whether early data follows: application data that the client sends without waiting.
    pub early_data: bool,
    /// Whether there is an `encrypted_client_hello`, and perhaps another server name in it.
    ///
    /// Browsers send one with random octets in it where they know no key (RFC 9849, 6.2), and
    /// nobody without the key can tell the two apart. [`Self::server_name`] is the name outside.
    pub ech: bool,
    server_name_len: u8,
    alpn_len: u8,
    server_name: [u8; MAX_SERVER_NAME],
    alpn: [u8; MAX_ALPN],
}

impl Hello {
    /// The name of the server as the client spells it: a DNS name without a dot at its end.
    pub fn server_name(&self) -> Option<&[u8]> {
        let name = self.server_name.get(..usize::from(self.server_name_len))?;
        (!name.is_empty()).then_some(name)
    }

    /// The protocols that the client speaks over TLS, those it likes best first, as they stand in
    /// the ClientHello: a length in one octet before each name (RFC 7301, 3.1). Empty if there are
    /// none.
    ///
    /// A list longer than [`MAX_ALPN`] ends with the last name that fits as a whole.
    pub fn alpn(&self) -> &[u8] {
        self.alpn
            .get(..usize::from(self.alpn_len))
            .unwrap_or_default()
    }

    /// The names in [`Self::alpn`].
    pub fn protocols(&self) -> Protocols<'_> {
        Protocols(self.alpn())
    }

    /// Takes the next octets of the server name.
    fn push_server_name(&mut self, octets: &[u8]) {
        self.server_name_len = copy(&mut self.server_name, self.server_name_len, octets);
    }

    /// Takes the next octets of the list of protocol names.
    fn push_alpn(&mut self, octets: &[u8]) {
        self.alpn_len = copy(&mut self.alpn, self.alpn_len, octets);
    }
}

/// Copies `octets` into `buffer` behind the `len` that are there. Returns how many there are then.
#[inline]
fn copy(buffer: &mut [u8], len: u8, octets: &[u8]) -> u8 {
    let free = buffer.get_mut(usize::from(len)..).unwrap_or_default();
    let mut copied = len;
    for (place, octet) in free.iter_mut().zip(octets) {
        *place = *octet;
        // Cannot overflow: no buffer is that long.
        copied = copied.saturating_add(1);
    }
    copied
}

/// The names of protocols, in the order of the client (RFC 7301, 3.1).
#[derive(Clone, Debug)]
pub struct Protocols<'a>(&'a [u8]);

impl<'a> Iterator for Protocols<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        self.0 = rest;
        Some(name)
    }
}

/// What the next octet of the stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// The content type.
    Type,
    /// The upper half of the version.
    Major,
    /// The lower half of the version.
    Minor,
    /// The upper half of the length.
    LengthHigh,
    /// The lower half of the length.
    LengthLow,
    /// The fragment, of which `Parser::record_left` octets are missing.
    Fragment,
}

/// The part of the message that is being read. `Parser::left` octets of it are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The type of the message, a number.
    Type,
    /// The length of the message, a number.
    Length,
    /// The version of the client, a number.
    Version,
    /// The random value.
    Random,
    /// The length of the session identifier, a number.
    SessionIdLength,
    /// The session identifier.
    SessionId,
    /// The length of the cipher suites, a number.
    CipherSuitesLength,
    /// The cipher suites.
    CipherSuites,
    /// The length of the compression methods, a number.
    CompressionLength,
    /// The compression methods.
    Compression,
    /// The length of the extensions, a number.
    ExtensionsLength,
    /// The type of an extension, a number.
    ExtensionType,
    /// The length of an extension, a number.
    ExtensionLength,
    /// An extension whose content does not matter.
    Extension,
    /// The length of the list of server names, a number.
    ServerNamesLength,
    /// The type of a server name, a number.
    ServerNameType,
    /// The length of a server name, a number.
    ServerNameLength,
    /// A server name.
    ServerName,
    /// The length of the list of protocol names, a number.
    ProtocolsLength,
    /// The length of a protocol name, a number.
    ProtocolLength,
    /// A protocol name that is kept.
    Protocol,
    /// A protocol name for which there is no room.
    OtherProtocol,
}

impl Part {
    /// Whether this is within an extension.
    #[inline]
    const fn in_extension(self) -> bool {
        match self {
            Self::Extension
            | Self::ServerNamesLength
            | Self::ServerNameType
            | Self::ServerNameLength
            | Self::ServerName
            | Self::ProtocolsLength
            | Self::ProtocolLength
            | Self::Protocol
            | Self::OtherProtocol => true,
            Self::Type
            | Self::Length
            | Self::Version
            | Self::Random
            | Self::SessionIdLength
            | Self::SessionId
            | Self::CipherSuitesLength
            | Self::CipherSuites
            | Self::CompressionLength
            | Self::Compression
            | Self::ExtensionsLength
            | Self::ExtensionType
            | Self::ExtensionLength => false,
        }
    }
}

/// An extension that matters, with its number (IANA, TLS ExtensionType Values).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    ServerName,
    Alpn,
    PreSharedKey,
    EarlyData,
    EncryptedClientHello,
    /// All that do not matter.
    Other,
}

impl Extension {
    #[inline]
    const fn of(number: u32) -> Self {
        match number {
            0 => Self::ServerName,
            16 => Self::Alpn,
            41 => Self::PreSharedKey,
            42 => Self::EarlyData,
            0xfe0d => Self::EncryptedClientHello,
            _ => Self::Other,
        }
    }

    /// Its bit in a set of those that were met.
    #[inline]
    const fn bit(self) -> u8 {
        match self {
            Self::ServerName => 1,
            Self::Alpn => 2,
            Self::PreSharedKey => 4,
            Self::EarlyData => 8,
            Self::EncryptedClientHello => 16,
            Self::Other => 0,
        }
    }
}

/// Incremental parser of the ClientHello at the beginning of a stream.
#[derive(Clone, Debug)]
pub struct Parser {
    /// What is known of the ClientHello.
    hello: Hello,
    /// Most octets of the stream that the ClientHello may take, with the headers of its records.
    limit: u32,
    /// Octets looked at.
    fed: u32,
    /// Octets that the message still has, not more than `u24::MAX`; before its length is known, those
    /// of its header.
    message_left: u32,
    /// Octets of `part` that are missing.
    left: u32,
    /// What was read of a number, if `part` is one.
    number: u32,
    /// Octets that the record still has; its length, while that is being read.
    record_left: u16,
    /// Octets that the extension still has. They are of the message.
    extension_left: u16,
    record: Record,
    part: Part,
    /// The extension that is being read.
    extension: Extension,
    /// The extensions met so far that matter.
    met: u8,
    /// Whether a protocol name was left out.
    alpn_full: bool,
    /// What [`Self::feed`] returned last.
    outcome: Result<Progress, Error>,
}

impl Parser {
    /// A parser of a ClientHello that takes at most `limit` octets, with the headers of its records.
    pub const fn new(limit: u32) -> Self {
        Self {
            hello: Hello {
                len: 0,
                early_data: false,
                ech: false,
                server_name_len: 0,
                alpn_len: 0,
                server_name: [0; MAX_SERVER_NAME],
                alpn: [0; MAX_ALPN],
            },
            limit,
            fed: 0,
            message_left: MESSAGE_HEADER,
            left: 1,
            number: 0,
            record_left: 0,
            extension_left: 0,
            record: Record::Type,
            part: Part::Type,
            extension: Extension::Other,
            met: 0,
            alpn_full: false,
            outcome: Ok(Progress::NeedMore),
        }
    }

    /// Feeds the next octets of the stream: those right behind the ones fed before.
    ///
    /// Stops at the end of the ClientHello; octets behind it are not looked at. Once it is complete
    /// or refused, so it stays. A ClientHello whose length exceeds the limit is refused as soon as
    /// that is known.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Progress, Error> {
        if self.outcome == Ok(Progress::NeedMore) {
            self.outcome = self.advance(chunk);
        }
        self.outcome
    }

    /// What the ClientHello says, once it is complete.
    pub fn hello(&self) -> Option<&Hello> {
        match self.outcome {
            Ok(Progress::Complete) => Some(&self.hello),
            Ok(Progress::NeedMore) | Err(_) => None,
        }
    }

    /// Octets looked at so far, among them those for which the ClientHello was refused.
    pub fn fed(&self) -> u32 {
        self.fed
    }

    fn advance(&mut self, chunk: &[u8]) -> Result<Progress, Error> {
        let room = self.limit.saturating_sub(self.fed) as usize;
        let mut rest = chunk.get(..room).unwrap_or(chunk);
        let too_large = chunk.len() > room;
        while let Some((octet, after)) = rest.split_first() {
            if self.record != Record::Fragment {
                self.fed = self.fed.saturating_add(1);
                self.record_header(*octet).map_err(Error::Malformed)?;
                rest = after;
                continue;
            }
            // The next octets that are both in the record and in the part: one at least, for
            // neither is ever left empty.
            let most = self.left.min(u32::from(self.record_left)) as usize;
            let (piece, after) = rest.split_at_checked(most).unwrap_or((rest, &[]));
            rest = after;
            if self.message(piece)? == Progress::Complete {
                return Ok(Progress::Complete);
            }
        }
        if too_large {
            return Err(Error::TooLarge);
        }
        Ok(Progress::NeedMore)
    }

    /// The next octet of a record's header.
    fn record_header(&mut self, octet: u8) -> Result<(), Reason> {
        self.record = match self.record {
            Record::Type => match octet {
                HANDSHAKE => Record::Major,
                _ => return Err(Reason::ContentType),
            },
            Record::Major => match octet {
                3 => Record::Minor,
                _ => return Err(Reason::RecordVersion),
            },
            Record::Minor => Record::LengthHigh,
            Record::LengthHigh => {
                self.record_left = u16::from(octet) << 8;
                Record::LengthLow
            }
            Record::LengthLow | Record::Fragment => {
                self.record_left |= u16::from(octet);
                match self.record_left {
                    0 => return Err(Reason::EmptyRecord),
                    1..=MAX_FRAGMENT => Record::Fragment,
                    _ => return Err(Reason::RecordLength),
                }
            }
        };
        Ok(())
    }

    /// The next octets of the message, which are not more than are missing of the part.
    fn message(&mut self, piece: &[u8]) -> Result<Progress, Error> {
        // The length of a piece is within a record's, and so within a u16. Nor can the subtractions
        // fail: a piece is within the part, that within the extension, and that within the message.
        let len = piece.len() as u16;
        self.fed = self.fed.saturating_add(u32::from(len));
        self.left = self.left.saturating_sub(u32::from(len));
        self.message_left = self.message_left.saturating_sub(u32::from(len));
        if self.part.in_extension() {
            self.extension_left = self.extension_left.saturating_sub(len);
        }
        self.record_left = self.record_left.saturating_sub(len);
        if self.record_left == 0 {
            self.record = Record::Type;
        }

        match self.part {
            Part::Random
            | Part::SessionId
            | Part::CipherSuites
            | Part::Compression
            | Part::Extension
            | Part::OtherProtocol => {}
            Part::ServerName => self.hello.push_server_name(piece),
            Part::Protocol => self.hello.push_alpn(piece),
            // Numbers have at most three octets.
            _ => {
                for octet in piece {
                    self.number = (self.number << 8) | u32::from(*octet);
                }
            }
        }

        // Of an empty part, too, the end is at once.
        while self.left == 0 {
            if self.end_part()? == Progress::Complete {
                self.hello.len = self.fed;
                return Ok(Progress::Complete);
            }
        }
        Ok(Progress::NeedMore)
    }

    /// The part has been read. Says what comes next, or that the message ends.
    fn end_part(&mut self) -> Result<Progress, Error> {
        let number = self.number;
        let next = match self.part {
            Part::Type => match number {
                CLIENT_HELLO => self.expect(Part::Length, 3),
                _ => Err(Reason::HandshakeType),
            },
            Part::Length => {
                // The message does not fit, even if no header of a record interrupts it.
                if number > self.limit.saturating_sub(self.fed) {
                    return Err(Error::TooLarge);
                }
                self.message_left = number;
                self.expect(Part::Version, 2)
            }
            Part::Version => match number {
                TLS10.. => self.expect(Part::Random, RANDOM),
                _ => Err(Reason::Version),
            },
            Part::Random => self.expect(Part::SessionIdLength, 1),
            Part::SessionIdLength => match number {
                0..=MAX_SESSION_ID => self.expect(Part::SessionId, number),
                _ => Err(Reason::Length),
            },
            Part::SessionId => self.expect(Part::CipherSuitesLength, 2),
            // Each has two octets, and there is one at least.
            Part::CipherSuitesLength => match number & 1 {
                0 if number != 0 => self.expect(Part::CipherSuites, number),
                _ => Err(Reason::Length),
            },
            Part::CipherSuites => self.expect(Part::CompressionLength, 1),
            Part::CompressionLength => match number {
                0 => Err(Reason::Length),
                _ => self.expect(Part::Compression, number),
            },
            // Before TLS 1.3, a ClientHello may have no extensions (RFC 5246, 7.4.1.2).
            Part::Compression if self.message_left == 0 => return Ok(Progress::Complete),
            Part::Compression => self.expect(Part::ExtensionsLength, 2),
            Part::ExtensionsLength if number != self.message_left => Err(Reason::Length),
            Part::ExtensionsLength => return self.next_extension(),
            Part::ExtensionType => self.begin_extension(number),
            Part::ExtensionLength => self.begin_content(number),
            Part::ServerNamesLength if number != u32::from(self.extension_left) => {
                Err(Reason::Length)
            }
            Part::ServerNamesLength => self.expect(Part::ServerNameType, 1),
            Part::ServerNameType => match number {
                HOST_NAME => self.expect(Part::ServerNameLength, 2),
                _ => Err(Reason::ServerName),
            },
            Part::ServerNameLength => self.begin_server_name(number),
            Part::ServerName => {
                if !self.hello.server_name().is_some_and(is_dns_name) {
                    return Err(Error::Malformed(Reason::ServerName));
                }
                return self.next_extension();
            }
            // One name of one octet at least.
            Part::ProtocolsLength if number != u32::from(self.extension_left) || number < 2 => {
                Err(Reason::Length)
            }
            Part::ProtocolsLength => self.expect(Part::ProtocolLength, 1),
            Part::ProtocolLength => self.begin_protocol(number),
            Part::Protocol | Part::OtherProtocol if self.extension_left != 0 => {
                self.expect(Part::ProtocolLength, 1)
            }
            Part::Protocol | Part::OtherProtocol | Part::Extension => {
                return self.next_extension();
            }
        };
        next.map_err(Error::Malformed)?;
        Ok(Progress::NeedMore)
    }

    /// The next part is this one, of `len` octets, which there must be.
    fn expect(&mut self, part: Part, len: u32) -> Result<(), Reason> {
        let within = if part.in_extension() {
            u32::from(self.extension_left)
        } else {
            self.message_left
        };
        if len > within {
            return Err(Reason::Length);
        }
        self.part = part;
        self.left = len;
        self.number = 0;
        Ok(())
    }

    /// Another extension follows, or the message ends.
    fn next_extension(&mut self) -> Result<Progress, Error> {
        if self.message_left == 0 {
            return Ok(Progress::Complete);
        }
        if self.extension == Extension::PreSharedKey {
            return Err(Error::Malformed(Reason::PskNotLast));
        }
        self.expect(Part::ExtensionType, 2)
            .map_err(Error::Malformed)?;
        Ok(Progress::NeedMore)
    }

    /// An extension has this number.
    fn begin_extension(&mut self, number: u32) -> Result<(), Reason> {
        self.extension = Extension::of(number);
        let bit = self.extension.bit();
        if self.met & bit != 0 {
            return Err(Reason::DuplicateExtension);
        }
        self.met |= bit;
        self.expect(Part::ExtensionLength, 2)
    }

    /// The content of the extension follows, and has `len` octets.
    fn begin_content(&mut self, len: u32) -> Result<(), Reason> {
        if len > self.message_left {
            return Err(Reason::Length);
        }
        // The field has two octets.
        self.extension_left = len as u16;
        match self.extension {
            Extension::ServerName => return self.expect(Part::ServerNamesLength, 2),
            Extension::Alpn => return self.expect(Part::ProtocolsLength, 2),
            Extension::EarlyData => {
                self.hello.early_data = true;
                // Only a server has something to say here (RFC 8446, 4.2.10).
                if len != 0 {
                    return Err(Reason::Length);
                }
            }
            Extension::EncryptedClientHello => self.hello.ech = true,
            Extension::PreSharedKey | Extension::Other => {}
        }
        self.expect(Part::Extension, len)
    }

    /// The server name follows, and has `len` octets. There must be no other one behind it.
    fn begin_server_name(&mut self, len: u32) -> Result<(), Reason> {
        let rest = u32::from(self.extension_left);
        if len > rest {
            return Err(Reason::Length);
        }
        if len < rest || len == 0 || len > MAX_SERVER_NAME as u32 {
            return Err(Reason::ServerName);
        }
        self.expect(Part::ServerName, len)
    }

    /// A protocol name follows, and has `len` octets.
    fn begin_protocol(&mut self, len: u32) -> Result<(), Reason> {
        if len == 0 {
            return Err(Reason::Length);
        }
        let room = (MAX_ALPN as u32).saturating_sub(u32::from(self.hello.alpn_len));
        self.alpn_full |= len >= room;
        if self.alpn_full {
            return self.expect(Part::OtherProtocol, len);
        }
        self.expect(Part::Protocol, len)?;
        // The length has one octet.
        self.hello.push_alpn(&[len as u8]);
        Ok(())
    }
}

/// Whether this is a DNS name, and not an IPv4 address. It is not longer than one can be.
fn is_dns_name(name: &[u8]) -> bool {
    let mut last_is_number = false;
    for label in name.split(|octet| *octet == b'.') {
        if label.is_empty() || label.len() > MAX_LABEL {
            return false;
        }
        if !label
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        {
            return false;
        }
        last_is_number = label.iter().all(u8::is_ascii_digit);
    }
    !last_is_number
}

#[cfg(test)]
mod tests;
