// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the ClientHello parser.

use super::*;
use builder::*;
use std::{string::ToString, vec, vec::Vec};

#[path = "builder.rs"]
mod builder;

const LIMIT: u32 = 16384;

/// The ClientHello of a stream that begins with one.
#[track_caller]
fn hello(stream: &[u8]) -> Hello {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(stream), Ok(Progress::Complete));
    let hello = parser.hello().unwrap();
    assert_eq!(parser.fed(), hello.len);
    hello.clone()
}

/// Checks that the stream is refused for the octet at `at`, not before.
#[track_caller]
fn assert_error_at(stream: &[u8], at: usize, error: Error) {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(&stream[..at]), Ok(Progress::NeedMore));
    assert_eq!(parser.feed(&stream[at..at + 1]), Err(error));
    assert_eq!(parser.hello(), None);
    assert_eq!(parser.fed() as usize, at + 1);
    assert!(!error.to_string().is_empty());
}

/// Checks that the stream is refused, wherever that is found.
#[track_caller]
fn assert_malformed(stream: &[u8], reason: Reason) {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(stream), Err(Error::Malformed(reason)));
    assert_eq!(parser.hello(), None);
    assert!(!reason.to_string().is_empty());
}

#[track_caller]
fn assert_extension_refused(kind: u16, content: &[u8], reason: Reason) {
    assert_malformed(&Builder::with(&[(kind, content.to_vec())]).stream(), reason);
    // The same with something behind it that lengths may reach into.
    let more = [(kind, content.to_vec()), (GREASE, vec![0; 600])];
    assert_malformed(&Builder::with(&more).stream(), reason);
}

#[test]
fn a_hello_as_of_a_browser() {
    let stream = Builder {
        suites: vec![0x2a, 0x2a, 0x13, 0x01, 0x00, 0x9c],
        ..Builder::with(&[
            (GREASE, vec![]),
            (SERVER_NAME, server_names(&[(0, b"www.Example.org")])),
            (23, vec![]),
            (ALPN, protocols(&[&[0x3a, 0x3a], b"h2", b"http/1.1"])),
            (ECH, vec![0; 281]),
            (KEY_SHARE, vec![0; 1263]),
            (SUPPORTED_VERSIONS, vec![6, 0x2a, 0x2a, 3, 4, 3, 3]),
            (0xfafa, vec![0]),
        ])
    }
    .stream();
    let hello = hello(&[&stream[..], b"\x17\x03\x03"].concat());
    assert_eq!(hello.len as usize, stream.len());
    assert_eq!(hello.server_name(), Some(&b"www.Example.org"[..]));
    assert_eq!(hello.alpn(), b"\x02\x3a\x3a\x02h2\x08http/1.1");
    let names: Vec<_> = hello.protocols().collect();
    assert_eq!(names, [b"\x3a\x3a", &b"h2"[..], b"http/1.1"]);
    assert!(hello.ech);
    assert!(!hello.early_data);
}

#[test]
fn nothing_to_be_told() {
    for extensions in [None, Some(vec![]), Some(vec![(GREASE, vec![])])] {
        let stream = Builder {
            session: vec![],
            extensions,
            ..Builder::with(&[])
        }
        .stream();
        let hello = hello(&stream);
        assert_eq!(hello.len as usize, stream.len());
        assert_eq!(hello.server_name(), None);
        assert_eq!(hello.alpn(), b"");
        assert_eq!(hello.protocols().next(), None);
        assert!(!hello.ech && !hello.early_data);
    }
}

#[test]
fn early_data_and_its_key() {
    let extensions = [(EARLY_DATA, vec![]), (PRE_SHARED_KEY, vec![1; 90])];
    assert!(hello(&Builder::with(&extensions).stream()).early_data);
    let extensions = [(PRE_SHARED_KEY, vec![1; 90]), (EARLY_DATA, vec![])];
    assert_malformed(&Builder::with(&extensions).stream(), Reason::PskNotLast);
    assert_extension_refused(EARLY_DATA, &[0], Reason::Length);
}

