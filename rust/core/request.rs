// SPDX-License-Identifier: GPL-2.0

//! What the dispatcher may choose by: a request, or a TLS ClientHello, as rules and policies see it.
//!
//! Everything borrows from the octets that the client has sent; nothing is decoded, normalised or
//! copied. What a kind of service does not have is empty: a ClientHello has no path, a request in the
//! clear no ALPN.
//!
//! A client may send what nobody sends to make somebody search. So of each request only so many
//! field lines, cookies, query parameters and protocol names are looked at, the first ones; what is
//! behind them is as if it were not there. Browsers and servers have limits of their own, most of
//! them lower.

use core::net::IpAddr;

use crate::http;

/// How many field lines of a request are looked at.
pub const MAX_FIELDS: usize = 128;
/// How many cookies of a request are looked at, in all its Cookie field lines together.
pub const MAX_COOKIES: usize = 128;
/// How many parameters of a query are looked at.
pub const MAX_PARAMETERS: usize = 128;
/// How many protocol names of a ClientHello are looked at.
pub const MAX_PROTOCOLS: usize = 32;

/// A request before it has a server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub client: IpAddr,
    /// The method (RFC 9110, section 9). Empty for TLS and HTTP/2.
    pub method: &'a [u8],
    /// The host without its port, or the server name of a ClientHello (RFC 6066, section 3).
    pub host: Option<&'a [u8]>,
    /// The path as it came; `/` for a target that has none.
    pub path: &'a [u8],
    /// What follows the path's `?`, without it, and without a fragment.
    pub query: &'a [u8],
    /// The path and, if there is one, the `?` and the query behind it, as they came; `/` for a
    /// target that has neither.
    pub uri: &'a [u8],
    /// The field lines (RFC 9112, section 5), from the first on.
    pub fields: &'a [u8],
    /// The protocol names that a ClientHello offers, each behind its length (RFC 7301, section 3.1).
    pub alpn: &'a [u8],
    /// The service class of the route that the request took; 0 if it has none.
    pub class: u16,
}

impl<'a> Request<'a> {
    /// Of `client` nothing else is known.
    pub const fn of(client: IpAddr) -> Self {
        Self {
            client,
            method: b"",
            host: None,
            path: b"",
            query: b"",
            uri: b"",
            fields: b"",
            alpn: b"",
            class: 0,
        }
    }

    /// A request in HTTP/1.x whose head is the beginning of `octets`.
    ///
    /// Positions that `octets` does not have, being another head's, give empty parts.
    pub fn http(client: IpAddr, head: &http::Head, octets: &'a [u8]) -> Self {
        let part = |span: http::Span| {
            let start = span.start as usize;
            octets
                .get(start..start.saturating_add(span.len as usize))
                .unwrap_or(&[])
        };
        let path = part(head.path);
        // A target has no `?` and no `#` before its path. The parser lets a fragment pass, which
        // clients should not send (RFC 9112, section 3.2.1); it belongs to neither part.
        let target = before(part(head.target), b'#');
        let query = behind(target, b'?');
        let before_path = match path.is_empty() {
            true => before(target, b'?').len(),
            false => head.path.start.saturating_sub(head.target.start) as usize,
        };
        let uri = target.get(before_path..).unwrap_or(&[]);
        let line = octets
            .get(head.leading as usize..head.len as usize)
            .unwrap_or(&[]);
        let fields = behind(line, b'\n');
        let method = before(line, b' ');
        Self {
            client,
            method,
            host: head.host.map(part),
            path: if path.is_empty() { b"/" } else { path },
            query,
            uri: if uri.is_empty() { b"/" } else { uri },
            fields,
            alpn: b"",
            class: 0,
        }
    }
    /// The field lines, at most [`MAX_FIELDS`]: each one's name as it came, and its value without
    /// the whitespace around it (RFC 9112, section 5). What is no field line is left out.
    pub fn field_lines(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        self.fields
            .split(|&octet| octet == b'\n')
            .take_while(|line| !matches!(line, [] | [b'\r']))
            .take(MAX_FIELDS)
            .filter_map(|line| pair(line, b':'))
            .map(|(name, value)| (name, value.trim_ascii()))
    }

