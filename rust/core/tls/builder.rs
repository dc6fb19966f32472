// SPDX-License-Identifier: GPL-2.0

//! ClientHellos for tests, put together field by field, so that each can be wrong.

use std::{vec, vec::Vec};

pub const SERVER_NAME: u16 = 0;
pub const ALPN: u16 = 16;
pub const PRE_SHARED_KEY: u16 = 41;
pub const EARLY_DATA: u16 = 42;
pub const SUPPORTED_VERSIONS: u16 = 43;
pub const KEY_SHARE: u16 = 51;
pub const ECH: u16 = 0xfe0d;
/// One of the numbers that are reserved for being unknown (RFC 8701).
pub const GREASE: u16 = 0x1a1a;

/// `octets` with their number in front of them, in `width` octets.
pub fn vector(width: usize, octets: &[u8]) -> Vec<u8> {
    let len = octets.len().to_be_bytes();
    [&len[len.len() - width..], octets].concat()
}

/// The content of the extension that names servers.
pub fn server_names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> = names
        .iter()
        .map(|(kind, name)| [&[*kind], &vector(2, name)[..]].concat())
        .collect();
    vector(2, &entries.concat())
}

/// The content of the extension that names protocols.
pub fn protocols(names: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<_> = names.iter().map(|name| vector(1, name)).collect();
    vector(2, &entries.concat())
}

#[derive(Clone, Debug)]
pub struct Builder {
    pub version: u16,
    pub session: Vec<u8>,
    pub suites: Vec<u8>,
    pub compression: Vec<u8>,
    /// Types and contents.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Builder {
    /// A ClientHello with these extensions only.
    pub fn with(extensions: &[(u16, Vec<u8>)]) -> Self {
        Self {
            version: 0x0303,
            session: vec![7; 32],
            suites: vec![0x13, 0x01, 0x13, 0x02],
            compression: vec![0],
            extensions: Some(extensions.to_vec()),
        }
    }

    /// A ClientHello with this server name only.
    pub fn named(name: &[u8]) -> Self {
        Self::with(&[(SERVER_NAME, server_names(&[(0, name)]))])
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([9; 32]);
        body.extend(vector(1, &self.session));
        body.extend(vector(2, &self.suites));
        body.extend(vector(1, &self.compression));
        if let Some(extensions) = &self.extensions {
            let extensions: Vec<_> = extensions
                .iter()
                .map(|(kind, content)| [&kind.to_be_bytes(), &vector(2, content)[..]].concat())
                .collect();
            body.extend(vector(2, &extensions.concat()));
        }
        [&[1], &vector(3, &body)[..]].concat()
    }

    /// The stream, in one record.
    pub fn stream(&self) -> Vec<u8> {
        records(&self.message(), [usize::MAX])
    }
}

/// `octets` in records whose fragments have these lengths, over and over.
pub fn records(
    octets: &[u8],
    lengths: impl IntoIterator<Item = usize, IntoIter: Clone>,
) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = octets;
    for length in lengths.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (fragment, after) = rest.split_at(length.min(rest.len()).min(1 << 14));
        stream.extend([22, 3, 1]);
        stream.extend(vector(2, fragment));
        rest = after;
    }
    stream
}