#[test]
fn headers_of_records_lie_anywhere() {
    let message = Builder::with(&[
        (SERVER_NAME, server_names(&[(0, b"a.example")])),
        (ALPN, protocols(&[b"h2", b"http/1.1"])),
        (PRE_SHARED_KEY, vec![0; 9]),
    ])
    .message();
    for at in 1..message.len() {
        let stream = records(&message, [at, message.len()]);
        let hello = hello(&stream);
        assert_eq!(hello.len as usize, stream.len());
        assert_eq!(hello.server_name(), Some(&b"a.example"[..]));
        assert_eq!(hello.alpn(), b"\x02h2\x08http/1.1");
    }
    let hello = hello(&records(&message, [1]));
    assert_eq!(hello.len as usize, 6 * message.len());
    assert_eq!(hello.server_name(), Some(&b"a.example"[..]));
}

#[test]
fn headers_of_records() {
    let stream = Builder::named(b"a").stream();
    let refused_at = |at: usize, octet: u8, reason| {
        let mut stream = stream.clone();
        stream[at] = octet;
        assert_error_at(&stream, at, Error::Malformed(reason));
    };
    // Change of cipher, alert, application data, SSL 2.0, HTTP.
    for octet in [20, 21, 23, 0x80, b'G', 0] {
        refused_at(0, octet, Reason::ContentType);
    }
    for octet in [0, 2, 4, 0xfe] {
        refused_at(1, octet, Reason::RecordVersion);
    }
    for minor in 0..=255 {
        let mut stream = stream.clone();
        stream[2] = minor;
        hello(&stream);
    }
    assert_error_at(&[22, 3, 1, 0, 0], 4, Error::Malformed(Reason::EmptyRecord));
    for length in [[0x40, 0x01], [0x41, 0x00], [0xff, 0xff]] {
        let stream = [22, 3, 1, length[0], length[1]];
        assert_error_at(&stream, 4, Error::Malformed(Reason::RecordLength));
    }
    let mut parser = Parser::new(LIMIT);
    let longest = [22, 3, 1, 0x40, 0x00, 1];
    assert_eq!(parser.feed(&longest), Ok(Progress::NeedMore));
    // Nothing may come between the records of a message, not even at its end.
    let message = Builder::named(b"a").message();
    for at in 1..message.len() {
        let mut stream = records(&message, [at, message.len()]);
        stream[5 + at] = 20;
        assert_error_at(&stream, 5 + at, Error::Malformed(Reason::ContentType));
    }
}

#[test]
fn the_message_and_its_fixed_fields() {
    let good = Builder::named(b"a");
    for kind in [0, 2, 11, 255] {
        let mut message = good.message();
        message[0] = kind;
        let stream = records(&message, [1 << 14]);
        assert_error_at(&stream, 5, Error::Malformed(Reason::HandshakeType));
    }
    for version in [0x0300, 0x0002, 0x02ff, 0] {
        let stream = Builder {
            version,
            ..good.clone()
        }
        .stream();
        assert_error_at(&stream, 10, Error::Malformed(Reason::Version));
    }
    for version in [0x0301, 0x0302, 0x0303, 0x0304, 0x7f1c] {
        let stream = Builder {
            version,
            ..good.clone()
        }
        .stream();
        hello(&stream);
    }
    let malformed = |change: fn(&mut Builder)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_malformed(&bad.stream(), Reason::Length);
    };
    malformed(|hello| hello.session = vec![0; 33]);
    malformed(|hello| hello.suites = vec![]);
    malformed(|hello| hello.suites = vec![0; 3]);
    malformed(|hello| hello.compression = vec![]);
}

