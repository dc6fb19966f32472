// SPDX-License-Identifier: GPL-2.0

//! What the dispatcher may choose by: a request, or a TLS ClientHello, as rules and policies see it.
//!
//! Everything borrows from the octets that the client has sent; nothing is decoded, normalised or
//! copied. What a kind of service does not have is empty: a ClientHello has no path, a request in the
//! clear no ALPN.

use core::net::IpAddr;

use crate::http;

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
    /// What follows the path's `?`, without it.
    pub query: &'a [u8],
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
        let target = part(head.target);
        let path = part(head.path);
        let query = target
            .iter()
            .position(|&octet| octet == b'?')
            .and_then(|at| target.get(at.saturating_add(1)..))
            .unwrap_or(&[]);
        let line = octets
            .get(head.leading as usize..head.len as usize)
            .unwrap_or(&[]);
        let fields = line
            .iter()
            .position(|&octet| octet == b'\n')
            .and_then(|at| line.get(at.saturating_add(1)..))
            .unwrap_or(&[]);
        let method = line.split(|&octet| octet == b' ').next().unwrap_or(&[]);
        Self {
            client,
            method,
            host: head.host.map(part),
            path: if path.is_empty() { b"/" } else { path },
            query,
            fields,
            alpn: b"",
            class: 0,
        }
    }
}
