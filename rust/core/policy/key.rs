// SPDX-License-Identifier: GPL-2.0

//! What of a request is hashed.

use core::net::IpAddr;

use super::{hash::Hash, Class};
use crate::{
    heap::{Heap, List, OutOfMemory},
    request::Request,
};

/// A part of a request; see [`Value::Key`](super::Value::Key) for how it is written.
pub(super) enum Key<H: Heap> {
    /// The client's address.
    Client,
    /// The host, without regard to case.
    Host,
    /// The path.
    Path,
    /// The path with the query.
    Uri,
    /// The value of the first field line of this name.
    Header(H::List<u8>),
    /// The value of the first cookie of this name.
    Cookie(H::List<u8>),
}

impl<H: Heap> Key<H> {
    /// The key that is written so; the client's address if none is.
    pub(super) fn named(text: &str) -> Result<Self, OutOfMemory> {
        Ok(match text.split_once(':') {
            Some(("header", name)) => Self::Header(copy::<H>(name)?),
            Some(("cookie", name)) => Self::Cookie(copy::<H>(name)?),
            _ => match text {
                "host" => Self::Host,
                "path" => Self::Path,
                "uri" => Self::Uri,
                _ => Self::Client,
            },
        })
    }

    /// The hash of that part of the request; of the client's address if the request lacks it.
    #[inline]
    pub(super) fn class(&self, request: &Request<'_>) -> Class {
        let hash = Hash::new(0);
        let part = match self {
            Self::Client => None,
            Self::Host => {
                if let Some(host) = request.host {
                    return Class::of(host_part(hash, host));
                }
                None
            }
            Self::Path => Some(request.path),
            Self::Uri => Some(request.uri),
            Self::Header(name) => request.field(name),
            Self::Cookie(name) => request.cookie(name),
        };
        Class::of(match part.filter(|part| !part.is_empty()) {
            Some(part) => hash.part(part),
            None => match request.client {
                IpAddr::V4(client) => hash.part(&client.octets()),
                IpAddr::V6(client) => hash.part(&client.octets()),
            },
        })
    }
}

/// Takes a host: neither case nor one dot at its end counts (RFC 3986, section 3.2.2; RFC 1034,
/// section 3.1).
#[inline]
pub(super) fn host_part(hash: Hash, host: &[u8]) -> Hash {
    hash.part_ignoring_case(host.strip_suffix(b".").unwrap_or(host))
}

fn copy<H: Heap>(text: &str) -> Result<H::List<u8>, OutOfMemory> {
    let mut list: H::List<u8> = Default::default();
    for &octet in text.as_bytes() {
        list.try_push(octet)?;
    }
    Ok(list)
}
