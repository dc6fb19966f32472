// SPDX-License-Identifier: GPL-2.0

//! The parser: a state for each place in the grammar, an octet at a time, and leaps over what cannot
//! change the state.

use super::{
    class::{self, is, run_of},
    pack, push, Error, Head, Method, Progress, Reason, Span, Version, HTTP2_PREFACE,
};

/// How many empty lines may precede the request line.
///
/// RFC 9112, 2.2 wants at least one to be ignored, for the sake of clients that send a line end
/// too many behind the body of a POST.
const LEADING_LINES: u8 = 4;

/// The method of the preface.
const PRI: &[u8; 3] = b"PRI";

/// The greatest port number.
const PORT_MAX: u64 = 65535;

/// `number` with another decimal digit behind it, if `digit` is one and the result is not too big.
#[inline]
fn push_digit(number: u64, digit: u8) -> Option<u64> {
    if !digit.is_ascii_digit() {
        return None;
    }
    number
        .checked_mul(10)?
        .checked_add(u64::from(digit.wrapping_sub(b'0')))
}

/// What the next octet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The request line or an empty line before it.
    Start,
    /// The LF of an empty line before the request line.
    LeadingLineFeed,
    /// The method, of which there is an octet already.
    Method,
    /// The target, of which there is nothing yet.
    Target,
    /// The end of the target `*`.
    AfterAsterisk,
    /// The scheme of an absolute target.
    Scheme,
    /// The first slash behind the scheme.
    FirstSlash,
    /// The second slash behind the scheme.
    SecondSlash,
    /// The host and port of an absolute target.
    Authority,
    /// The host and port of CONNECT.
    Tunnel,
    /// The path of the target.
    Path,
    /// The query of the target.
    Query,
    /// The version.
    Version,
    /// The end of the request line.
    AfterVersion,
    /// The preface of HTTP/2, behind the version.
    Preface,
    /// The LF behind the request line or a field.
    LineFeed,
    /// A field or the end of the head.
    Line,
    /// The name of a field, so far that of `Parser::field`.
    KnownName,
    /// The name of a field that does not matter.
    OtherName,
    /// The value of a field that does not matter.
    Value,
    /// Whitespace before the value of Host.
    BeforeHost,
    /// The value of Host.
    Host,
    /// Whitespace behind the value of Host.
    AfterHost,
    /// Whitespace before the value of Content-Length.
    BeforeLength,
    /// The value of Content-Length.
    Length,
    /// Whitespace behind the value of Content-Length.
    AfterLength,
    /// The LF at the end of the head.
    LastLineFeed,
}

/// How much of a host and port there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostPart {
    /// Nothing.
    Start,
    /// A part of a name or IPv4 address.
    Name,
    /// The opening bracket of an IPv6 address.
    Bracket,
    /// A part of an IPv6 address.
    Literal,
    /// An address with both brackets.
    Closed,
    /// A host and a colon.
    Colon,
    /// A host, a colon and a part of a number.
    Port,
}

/// A field that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Host,
    ContentLength,
    TransferEncoding,
}

impl Field {
    /// The one field whose name begins with this octet.
    #[inline]
    const fn of(first: u8) -> Option<Self> {
        match first {
            b'h' | b'H' => Some(Self::Host),
            b'c' | b'C' => Some(Self::ContentLength),
            b't' | b'T' => Some(Self::TransferEncoding),
            _ => None,
        }
    }

    /// Its name in lower case.
    #[inline]
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Host => b"host",
            Self::ContentLength => b"content-length",
            Self::TransferEncoding => b"transfer-encoding",
        }
    }
}

/// Incremental parser of the HTTP/1.x request head (RFC 9112).
#[derive(Clone, Debug)]
pub struct Parser {
    /// What is known of the head.
    head: Head,
    /// What was read of the method, the version, a port, or a Content-Length, one at a time.
    word: u64,
    /// The Content-Length, if `has_length`.
    length: u64,
    /// The host that was read last, be it of the target or of the Host field.
    host: Span,
    /// Most octets the head may have.
    limit: u32,
    /// Octets looked at.
    fed: u32,
    state: State,
    /// Empty lines before the request line, then octets of the version, then those of a known name
    /// or of the preface.
    count: u8,
    /// In [`State::KnownName`]: whose name.
    field: Field,
    host_part: HostPart,
    /// Whether the stream begins with the method of the preface.
    has_pri: bool,
    has_host: bool,
    has_length: bool,
    has_encoding: bool,
    /// What [`Self::feed`] returned last.
    outcome: Result<Progress, Error>,
}