    /// The values of all field lines of this name, whose case does not matter.
    pub fn field_values<'n>(
        &self,
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a, 'n> {
        self.field_lines()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of the first field line of this name, whose case does not matter.
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.field_values(name).next()
    }

    /// The names and values of the cookies (RFC 6265, section 4.2.1), at most [`MAX_COOKIES`], of
    /// all Cookie field lines. A value keeps its quotes. What has no `=` is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        self.field_values(b"cookie")
            .flat_map(cookie_pieces)
            .take(MAX_COOKIES)
            .filter_map(cookie_pair)
    }

    /// The value of the first cookie of this name, whose case matters.
    pub fn cookie(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut cookies = self.cookies();
        cookies
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The parameters of the query, at most [`MAX_PARAMETERS`]: what `&` separates, each a name and
    /// what is behind its first `=`. Without a `=` the value is empty, as it is for HTML forms.
    /// Nothing is decoded.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        self.query
            .split(|&octet| octet == b'&')
            .take(MAX_PARAMETERS)
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| pair(parameter, b'=').unwrap_or((parameter, &[])))
    }

    /// The values of all parameters of this name in the query.
    pub fn query_values<'n>(
        &self,
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a, 'n> {
        self.parameters()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The protocol names that a ClientHello offers, at most [`MAX_PROTOCOLS`]; up to the first that
    /// is empty or not whole (RFC 7301, section 3.1).
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut rest = self.alpn;
        core::iter::from_fn(move || {
            let (&len, names) = rest.split_first()?;
            let (name, after) = names.split_at_checked(usize::from(len))?;
            rest = after;
            (!name.is_empty()).then_some(name)
        })
        .fuse()
        .take(MAX_PROTOCOLS)
    }

    /// Whether a ClientHello offers this protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.protocols().any(|name| name == protocol)
    }
}

/// The pieces of a Cookie field line's value.
pub(crate) fn cookie_pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value.split(|&octet| octet == b';')
}

/// The name and the value of a cookie.
pub(crate) fn cookie_pair(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    pair(piece.trim_ascii(), b'=')
}

/// What is before and what is behind the first `mark`; `None` if there is no mark.
fn pair(octets: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = octets.iter().position(|&octet| octet == mark)?;
    let (before, after) = octets.split_at_checked(at)?;
    Some((before, after.get(1..)?))
}

/// What is before the first `mark`; everything if there is none.
fn before(octets: &[u8], mark: u8) -> &[u8] {
    pair(octets, mark).map_or(octets, |(before, _)| before)
}