#[test]
fn lengths_that_contradict_each_other() {
    let good = Builder::named(b"a.example").message();
    // The lengths of the message, the extensions, the extension, its list, and its name.
    let extensions = 4 + 2 + 32 + 1 + 32 + 2 + 4 + 1 + 1;
    for at in [
        3,
        extensions + 1,
        extensions + 5,
        extensions + 7,
        extensions + 10,
    ] {
        for change in [1, -1_i8] {
            let mut message = good.clone();
            message[at] = message[at].wrapping_add_signed(change);
            // A name that ends before its list does leaves room for another.
            let reason = if at == extensions + 10 && change == -1 {
                Reason::ServerName
            } else {
                Reason::Length
            };
            // Enough for all that is promised.
            message.extend([0; 9]);
            assert_malformed(&records(&message, [1 << 14]), reason);
        }
    }
    // A message that ends anywhere but behind a field.
    for end in 4..good.len() {
        let mut message = good[..end].to_vec();
        message[3] = (end - 4) as u8;
        let stream = records(&message, [1 << 14]);
        let mut parser = Parser::new(LIMIT);
        match parser.feed(&stream) {
            // There are no extensions.
            Ok(Progress::Complete) => assert_eq!(end, extensions),
            result => assert!(
                matches!(result, Err(Error::Malformed(Reason::Length))),
                "{end} {result:?}"
            ),
        }
    }
}

#[test]
fn server_names_that_are_one_name() {
    let longest = [&b"a".repeat(63)[..]; 4].join(&b'.')[..253].to_vec();
    for name in [
        &b"a"[..],
        b"localhost",
        b"a.b",
        b"WWW.example.ORG",
        b"_dmarc.x-y.example",
        b"xn--nxasmq6b.example",
        b"-a-.b",
        b"1.2.3.4a",
        b"4.example",
        b"1.0x7f",
        &longest,
    ] {
        let hello = hello(&Builder::named(name).stream());
        assert_eq!(hello.server_name(), Some(name));
    }
}

#[test]
fn server_names_that_are_not() {
    let label = b"a".repeat(64);
    let long = b"ab.".repeat(85)[..254].to_vec();
    for name in [
        &b""[..],
        b".",
        b"a.",
        b".a",
        b"a..b",
        b"192.0.2.1",
        b"7",
        b"a.7",
        b"::1",
        b"[::1]",
        b"a b",
        b"a\0",
        b"a\0.b",
        b"a/b",
        b"a:443",
        b"*.a",
        b"\xc3\xa9.example",
        &label,
        &long,
        &b"a".repeat(300),
    ] {
        assert_extension_refused(SERVER_NAME, &server_names(&[(0, name)]), Reason::ServerName);
    }
    let refused = |names: &[(u8, &[u8])], reason| {
        assert_extension_refused(SERVER_NAME, &server_names(names), reason)
    };
    refused(&[(0, b"a"), (0, b"b")], Reason::ServerName);
    refused(&[(0, b"a"), (1, b"b")], Reason::ServerName);
    refused(&[(1, b"a")], Reason::ServerName);
    refused(&[], Reason::Length);
    assert_extension_refused(SERVER_NAME, b"", Reason::Length);
    assert_extension_refused(SERVER_NAME, b"\0", Reason::Length);
}

#[test]
fn protocol_names() {
    let refused = |content: &[u8]| assert_extension_refused(ALPN, content, Reason::Length);
    refused(b"");
    refused(b"\0");
    refused(b"\0\0");
    refused(b"\0\x01\0");
    refused(b"\0\x02\0\0");
    refused(b"\0\x03\x01a\0");
    refused(b"\0\x03\x03h2");
    refused(b"\0\x02\x02h2");
    refused(b"\0\x04\x02h2");
    refused(b"\0\x03\x01h2");

    let kept = |names: &[&[u8]]| {
        let stream = Builder::with(&[
            (ALPN, protocols(names)),
            (SERVER_NAME, server_names(&[(0, b"a")])),
        ])
        .stream();
        let hello = hello(&stream);
        assert_eq!(hello.server_name(), Some(&b"a"[..]));
        let kept: Vec<_> = hello.protocols().map(<[u8]>::to_vec).collect();
        assert_eq!(kept, names[..kept.len()]);
        kept.len()
    };
    let fits = [1; MAX_ALPN - 1];
    let too_long = [1; MAX_ALPN];
    assert_eq!(kept(&[&fits]), 1);
    assert_eq!(kept(&[&fits, b"h2"]), 1);
    assert_eq!(kept(&[&fits[..MAX_ALPN - 4], b"h2"]), 2);
    assert_eq!(kept(&[&fits[..MAX_ALPN - 3], b"h2"]), 1);
    // What is kept is always the beginning of the list.
    assert_eq!(kept(&[b"h2", &too_long, b"http/1.1"]), 1);
    assert_eq!(kept(&[&too_long, b"h2"]), 0);
    assert_eq!(kept(&[&[1; 255][..]; 60]), 0);
    assert_eq!(kept(&[&b"h2"[..]; 1000]), MAX_ALPN / 3);
}

