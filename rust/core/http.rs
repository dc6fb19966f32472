// SPDX-License-Identifier: GPL-2.0

//! The HTTP/1.x request head, octet by octet, and the preface of HTTP/2.
//!
//! The parser is told the stream in whatever pieces it arrives and keeps nothing of it but where
//! things are; the octets stay with the caller. The result depends only on the octets, never on
//! how they were cut.
//!
//! The grammar is that of RFC 9112 (message syntax), with RFC 9110 for fields and methods and
//! RFC 3986 for hosts. The switch and the server behind it must not understand a head differently,
//! so that whatever could be taken in two ways is refused:
//!
//! - A line ends with CRLF, or with a bare LF (RFC 9112, 2.2); a CR anywhere else is an error.
//! - There is exactly one space between the parts of the request line (3), and none before the
//!   colon of a field (5.1). Folded lines are refused (5.2).
//! - Of the four forms of the target (3.2), `*` goes only with OPTIONS, `host:port` and CONNECT
//!   only with each other, and an absolute target has a host and no user information.
//! - An HTTP/1.1 request has one Host field, an HTTP/1.0 request at most one (3.2).
//! - Content-Length is one number; repetitions must agree (6.3). It does not go together with
//!   Transfer-Encoding, nor does HTTP/1.0 (6.1).
//!
//! A client that knows that the server speaks HTTP/2 begins with a preface (RFC 9113, 3.4) instead.
//! It is told apart from a head, and has to be the very octets; nothing behind it is looked at.
//!
//! The value of Transfer-Encoding is left to the server, for the switch has no need to find the
//! end of a body.

mod class;
mod parser;
#[cfg(test)]
mod tests;

use core::fmt;

pub use parser::Parser;

/// What a client of HTTP/2 sends first (RFC 9113, 3.4). To HTTP/1.x its beginning is a request line.
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far the parser has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head has not ended yet.
    NeedMore,
    /// The head has ended.
    Complete,
    /// There is no head: the stream begins with [`HTTP2_PREFACE`], all of which was read.
    Http2,
}

/// A piece of the stream, in octets from the stream's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where the piece begins.
    pub start: u32,
    /// How long it is.
    pub len: u32,
}

impl Span {
    const EMPTY: Self = Self { start: 0, len: 0 };

    /// Makes the span end before position `end`.
    #[inline]
    fn end_at(&mut self, end: u32) {
        self.len = end.saturating_sub(self.start);
    }
}

/// What a request head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is to be done.
    pub method: Method,
    /// The version of the protocol.
    pub version: Version,
    /// The request target, as it stands.
    pub target: Span,
    /// The path of the target, without the query; empty if the target has none.
    pub path: Span,
    /// The host without its port: that of an absolute target, else that of the Host field. An IPv6
    /// address keeps its brackets. A Host field may well be empty.
    pub host: Option<Span>,
    /// Octets of the head from the stream's start, with `leading` and the empty line at its end.
    pub len: u32,
    /// Octets of the empty lines before the request line.
    pub leading: u32,
}

/// A request method (RFC 9110, 9.3, and RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// CONNECT.
    Connect,
    /// OPTIONS.
    Options,
    /// TRACE.
    Trace,
    /// PATCH.
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// Whether more than a head may be expected of the client: content has no meaning with the others (RFC 9110,
    /// 9.3.1 and 9.3.2).
    pub const fn may_have_content(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }

    /// Whether doing it twice has the effect of doing it once (RFC 9110, 9.2.2).
    pub const fn is_idempotent(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace => true,
            Self::Post | Self::Connect | Self::Patch | Self::Other => false,
        }
    }

    /// The method whose octets are these, packed by [`pack`].
    ///
    /// Of a name longer than a word only the end is there. As a token has no NUL, its first octet
    /// is not zero then, and it cannot be mistaken for one of these, all shorter than a word.
    const fn of(word: u64) -> Self {
        const GET: u64 = pack(b"GET");
        const HEAD: u64 = pack(b"HEAD");
        const POST: u64 = pack(b"POST");
        const PUT: u64 = pack(b"PUT");
        const DELETE: u64 = pack(b"DELETE");
        const CONNECT: u64 = pack(b"CONNECT");
        const OPTIONS: u64 = pack(b"OPTIONS");
        const TRACE: u64 = pack(b"TRACE");
        const PATCH: u64 = pack(b"PATCH");
        match word {
            GET => Self::Get,
            HEAD => Self::Head,
            POST => Self::Post,
            PUT => Self::Put,
            DELETE => Self::Delete,
            CONNECT => Self::Connect,
            OPTIONS => Self::Options,
            TRACE => Self::Trace,
            PATCH => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// A version of the protocol that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is longer than allowed.
    TooLarge,
    /// It is not HTTP.
    Malformed(Reason),
    /// It is of another version of HTTP.
    Version,
}

impl Error {
    /// The status code that tells the client.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Malformed(_) => 400,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("head too large"),
            Self::Malformed(reason) => reason.fmt(f),
            Self::Version => f.write_str("HTTP version not supported"),
        }
    }
}