/// What is behind the first `mark`; nothing if there is none.
fn behind(octets: &[u8], mark: u8) -> &[u8] {
    pair(octets, mark).map_or(&[], |(_, behind)| behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn request(octets: &[u8]) -> Request<'_> {
        let mut parser = http::Parser::new(u32::MAX);
        assert_eq!(parser.feed(octets), Ok(http::Progress::Complete));
        Request::http(CLIENT, parser.head().unwrap(), octets)
    }

    #[test]
    fn the_parts_of_a_target() {
        for (target, path, query, uri) in [
            ("/", "/", "", "/"),
            ("/?", "/", "", "/?"),
            ("/a?b=c?d", "/a", "b=c?d", "/a?b=c?d"),
            ("/a?b#c?d", "/a", "b", "/a?b"),
            ("/a#b?c", "/a", "", "/a"),
            ("http://h", "/", "", "/"),
            ("http://h?q/r", "/", "q/r", "?q/r"),
            ("http://h#q?r", "/", "", "/"),
            ("http://h/a?b", "/a", "b", "/a?b"),
        ] {
            for lead in ["", "\r\n"] {
                let head = std::format!("{lead}GET {target} HTTP/1.1\r\nHost: h\r\n\r\nbody");
                let request = request(head.as_bytes());
                assert_eq!(request.method, b"GET");
                assert_eq!(request.path, path.as_bytes(), "{target}");
                assert_eq!(request.query, query.as_bytes(), "{target}");
                assert_eq!(request.uri, uri.as_bytes(), "{target}");
                assert_eq!(request.fields, b"Host: h\r\n\r\n");
            }
        }
        for (method, target) in [("OPTIONS", "*"), ("CONNECT", "h:1")] {
            let head = std::format!("{method} {target} HTTP/1.1\nHost: h\n\n");
            let request = request(head.as_bytes());
            assert_eq!(
                (request.path, request.query, request.uri),
                (&b"/"[..], &b""[..], &b"/"[..])
            );
        }
    }

    #[test]
    fn fields() {
        let request = request(
            b"GET / HTTP/1.1\r\nHost: h\r\nX-a: 1\nEmpty:\r\nx-A:\t 2 3 \r\nX-AB: 4\r\n\r\nX-A: 5\r\n",
        );
        let values: Vec<_> = request.field_values(b"X-A").collect();
        assert_eq!(values, [&b"1"[..], b"2 3"]);
        assert_eq!(request.field(b"empty"), Some(&b""[..]));
        assert_eq!(request.field(b"x-abc"), None);
        assert_eq!(request.field(b""), None);
    }

    #[test]
    fn cookies() {
        let request = request(
            b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=\"2\";c; =5;d==6;\r\nCookie2: e=7\r\n\
              cookie: a=8; A=9;f=\r\n\r\n",
        );
        for (name, value) in [
            ("a", "1"),
            ("b", "\"2\""),
            ("", "5"),
            ("d", "=6"),
            ("A", "9"),
            ("f", ""),
        ] {
            assert_eq!(
                request.cookie(name.as_bytes()),
                Some(value.as_bytes()),
                "{name}"
            );
        }
        assert_eq!(request.cookie(b"c"), None);
        assert_eq!(request.cookie(b"e"), None);
    }

    #[test]
    fn parameters() {
        let request = Request {
            query: b"a=1&b&&a=2=3&=4&c=%61&",
            ..Request::of(CLIENT)
        };
        let values = |name: &str| -> Vec<_> { request.query_values(name.as_bytes()).collect() };
        assert_eq!(values("a"), [&b"1"[..], b"2=3"]);
        assert_eq!(values("b"), [&b""[..]]);
        assert_eq!(values(""), [&b"4"[..]]);
        assert_eq!(values("c"), [&b"%61"[..]]);
        assert!(values("d").is_empty());
    }

    #[test]
    fn protocols() {
        let of = |alpn| Request {
            alpn,
            ..Request::of(CLIENT)
        };
        let whole = of(b"\x02h2\x08http/1.1");
        assert!(whole.offers(b"h2") && whole.offers(b"http/1.1"));
        assert!(!whole.offers(b"http/1.0") && !whole.offers(b""));
        let cut = of(b"\x02h2\x08http/1");
        assert!(cut.offers(b"h2"));
        assert_eq!(cut.protocols().count(), 1);
        assert_eq!(of(b"\x00\x02h2").protocols().count(), 0);
        assert_eq!(of(b"").protocols().count(), 0);
    }

    #[test]
    fn only_so_much_is_looked_at() {
        let mut head = std::string::String::from("Cookie: ");
        head += &"x=1;".repeat(MAX_COOKIES - 1);
        head += "in=1;out=1\n";
        head += &"x: 1\n".repeat(MAX_FIELDS - 2);
        head += "in: 1\nout: 1\n";
        let query = "x&".repeat(MAX_PARAMETERS - 1) + "in&out";
        let alpn = "\x01x".repeat(MAX_PROTOCOLS - 1) + "\x02in\x03out";
        let request = Request {
            fields: head.as_bytes(),
            query: query.as_bytes(),
            alpn: alpn.as_bytes(),
            ..Request::of(CLIENT)
        };
        let looked_at = |name: &[u8]| {
            [
                request.field(name).is_some(),
                request.cookie(name).is_some(),
                request.query_values(name).next().is_some(),
                request.offers(name),
            ]
        };
        assert_eq!(looked_at(b"in"), [true; 4]);
        assert_eq!(looked_at(b"out"), [false; 4]);
    }
}
