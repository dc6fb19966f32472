// SPDX-License-Identifier: GPL-2.0

//! The parser of ClientHellos against itself and against two others.
//!
//! - However a stream is cut, and wherever the headers of records lie, the result is the same.
//! - What is accepted, the crate `tls-parser` takes apart in the same way. It is lenient, and so says
//!   nothing about what is refused.
//! - What the server of the crate `rustls` accepts is accepted, with the same names, save for what
//!   [`objections`] lists. `rustls` is strict about all else that is in a ClientHello.
//!
//! The fuzz target `tls` uses what is outside of the module `properties`.

use thop_core::tls::{Error, Hello, Parser, Progress, Reason, MAX_ALPN};
use tls_parser::{TlsExtension, TlsMessage, TlsMessageHandshake};

/// All that a parser tells.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    result: Result<Progress, Error>,
    hello: Option<Hello>,
    fed: u32,
}

/// Feeds `stream` in pieces of these lengths, over and over.
pub fn parse(
    stream: &[u8],
    limit: u32,
    lengths: impl IntoIterator<Item = usize, IntoIter: Clone>,
) -> Outcome {
    let mut parser = Parser::new(limit);
    let mut result = parser.feed(&[]);
    let mut rest = stream;
    for length in lengths.into_iter().cycle() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        result = parser.feed(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
        assert!(
            result != Ok(Progress::NeedMore) || parser.fed() as usize == stream.len() - rest.len()
        );
    }
    Outcome {
        result,
        hello: parser.hello().cloned(),
        fed: parser.fed(),
    }
}

/// Checks that cutting `stream` into pieces of `lengths`, not all zero, changes nothing.
pub fn check_segmentation(stream: &[u8], limit: u32, lengths: &[usize]) {
    let whole = parse(stream, limit, [stream.len()]);
    assert_eq!(parse(stream, limit, lengths.iter().copied()), whole);
    assert_eq!(parse(stream, limit, [1]), whole);

    // Nothing behind the end is looked at, and the limit is what it says.
    assert!(whole.fed <= limit && whole.fed as usize <= stream.len());
    let exact = parse(&stream[..whole.fed as usize], limit, [1]);
    match whole.result {
        // That may be known from a length, or only when the octets are there.
        Err(Error::TooLarge) => assert!(exact == whole || whole.fed == limit),
        _ => assert_eq!(exact, whole),
    }
    let complete = whole.result == Ok(Progress::Complete);
    assert_eq!(whole.hello.is_some(), complete);
    if let Some(hello) = &whole.hello {
        assert_eq!(hello.len, whole.fed);
        let tight = parse(stream, whole.fed, [stream.len()]);
        assert_eq!(tight, whole);
        let tighter = parse(stream, whole.fed - 1, [stream.len()]);
        assert_eq!(tighter.result, Err(Error::TooLarge));
    }
}

/// Checks that other records for the same message change nothing but the length of the stream.
pub fn check_records(stream: &[u8], length: usize) {
    let Some(mut hello) = parse(stream, u32::MAX, [stream.len()]).hello else {
        return;
    };
    let message = fragments(&stream[..hello.len as usize]);
    let mut other = Vec::new();
    for fragment in message.chunks(length) {
        other.extend([22, 3, 3]);
        other.extend((fragment.len() as u16).to_be_bytes());
        other.extend(fragment);
    }
    let told = parse(&other, u32::MAX, [other.len()]).hello;
    hello.len = other.len() as u32;
    assert_eq!(told, Some(hello));
}

/// What the records in `stream` carry, the last of which may be cut off.
fn fragments(stream: &[u8]) -> Vec<u8> {
    let mut fragments = Vec::new();
    let mut rest = stream;
    while let Some((header, after)) = rest.split_first_chunk::<5>() {
        let length = (usize::from(header[3]) << 8) | usize::from(header[4]);
        let (fragment, after) = after.split_at(length.min(after.len()));
        fragments.extend(fragment);
        rest = after;
    }
    fragments
}