impl Parser {
    /// A parser of a head of at most `limit` octets.
    pub const fn new(limit: u32) -> Self {
        Self {
            head: Head {
                method: Method::Other,
                version: Version::Http10,
                target: Span::EMPTY,
                path: Span::EMPTY,
                host: None,
                len: 0,
                leading: 0,
            },
            word: 0,
            length: 0,
            host: Span::EMPTY,
            limit,
            fed: 0,
            state: State::Start,
            count: 0,
            field: Field::Host,
            host_part: HostPart::Start,
            has_pri: false,
            has_host: false,
            has_length: false,
            has_encoding: false,
            outcome: Ok(Progress::NeedMore),
        }
    }

    /// Feeds the next octets of the stream: those right behind the ones fed before.
    ///
    /// Stops at the end of the head or preface; octets behind it are not looked at. Once that is
    /// complete or refused, so it stays.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Progress, Error> {
        if self.outcome == Ok(Progress::NeedMore) {
            self.outcome = self.advance(chunk);
        }
        self.outcome
    }

    /// What the head says, once it is complete.
    pub fn head(&self) -> Option<&Head> {
        match self.outcome {
            Ok(Progress::Complete) => Some(&self.head),
            Ok(Progress::NeedMore | Progress::Http2) | Err(_) => None,
        }
    }

    /// Octets looked at so far, among them one that was refused.
    pub fn fed(&self) -> u32 {
        self.fed
    }

    fn advance(&mut self, chunk: &[u8]) -> Result<Progress, Error> {
        let room = self.limit.saturating_sub(self.fed) as usize;
        let mut rest = chunk.get(..room).unwrap_or(chunk);
        let too_large = chunk.len() > room;
        loop {
            // Most octets belong to something long that changes nothing until it ends.
            let sets = match self.state {
                State::Value => class::VALUE,
                State::OtherName => class::TOKEN,
                State::Path => class::PATH,
                State::Query => class::TARGET,
                _ => 0,
            };
            if sets != 0 {
                rest = self.skip(rest, run_of(rest, sets));
            }
            let ahead = self.leap(rest);
            if ahead != 0 {
                rest = self.skip(rest, ahead);
                continue;
            }
            let Some((octet, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            let at = self.fed;
            self.fed = at.saturating_add(1);
            match self.step(*octet, at)? {
                Progress::NeedMore => {}
                end @ (Progress::Complete | Progress::Http2) => return Ok(end),
            }
        }
        if too_large {
            return Err(Error::TooLarge);
        }
        Ok(Progress::NeedMore)
    }

    /// What is left when so many octets were looked at.
    #[inline]
    fn skip<'a>(&mut self, rest: &'a [u8], octets: usize) -> &'a [u8] {
        // Cannot overflow: what is left is within the limit, which is a u32.
        self.fed = self.fed.saturating_add(octets as u32);
        rest.get(octets..).unwrap_or(&[])
    }

    /// Goes on by several octets where that is plain: as [`step()`](Self::step) would, were it shown one after
    /// the other. Returns how many; 0 when it takes a closer look, or what follows is not here yet.
    #[inline]
    fn leap(&mut self, rest: &[u8]) -> usize {
        match self.state {
            State::Start => {
                if !rest.starts_with(b"GET /") {
                    return 0;
                }
                // The method and the space are four octets.
                let slash = self.fed.saturating_add(4);
                self.head.method = Method::Get;
                self.head.target.start = slash;
                self.head.path.start = slash;
                self.state = State::Path;
                5
            }
            State::Version => {
                // The target `*` has no path, and goes with one method only.
                if self.count != 0 || self.head.path.len == 0 || !rest.starts_with(b"HTTP/1.1\r\n")
                {
                    return 0;
                }
                self.head.version = Version::Http11;
                self.state = State::Line;
                10
            }
            State::Value => {
                if !rest.starts_with(b"\r\n") {
                    return 0;
                }
                self.state = State::Line;
                2
            }
            State::Line => self.leap_name(rest),
            _ => 0,
        }
    }

    /// The same at the beginning of a field: by its name and the colon, and for Host by all of it.
    #[inline]
    fn leap_name(&mut self, rest: &[u8]) -> usize {
        let name = run_of(rest, class::TOKEN);
        let (Some(first), Some(b':')) = (rest.first(), rest.get(name)) else {
            return 0;
        };
        if name == 0 {
            return 0;
        }
        // Within the limit, which is a u32.
        let colon = name.saturating_add(1);
        match Field::of(*first) {
            Some(field) if field.name().len() == name => match field {
                Field::Host => self.leap_host(rest, colon),
                Field::ContentLength | Field::TransferEncoding => 0,
            },
            _ => {
                self.state = State::Value;
                colon
            }
        }
    }

    /// The same for a field of that length, if it is Host with a plain name behind one space and nothing else.
    #[inline]
    fn leap_host(&mut self, rest: &[u8], colon: usize) -> usize {
        let Some((name, b" ")) = rest
            .get(..colon.saturating_add(1))
            .and_then(|field| field.split_at_checked(colon))
        else {
            return 0;
        };
        if self.has_host || !name.eq_ignore_ascii_case(b"host:") {
            return 0;
        }
        let start = name.len().saturating_add(1);
        let value = rest.get(start..).unwrap_or(&[]);
        let len = run_of(value, class::HOST);
        let ends = value.get(len..).is_some_and(|end| end.starts_with(b"\r\n"));
        if len == 0 || !ends {
            return 0;
        }
        self.has_host = true;
        self.host_part = HostPart::Name;
        self.host = Span {
            start: self.fed.saturating_add(start as u32),
            len: len as u32,
        };
        // The host of the target has precedence (RFC 9112, 3.2.2).
        self.head.host.get_or_insert(self.host);
        self.state = State::Line;
        start.saturating_add(len).saturating_add(2)
    }

    /// Looks at the octet at position `at`.
    fn step(&mut self, octet: u8, at: u32) -> Result<Progress, Error> {
        let next = match self.state {
            State::Start => match octet {
                b'\r' => Ok(State::LeadingLineFeed),
                b'\n' => self.leading_line(at),
                _ if is(octet, class::TOKEN) => {
                    self.word = push(0, octet);
                    Ok(State::Method)
                }
                _ => Err(Reason::Method),
            },
            State::LeadingLineFeed => match octet {
                b'\n' => self.leading_line(at),
                _ => Err(Reason::BareCarriageReturn),
            },
            State::Method => match octet {
                b' ' => {
                    self.head.method = Method::of(self.word);
                    self.has_pri = at == PRI.len() as u32 && self.word == pack(PRI);
                    self.head.target.start = self.fed;
                    Ok(State::Target)
                }
                _ if is(octet, class::TOKEN) => {
                    self.word = push(self.word, octet);
                    Ok(State::Method)
                }
                _ => Err(Reason::Method),
            },
            State::Target
            | State::AfterAsterisk
            | State::Scheme
            | State::FirstSlash
            | State::SecondSlash
            | State::Authority
            | State::Tunnel
            | State::Path
            | State::Query => self.target(octet, at),
            State::Version => return self.version(octet),
            State::AfterVersion => match octet {
                b'\r' | b'\n' => Ok(Self::end_line(octet)),
                _ => Err(Reason::Version),
            },
            State::Preface => return self.preface(octet),
            State::LineFeed => match octet {
                b'\n' => Ok(State::Line),
                _ => Err(Reason::BareCarriageReturn),
            },
            State::Line => match octet {
                b'\r' => Ok(State::LastLineFeed),
                b'\n' => return self.complete(),
                b' ' | b'\t' => Err(Reason::Folding),
                b':' => Err(Reason::EmptyName),
                _ if !is(octet, class::TOKEN) => Err(Reason::Name),
                _ => Ok(match Field::of(octet) {
                    Some(field) => {
                        self.field = field;
                        self.count = 1;
                        State::KnownName
                    }
                    None => State::OtherName,
                }),
            },
            State::KnownName | State::OtherName => self.name(octet),
            State::Value => match octet {
                b'\r' | b'\n' => Ok(Self::end_line(octet)),
                _ if is(octet, class::VALUE) => Ok(State::Value),
                _ => Err(Reason::Value),
            },
            State::BeforeHost => match octet {
                b' ' | b'\t' => Ok(State::BeforeHost),
                _ => self.host_value(octet, at),
            },
            State::Host => self.host_value(octet, at),
            State::AfterHost => match octet {
                b' ' | b'\t' => Ok(State::AfterHost),
                b'\r' | b'\n' => Ok(Self::end_line(octet)),
                _ => Err(Reason::Host),
            },
            State::BeforeLength => match octet {
                b' ' | b'\t' => Ok(State::BeforeLength),
                // There must be a digit, and so a line end here is refused, too.
                _ => self.length_digit(octet),
            },
            State::Length => match octet {
                b' ' | b'\t' => self.end_length().map(|()| State::AfterLength),
                b'\r' | b'\n' => self.end_length().map(|()| Self::end_line(octet)),
                _ => self.length_digit(octet),
            },
            State::AfterLength => match octet {
                b' ' | b'\t' => Ok(State::AfterLength),
                b'\r' | b'\n' => Ok(Self::end_line(octet)),
                _ => Err(Reason::ContentLength),
            },
            State::LastLineFeed => match octet {
                b'\n' => return self.complete(),
                _ => Err(Reason::BareCarriageReturn),
            },
        };
        self.state = next.map_err(Error::Malformed)?;
        Ok(Progress::NeedMore)
    }

    /// What follows the CR or LF at the end of a line.
    #[inline]
    fn end_line(octet: u8) -> State {
        if octet == b'\n' {
            State::Line
        } else {
            State::LineFeed
        }
    }

    /// Takes note of an empty line before the request line, whose LF is at `at`.
    fn leading_line(&mut self, at: u32) -> Result<State, Reason> {
        if self.count >= LEADING_LINES {
            return Err(Reason::LeadingLines);
        }
        self.count = self.count.saturating_add(1);
        self.head.leading = at.saturating_add(1);
        Ok(State::Start)
    }

    /// The next octet of the target or the space behind it.
    fn target(&mut self, octet: u8, at: u32) -> Result<State, Reason> {
        // A line that ends here is a request of HTTP/0.9, at best.
        if matches!(octet, b'\r' | b'\n') && self.state != State::Target {
            return Err(Reason::Version);
        }
        match (self.state, octet) {
            (State::Target, _) => match octet {
                _ if self.head.method == Method::Connect => {
                    self.host_part = HostPart::Start;
                    self.authority(octet, at)
                        .then_some(State::Tunnel)
                        .ok_or(Reason::Target)
                }
                b'/' => {
                    self.head.path.start = at;
                    Ok(State::Path)
                }
                b'*' => Ok(State::AfterAsterisk),
                _ if octet.is_ascii_alphabetic() => Ok(State::Scheme),
                _ => Err(Reason::Target),
            },
            (State::AfterAsterisk, b' ') => Ok(self.end_target(at)),
            (State::Scheme, b':') => Ok(State::FirstSlash),
            (State::Scheme, _) if is(octet, class::SCHEME) => Ok(State::Scheme),
            (State::FirstSlash, b'/') => Ok(State::SecondSlash),
            (State::SecondSlash, b'/') => {
                self.host_part = HostPart::Start;
                Ok(State::Authority)
            }
            (State::Authority, b' ' | b'/' | b'?' | b'#') => {
                // An http URI without a host is invalid (RFC 9110, 4.2.1).
                if !self.end_authority(at) || self.host.len == 0 {
                    return Err(Reason::Target);
                }
                self.head.host = Some(self.host);
                self.head.path.start = at;
                Ok(match octet {
                    b' ' => self.end_target(at),
                    b'/' => State::Path,
                    _ => State::Query,
                })
            }
            (State::Authority, _) if self.authority(octet, at) => Ok(State::Authority),
            (State::Tunnel, b' ') => {
                // There must be a port (RFC 9110, 9.3.6). The host is that of the Host field.
                if self.host_part != HostPart::Port || self.host.len == 0 {
                    return Err(Reason::Target);
                }
                Ok(self.end_target(at))
            }
            (State::Tunnel, _) if self.authority(octet, at) => Ok(State::Tunnel),
            (State::Path, b' ') => {
                self.head.path.end_at(at);
                Ok(self.end_target(at))
            }
            // There should be no fragment; if there is, it is not part of the path.
            (State::Path, b'?' | b'#') => {
                self.head.path.end_at(at);
                Ok(State::Query)
            }
            (State::Query, b' ') => Ok(self.end_target(at)),
            (state @ (State::Path | State::Query), _) if is(octet, class::TARGET) => Ok(state),
            _ => Err(Reason::Target),
        }
    }

    /// The target ends before `at`.
    fn end_target(&mut self, at: u32) -> State {
        self.head.target.end_at(at);
        self.word = 0;
        self.count = 0;
        State::Version
    }

    /// The next octet of the version.
    fn version(&mut self, octet: u8) -> Result<Progress, Error> {
        const HTTP10: u64 = pack(b"HTTP/1.0");
        const HTTP11: u64 = pack(b"HTTP/1.1");
        const HTTP20: u64 = pack(b"HTTP/2.0");
        let fits = match self.count {
            0 => octet == b'H',
            1 | 2 => octet == b'T',
            3 => octet == b'P',
            4 => octet == b'/',
            6 => octet == b'.',
            _ => octet.is_ascii_digit(),
        };
        if !fits {
            return Err(Error::Malformed(Reason::Version));
        }
        self.word = push(self.word, octet);
        self.count = self.count.saturating_add(1);
        if self.count < 8 {
            return Ok(Progress::NeedMore);
        }
        let asterisk = self.head.target.len == 1 && self.head.path.len == 0;
        self.head.version = match self.word {
            HTTP20 if self.has_pri && asterisk => {
                // What was read is not longer than the preface.
                self.count = self.fed as u8;
                self.state = State::Preface;
                return Ok(Progress::NeedMore);
            }
            HTTP10 => Version::Http10,
            HTTP11 => Version::Http11,
            _ => return Err(Error::Version),
        };
        // This waits for the version: the preface of HTTP/2 has such a target, too.
        if asterisk && self.head.method != Method::Options {
            return Err(Error::Malformed(Reason::Target));
        }
        self.state = State::AfterVersion;
        Ok(Progress::NeedMore)
    }

    /// The next octet of the preface of HTTP/2.
    fn preface(&mut self, octet: u8) -> Result<Progress, Error> {
        if HTTP2_PREFACE.get(usize::from(self.count)) != Some(&octet) {
            return Err(Error::Malformed(Reason::Preface));
        }
        self.count = self.count.saturating_add(1);
        if usize::from(self.count) < HTTP2_PREFACE.len() {
            return Ok(Progress::NeedMore);
        }
        Ok(Progress::Http2)
    }

    /// The next octet of a field's name or the colon behind it.
    fn name(&mut self, octet: u8) -> Result<State, Reason> {
        match octet {
            b':' => {
                let known = self.field.name().len() == usize::from(self.count);
                if self.state == State::KnownName && known {
                    self.begin_value()
                } else {
                    Ok(State::Value)
                }
            }
            b' ' | b'\t' => Err(Reason::WhitespaceBeforeColon),
            _ if !is(octet, class::TOKEN) => Err(Reason::Name),
            _ => {
                let expected = self.field.name().get(usize::from(self.count));
                if self.state == State::KnownName && expected == Some(&octet.to_ascii_lowercase()) {
                    self.count = self.count.saturating_add(1);
                    Ok(State::KnownName)
                } else {
                    Ok(State::OtherName)
                }
            }
        }
    }

    /// The value of `field` begins.
    fn begin_value(&mut self) -> Result<State, Reason> {
        match self.field {
            Field::Host => {
                if self.has_host {
                    return Err(Reason::SeveralHosts);
                }
                self.has_host = true;
                self.host_part = HostPart::Start;
                Ok(State::BeforeHost)
            }
            Field::ContentLength => {
                if self.has_encoding {
                    return Err(Reason::LengthAndEncoding);
                }
                self.word = 0;
                Ok(State::BeforeLength)
            }
            Field::TransferEncoding => {
                if self.has_length {
                    return Err(Reason::LengthAndEncoding);
                }
                if self.head.version == Version::Http10 {
                    return Err(Reason::EncodingInHttp10);
                }
                self.has_encoding = true;
                Ok(State::Value)
            }
        }
    }

    /// The next octet of the value of Host, or what ends it.
    fn host_value(&mut self, octet: u8, at: u32) -> Result<State, Reason> {
        let next = match octet {
            b' ' | b'\t' => State::AfterHost,
            b'\r' | b'\n' => Self::end_line(octet),
            _ => {
                return self
                    .authority(octet, at)
                    .then_some(State::Host)
                    .ok_or(Reason::Host)
            }
        };
        if !self.end_authority(at) {
            return Err(Reason::Host);
        }
        // The host of the target has precedence (RFC 9112, 3.2.2).
        self.head.host.get_or_insert(self.host);
        Ok(next)
    }

    /// The next octet of a host and port; whether it fits.
    ///
    /// What is within the brackets of an IPv6 address is not looked at closely.
    fn authority(&mut self, octet: u8, at: u32) -> bool {
        let next = match (self.host_part, octet) {
            (HostPart::Start, b'[') => HostPart::Bracket,
            (HostPart::Start | HostPart::Name | HostPart::Closed, b':') => HostPart::Colon,
            (HostPart::Start | HostPart::Name, _) if is(octet, class::HOST) => HostPart::Name,
            (HostPart::Literal, b']') => HostPart::Closed,
            (HostPart::Bracket | HostPart::Literal, _)
                if octet == b':' || is(octet, class::HOST) =>
            {
                HostPart::Literal
            }
            (HostPart::Colon | HostPart::Port, _) => {
                match push_digit(self.word, octet).filter(|port| *port <= PORT_MAX) {
                    Some(port) => {
                        self.word = port;
                        HostPart::Port
                    }
                    None => return false,
                }
            }
            _ => return false,
        };
        if self.host_part == HostPart::Start {
            self.host.start = at;
        }
        if next == HostPart::Colon {
            self.host.end_at(at);
            self.word = 0;
        }
        self.host_part = next;
        true
    }

    /// A host and port ends before `at`; whether it is whole. A host may be empty, and so may a
    /// port.
    fn end_authority(&mut self, at: u32) -> bool {
        match self.host_part {
            HostPart::Start => {
                self.host = Span { start: at, len: 0 };
                true
            }
            HostPart::Name | HostPart::Closed => {
                self.host.end_at(at);
                true
            }
            HostPart::Colon | HostPart::Port => true,
            HostPart::Bracket | HostPart::Literal => false,
        }
    }

    /// The next digit of a Content-Length.
    fn length_digit(&mut self, octet: u8) -> Result<State, Reason> {
        self.word = push_digit(self.word, octet).ok_or(Reason::ContentLength)?;
        Ok(State::Length)
    }

    /// A Content-Length ends.
    fn end_length(&mut self) -> Result<(), Reason> {
        if self.has_length && self.length != self.word {
            return Err(Reason::DifferingContentLength);
        }
        self.has_length = true;
        self.length = self.word;
        Ok(())
    }

    /// The head ends.
    fn complete(&mut self) -> Result<Progress, Error> {
        if self.head.version == Version::Http11 && !self.has_host {
            return Err(Error::Malformed(Reason::MissingHost));
        }
        self.head.len = self.fed;
        Ok(Progress::Complete)
    }
}