#[test]
fn what_comes_twice() {
    let contents = [
        (SERVER_NAME, server_names(&[(0, b"a")])),
        (ALPN, protocols(&[b"h2"])),
        (EARLY_DATA, vec![]),
        (ECH, vec![0]),
    ];
    for extension in contents {
        let twice = [extension.clone(), (GREASE, vec![]), extension];
        let stream = Builder::with(&twice).stream();
        assert_malformed(&stream, Reason::DuplicateExtension);
    }
}

#[test]
fn the_limit() {
    let stream = Builder::named(b"a.example").stream();
    let length = stream.len() as u32;
    for limit in 0..length {
        let mut parser = Parser::new(limit);
        assert_eq!(parser.feed(&stream), Err(Error::TooLarge));
        // Known from the length of the message on.
        assert_eq!(parser.fed(), limit.min(9));
    }
    for limit in [length, length + 1, u32::MAX] {
        assert_eq!(Parser::new(limit).feed(&stream), Ok(Progress::Complete));
    }
    // The headers of further records count, too.
    let split = records(&stream[5..], [50]);
    let length = split.len() as u32;
    let mut parser = Parser::new(length - 1);
    assert_eq!(parser.feed(&split), Err(Error::TooLarge));
    assert_eq!(parser.fed(), length - 1);
    assert_eq!(Parser::new(length).feed(&split), Ok(Progress::Complete));
    // The greatest length there is.
    let greatest = [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    assert_error_at(&greatest, 8, Error::TooLarge);
    let mut parser = Parser::new(u32::MAX);
    assert_eq!(parser.feed(&greatest), Ok(Progress::NeedMore));
}

#[test]
fn the_result_stays() {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(b""), Ok(Progress::NeedMore));
    let stream = Builder::named(b"a").stream();
    assert_eq!(parser.feed(&stream), Ok(Progress::Complete));
    assert_eq!(parser.feed(b"x"), Ok(Progress::Complete));
    assert_eq!(parser.fed() as usize, stream.len());

    let refused = Err(Error::Malformed(Reason::ContentType));
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(b"GET"), refused);
    assert_eq!(parser.feed(&stream), refused);
    assert_eq!(parser.feed(b""), refused);
    assert_eq!(parser.fed(), 1);
}

#[test]
fn alerts() {
    let malformed = [
        (Reason::ContentType, 10),
        (Reason::RecordVersion, 70),
        (Reason::EmptyRecord, 50),
        (Reason::RecordLength, 22),
        (Reason::HandshakeType, 10),
        (Reason::Version, 70),
        (Reason::Length, 50),
        (Reason::DuplicateExtension, 47),
        (Reason::PskNotLast, 47),
        (Reason::ServerName, 47),
    ];
    let errors = malformed
        .map(|(reason, alert)| (Error::Malformed(reason), alert))
        .into_iter()
        .chain([(Error::TooLarge, 47)]);
    for (error, alert) in errors {
        assert_eq!(error.alert(), alert);
        assert_eq!(alert_response(alert), [0x15, 3, 1, 0, 2, 2, alert]);
    }
    for alert in [INTERNAL_ERROR, UNRECOGNIZED_NAME] {
        assert_eq!(alert_response(alert), [0x15, 3, 1, 0, 2, 2, alert]);
    }
    assert_eq!(alert_response(0), alert_response(INTERNAL_ERROR));
}

#[test]
fn a_parser_is_small() {
    // There is one for each connection that is being read.
    assert!(size_of::<Parser>() <= 448, "{}", size_of::<Parser>());
}