/// What is wrong with a malformed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many empty lines before the request line.
    LeadingLines,
    /// The method is not a token followed by a space.
    Method,
    /// The target is none, or not one for the method.
    Target,
    /// What follows the target is no version.
    Version,
    /// It begins as the preface of HTTP/2, and does not go on so.
    Preface,
    /// A CR without LF.
    BareCarriageReturn,
    /// A line begins with whitespace, as if to continue the one before.
    Folding,
    /// A field has no name.
    EmptyName,
    /// The name of a field is not a token followed by a colon.
    Name,
    /// There is whitespace in the name of a field or behind it.
    WhitespaceBeforeColon,
    /// There is a control character in the value of a field.
    Value,
    /// The value of Host is not a host with or without a port.
    Host,
    /// There are several Host fields.
    SeveralHosts,
    /// There is no Host field in an HTTP/1.1 request.
    MissingHost,
    /// The value of Content-Length is not one number, or too great a one.
    ContentLength,
    /// There are several Content-Length fields that do not agree.
    DifferingContentLength,
    /// There are both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// There is a Transfer-Encoding in an HTTP/1.0 request.
    EncodingInHttp10,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadingLines => "too many empty lines before the request",
            Self::Method => "bad method",
            Self::Target => "bad request target",
            Self::Version => "bad HTTP version",
            Self::Preface => "bad HTTP/2 preface",
            Self::BareCarriageReturn => "bare CR",
            Self::Folding => "folded line",
            Self::EmptyName => "empty field name",
            Self::Name => "bad field name",
            Self::WhitespaceBeforeColon => "whitespace before colon",
            Self::Value => "control character in field value",
            Self::Host => "bad Host",
            Self::SeveralHosts => "several Host fields",
            Self::MissingHost => "missing Host",
            Self::ContentLength => "bad Content-Length",
            Self::DifferingContentLength => "differing Content-Length fields",
            Self::LengthAndEncoding => "Content-Length together with Transfer-Encoding",
            Self::EncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
        })
    }
}

/// Whether these octets, the first of a message, are a method that is in common use and a space.
pub fn begins_with_method(octets: &[u8]) -> bool {
    let mut parts = octets.split(|&octet| octet == b' ');
    let name = parts.next().unwrap_or(&[]);
    // Letters only, and fewer than a word has octets: then the word says what they are.
    let known = name.len() < size_of::<u64>() && name.iter().all(u8::is_ascii_uppercase);
    parts.next().is_some() && known && Method::of(pack(name)) != Method::Other
}

/// Octets as one number, the last of them lowest.
const fn pack(octets: &[u8]) -> u64 {
    let mut word = 0;
    let mut rest = octets;
    while let [first, after @ ..] = rest {
        word = push(word, *first);
        rest = after;
    }
    word
}

/// `word` with another octet behind it; the octets in front are lost when there are too many.
#[inline]
const fn push(word: u64, octet: u8) -> u64 {
    (word << 8) | octet as u64
}

/// A response that says no more than its status; `$length` is the length of `$status` and LF.
macro_rules! response {
    ($status:literal, $length:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nContent-Type: text/plain\r\nContent-Length: ",
            $length,
            "\r\nConnection: close\r\n\r\n",
            $status,
            "\n"
        )
        .as_bytes()
    };
}

/// A complete small response that tells the client of an error; 500 if the status is unknown.
pub const fn error_response(status: u16) -> &'static [u8] {
    match status {
        400 => response!("400 Bad Request", 16),
        408 => response!("408 Request Timeout", 20),
        431 => response!("431 Request Header Fields Too Large", 36),
        503 => response!("503 Service Unavailable", 24),
        504 => response!("504 Gateway Timeout", 20),
        505 => response!("505 HTTP Version Not Supported", 31),
        _ => response!("500 Internal Server Error", 26),
    }
}