/// Whether the last record of `stream` is not whole.
fn is_cut_off(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Some((header, after)) = rest.split_first_chunk::<5>() {
        let length = (usize::from(header[3]) << 8) | usize::from(header[4]);
        match after.get(length..) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    !rest.is_empty()
}

/// What `tls-parser` finds in a message.
#[derive(Debug, Default, PartialEq)]
struct Found {
    names: Vec<(u8, Vec<u8>)>,
    /// Whether there is something else among the names.
    garbage: bool,
    protocols: Vec<Vec<u8>>,
    early_data: bool,
    ech: bool,
}

/// Takes a message apart with `tls-parser`; `None` if that fails.
fn take_apart(message: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    let (_, parsed) = tls_parser::parse_tls_message_handshake(message).ok()?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
        return None;
    };
    let mut rest = hello.ext.unwrap_or_default();
    while let Some((header, _)) = rest.split_first_chunk::<4>() {
        let [kind, length] =
            [0, 2].map(|at| (usize::from(header[at]) << 8) | usize::from(header[at + 1]));
        let (extension, after) = rest.split_at_checked(4 + length)?;
        rest = after;
        // Others may have any content, and `tls-parser` expects more of some than they have.
        if ![0, 16, 42, 0xfe0d].contains(&kind) {
            continue;
        }
        match tls_parser::parse_tls_client_hello_extension(extension)
            .ok()?
            .1
        {
            TlsExtension::SNI(names) => {
                let names = names.iter().map(|(kind, name)| (kind.0, name.to_vec()));
                found.names.extend(names);
                // It ends at what it cannot read as a name.
                let read = found.names.iter().map(|(_, name)| 3 + name.len());
                found.garbage = 2 + read.sum::<usize>() != length;
            }
            TlsExtension::ALPN(names) => {
                found
                    .protocols
                    .extend(names.iter().map(|name| name.to_vec()));
            }
            TlsExtension::EarlyData(_) => found.early_data = true,
            TlsExtension::Unknown(..) => found.ech = true,
            _ => return None,
        }
    }
    Some(found)
}

/// The first names of those that fit, with their lengths, into [`MAX_ALPN`] octets.
fn kept(protocols: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut total = 0;
    let fits = |name: &&Vec<u8>| {
        total += 1 + name.len();
        total <= MAX_ALPN
    };
    protocols.iter().take_while(fits).cloned().collect()
}

/// Checks that the two oracles agree with the parser.
pub fn check_oracles(stream: &[u8]) {
    let ours = parse(stream, u32::MAX, [stream.len()]);
    let message = fragments(stream);
    let protocols = |hello: &Hello| hello.protocols().map(<[u8]>::to_vec).collect::<Vec<_>>();
    if let Some(hello) = &ours.hello {
        let found = take_apart(&fragments(&stream[..hello.len as usize])).unwrap();
        let name = hello.server_name().map(|name| (0, name.to_vec()));
        assert_eq!(Vec::from_iter(name), found.names);
        assert!(!found.garbage);
        assert_eq!(protocols(hello), kept(&found.protocols));
        assert_eq!(hello.early_data, found.early_data);
        assert_eq!(hello.ech, found.ech);
    }

    match (ours.result, accept(stream)) {
        (
            Ok(Progress::Complete),
            Judgement::Accepted {
                name,
                protocols: theirs,
            },
        ) => {
            let hello = ours.hello.unwrap();
            let ours = hello.server_name().map(<[u8]>::to_ascii_lowercase);
            assert_eq!(
                ours,
                name.map(|name| name.to_ascii_lowercase().into_bytes())
            );
            assert_eq!(protocols(&hello), kept(&theirs));
        }
        (Err(error), Judgement::Accepted { .. }) => {
            let objections = objections(&message);
            assert!(
                matches!(error, Error::Malformed(reason) if objections.contains(&reason)),
                "{error:?} {objections:?}"
            );
        }
        (Ok(Progress::NeedMore), Judgement::Accepted { .. }) => panic!("there is more than needed"),
        // They wait for the end of the record, even if there is more in it than there may be.
        (Ok(Progress::Complete), Judgement::NeedMore) => assert!(is_cut_off(stream)),
        // They expect more of a ClientHello, and say so early or late.
        (_, Judgement::Refused | Judgement::NeedMore) => {}
    }
}

/// Why a message that `rustls` accepts is to be refused; more than one reason may be there.
fn objections(message: &[u8]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if matches!(message.get(4..6), Some([..3, _] | [3, 0])) {
        reasons.push(Reason::Version);
    }
    // They take an address for no name, and a dot at the end for a part of one.
    let good = |name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        name.parse::<std::net::IpAddr>().is_err() && !name.ends_with('.')
    };
    let found = take_apart(message).unwrap_or_default();
    if found.garbage || !matches!(&found.names[..], [(0, name)] if good(name)) {
        reasons.push(Reason::ServerName);
    }
    reasons
}

/// What the server of `rustls` says.
enum Judgement {
    NeedMore,
    Refused,
    Accepted {
        name: Option<String>,
        protocols: Vec<Vec<u8>>,
    },
}

fn accept(stream: &[u8]) -> Judgement {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = stream;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Judgement::Refused;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().into_iter().flatten();
                return Judgement::Accepted {
                    name: hello.server_name().map(str::to_owned),
                    protocols: protocols.map(<[u8]>::to_vec).collect(),
                };
            }
            Err(_) => return Judgement::Refused,
        }
    }
    Judgement::NeedMore
}

#[cfg(test)]
#[allow(dead_code, reason = "the unit tests use the rest")]
#[path = "../tls/builder.rs"]
mod builder;

#[cfg(test)]
mod properties {
    use super::{builder::*, *};
    use proptest::{collection::vec, prelude::*, sample::select};
    use rustls::{
        client::{ClientConfig, ClientConnection},
        crypto::{ring, ActiveKeyExchange, SharedSecret, SupportedKxGroup},
        ffdhe_groups::FfdheGroup,
        NamedGroup, RootCertStore,
    };
    use std::sync::Arc;

    /// What a real client sent. tests/tls/README.md says how it was recorded.
    #[derive(Clone, Copy, Debug)]
    struct Recorded {
        stream: &'static [u8],
        server_name: Option<&'static str>,
        alpn: &'static [u8],
        early_data: bool,
    }

    const RECORDED: [Recorded; 9] = [
        Recorded {
            stream: include_bytes!("tls/openssl-tls1.3.bin"),
            server_name: Some("www.example.org"),
            alpn: b"\x02h2\x08http/1.1",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/openssl-tls1.2.bin"),
            server_name: Some("WWW.Example.ORG"),
            alpn: b"",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/openssl-no-name.bin"),
            server_name: None,
            alpn: b"",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/openssl-records.bin"),
            server_name: Some("www.example.org"),
            alpn: b"\x02h2\x08http/1.1",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/openssl-early-data.bin"),
            server_name: Some("www.example.org"),
            alpn: b"",
            early_data: true,
        },
        Recorded {
            stream: include_bytes!("tls/openssl-3.0.bin"),
            server_name: Some("www.example.org"),
            alpn: b"\x08http/1.1",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/curl.bin"),
            server_name: Some("img.example.com"),
            alpn: b"\x02h2\x08http/1.1",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/node.bin"),
            server_name: Some("node.example.org"),
            alpn: b"\x02h2\x08http/1.1",
            early_data: false,
        },
        Recorded {
            stream: include_bytes!("tls/java.bin"),
            server_name: Some("java.example.org"),
            alpn: b"\x02h2\x08http/1.1",
            early_data: false,
        },
    ];

    #[test]
    fn recorded_clients() {
        for recorded in RECORDED {
            let stream = recorded.stream;
            check_oracles(stream);
            assert!(matches!(accept(stream), Judgement::Accepted { .. }));
            let hello = parse(stream, 16384, [stream.len()]).hello.unwrap();
            let name = recorded.server_name.map(str::as_bytes);
            assert_eq!(hello.server_name(), name);
            assert_eq!(hello.alpn(), recorded.alpn);
            assert_eq!(hello.early_data, recorded.early_data);
            assert!(!hello.ech);
            // Only early data follow.
            let is_all = hello.len as usize == stream.len();
            assert_eq!(is_all, !recorded.early_data);
        }
    }

    /// A key exchange with keys as long as those of X25519MLKEM768.
    #[derive(Debug)]
    struct Long;

    impl SupportedKxGroup for Long {
        fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
            Ok(Box::new(Long))
        }

        fn name(&self) -> NamedGroup {
            NamedGroup::X25519MLKEM768
        }

        fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
            None
        }
    }

    impl ActiveKeyExchange for Long {
        fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, rustls::Error> {
            unreachable!("there is no server")
        }

        fn pub_key(&self) -> &[u8] {
            &[0x5a; 1216]
        }

        fn group(&self) -> NamedGroup {
            NamedGroup::X25519MLKEM768
        }
    }

    /// What the client of `rustls` sends first.
    fn client(name: &str, alpn: &[Vec<u8>], long: bool, fragment: Option<usize>) -> Vec<u8> {
        let mut provider = ring::default_provider();
        if long {
            provider.kx_groups.insert(0, &Long);
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.to_vec();
        config.max_fragment_size = fragment;
        let name = name.to_owned().try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut stream).unwrap();
        }
        stream
    }

    /// ClientHellos that are sound, of all sorts.
    fn sound() -> impl Strategy<Value = Vec<u8>> {
        let recorded = select(&RECORDED[..]).prop_map(|recorded| recorded.stream.to_vec());
        let built = (of_parts(), vec(1..2000_usize, 1..3))
            .prop_map(|(hello, lengths)| records(&hello.message(), lengths));
        prop_oneof![1 => recorded, 2 => built]
    }

    fn label() -> impl Strategy<Value = Vec<u8>> {
        let octet = || select(&b"abcXYZ019-_"[..]);
        prop_oneof![8 => vec(octet(), 1..6), 1 => vec(octet(), 60..66), 1 => vec(any::<u8>(), 0..3)]
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            1 => Just(b"www.example.org".to_vec()),
            1 => select(&["192.0.2.1", "::1", "a.", "1.2.3", "x.1"][..])
                .prop_map(|name| name.as_bytes().to_vec()),
            4 => vec(label(), 1..6).prop_map(|labels| labels.join(&b'.')),
        ]
    }

    /// A ClientHello that `rustls` accepts if the parts are sound.
    fn of_parts() -> impl Strategy<Value = Builder> {
        let names = prop_oneof![
            8 => name().prop_map(|name| server_names(&[(0, &name)])),
            1 => (name(), name(), any::<bool>())
                .prop_map(|(a, b, kind)| server_names(&[(0, &a), (u8::from(kind), &b)])),
            1 => vec(any::<u8>(), 0..8),
        ];
        let protocol = prop_oneof![
            4 => select(&["h2", "http/1.1", "acme-tls/1"][..]).prop_map(|name| name.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..160),
        ];
        let alpn = vec(protocol, 0..5).prop_map(|names| {
            let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
            protocols(&names)
        });
        let extension = prop_oneof![
            4 => names.prop_map(|content| (SERVER_NAME, content)),
            4 => alpn.prop_map(|content| (ALPN, content)),
            1 => Just((EARLY_DATA, vec![])),
            1 => Just((ECH, vec![0; 90])),
            1 => Just((PRE_SHARED_KEY, vec![0, 7, 0, 1, 9, 0, 0, 0, 0, 0, 33, 32]
                .into_iter().chain([5; 32]).collect())),
            1 => Just((SUPPORTED_VERSIONS, vec![4, 3, 4, 3, 3])),
            2 => (any::<u16>(), vec(any::<u8>(), 0..300)),
        ];
        // The signature algorithms, without which `rustls` does not go on.
        let signatures = (13, vec![0, 4, 4, 3, 8, 4]);
        let extensions = vec(extension, 0..5).prop_map(move |mut extensions| {
            extensions.insert(0, signatures.clone());
            // Mostly in its place.
            extensions.sort_by_key(|(kind, _)| *kind == PRE_SHARED_KEY);
            extensions
        });
        let version = prop_oneof![9 => Just(0x0303), 1 => 0x02fe_u16..0x0305];
        let session = prop_oneof![9 => Just(32), 1 => 0..34_usize];
        let suites = prop_oneof![9 => Just(4), 1 => 0..9_usize];
        (extensions, version, session, suites).prop_map(|(extensions, version, session, suites)| {
            Builder {
                version,
                session: vec![3; session],
                suites: [0x13, 0x01].into_iter().cycle().take(suites).collect(),
                ..Builder::with(&extensions)
            }
        })
    }

    /// ClientHellos of all sorts with a few octets changed, left out, or put in.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
        (sound(), vec(change, 0..4)).prop_map(|(mut stream, changes)| {
            for (at, kind, octet) in changes {
                // Most of what counts is in front.
                let len = stream.len().min(256 + usize::from(octet) * 8);
                let at = at.index(len.max(1)).min(stream.len().saturating_sub(1));
                match kind {
                    _ if stream.is_empty() => stream.push(octet),
                    0 => stream[at] = octet,
                    1 => {
                        stream[at] =
                            stream[at].wrapping_add_signed(if octet < 128 { 1 } else { -1 })
                    }
                    2 => stream.insert(at, octet),
                    _ => drop(stream.remove(at)),
                }
            }
            stream
        })
    }

    /// How a stream may be cut.
    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        vec(0..600_usize, 1..4).prop_map(|mut lengths| {
            lengths.push(1);
            lengths
        })
    }

    fn limit() -> impl Strategy<Value = u32> {
        prop_oneof![4 => Just(16384), 1 => Just(u32::MAX), 2 => 0..2000_u32]
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(stream in mutated(), limit in limit(), lengths in lengths()) {
            check_segmentation(&stream, limit, &lengths);
        }

        #[test]
        fn cuts_of_any_octets_change_nothing(
            stream in vec(any::<u8>(), 0..100),
            limit in limit(),
            lengths in lengths(),
        ) {
            let framed = records(&stream, [30]);
            check_segmentation(&framed, limit, &lengths);
            check_segmentation(&stream, limit, &lengths);
        }

        #[test]
        fn records_change_nothing(stream in mutated(), length in 1..700_usize) {
            check_records(&stream, length);
        }

        #[test]
        fn parts_are_judged_as_by_others(stream in sound()) {
            check_oracles(&stream);
        }

        #[test]
        fn mutated_hellos_are_judged_as_by_others(stream in mutated()) {
            check_oracles(&stream);
        }

        #[test]
        fn clients_are_understood(
            labels in vec("[a-z]([a-z0-9-]{0,20}[a-z0-9])?", 1..5),
            alpn in vec(vec(any::<u8>(), 1..40), 0..4),
            long: bool,
            fragment in prop_oneof![1 => Just(None), 2 => (32..600_usize).prop_map(Some)],
            lengths in lengths(),
        ) {
            let name = labels.join(".");
            let stream = client(&name, &alpn, long, fragment);
            check_segmentation(&stream, 16384, &lengths);
            check_oracles(&stream);
            let hello = parse(&stream, 16384, [stream.len()]).hello.unwrap();
            prop_assert_eq!(hello.server_name(), Some(name.as_bytes()));
            let told: Vec<_> = hello.protocols().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(told, kept(&alpn));
            prop_assert_eq!(hello.len as usize, stream.len());
            prop_assert!(!long || stream.len() > 1216);
        }
    }
}
