// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the request head parser.

use super::*;
use std::string::ToString;

const LIMIT: u32 = 8192;

/// The head of a stream that holds one.
fn head(stream: &[u8]) -> Head {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(stream), Ok(Progress::Complete));
    assert_eq!(parser.fed(), parser.head().unwrap().len);
    *parser.head().unwrap()
}

/// The error of a stream that has one, found not before its last octet.
fn error(stream: &[u8]) -> Error {
    let (last, before) = stream.split_last().unwrap();
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(before), Ok(Progress::NeedMore));
    let error = parser.feed(&[*last]).unwrap_err();
    assert_eq!(parser.head(), None);
    assert_eq!(parser.fed() as usize, stream.len());
    error
}

#[track_caller]
fn assert_malformed(stream: &[u8], reason: Reason) {
    assert_eq!(error(stream), Error::Malformed(reason));
}

fn text(stream: &[u8], span: Span) -> &str {
    let start = span.start as usize;
    core::str::from_utf8(&stream[start..start + span.len as usize]).unwrap()
}

#[test]
fn a_request_is_known_by_its_first_octets() {
    for yes in ["GET / HT", "OPTIONS ", "PUT /x", "PATCH / "] {
        assert!(begins_with_method(yes.as_bytes()), "{yes}");
    }
    for no in [
        "",
        "GET",
        "GETX / H",
        "get / HT",
        " GET /",
        "CONNECTS",
        "HTTP/1.1",
        "\0GET / H",
    ] {
        assert!(!begins_with_method(no.as_bytes()), "{no}");
    }
}

#[test]
fn a_request_of_a_browser() {
    let stream = b"GET /a/b.html?c=d HTTP/1.1\r\nHost: www.example.org:8080\r\n\
        Accept: */*\r\nEmpty:\r\n\r\nGET /next";
    let head = head(stream);
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(text(stream, head.target), "/a/b.html?c=d");
    assert_eq!(text(stream, head.path), "/a/b.html");
    assert_eq!(text(stream, head.host.unwrap()), "www.example.org");
    assert_eq!(head.len as usize, stream.len() - "GET /next".len());
    assert_eq!(head.leading, 0);
}

#[test]
fn bare_line_feeds_and_leading_lines() {
    let stream = b"\r\n\nPOST / HTTP/1.0\nContent-Length: 3\n\nabc";
    let head = head(stream);
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.version, Version::Http10);
    assert_eq!(text(stream, head.target), "/");
    assert_eq!(head.host, None);
    assert_eq!(head.leading, 3);
    assert_eq!(head.len as usize, stream.len() - "abc".len());
}

#[test]
fn methods() {
    for (name, method, idempotent) in [
        ("GET", Method::Get, true),
        ("HEAD", Method::Head, true),
        ("POST", Method::Post, false),
        ("PUT", Method::Put, true),
        ("DELETE", Method::Delete, true),
        ("CONNECT", Method::Connect, false),
        ("OPTIONS", Method::Options, true),
        ("TRACE", Method::Trace, true),
        ("PATCH", Method::Patch, false),
        ("get", Method::Other, false),
        ("GE", Method::Other, false),
        ("GETS", Method::Other, false),
        ("XXXXXXXXXGET", Method::Other, false),
        ("VERSION-CONTROL", Method::Other, false),
        ("!#$%&'*+-.^_`|~9", Method::Other, false),
    ] {
        let target = if name == "CONNECT" { "a:1" } else { "/" };
        let stream = std::format!("{name} {target} HTTP/1.0\r\n\r\n");
        assert_eq!(head(stream.as_bytes()).method, method, "{name}");
        assert_eq!(method.is_idempotent(), idempotent, "{name}");
    }
}

#[test]
fn targets() {
    for (method, target, path, host) in [
        ("GET", "/", "/", "field"),
        ("GET", "/?", "/", "field"),
        ("GET", "/a?b?c/d#e", "/a", "field"),
        ("GET", "/a#b?c", "/a", "field"),
        ("GET", "//a", "//a", "field"),
        (
            "GET",
            "/\u{e9}\"<>[]{}|\\^`",
            "/\u{e9}\"<>[]{}|\\^`",
            "field",
        ),
        ("GET", "http://a", "", "a"),
        ("GET", "HTTP://A:80", "", "A"),
        ("GET", "http://a?b/c", "", "a"),
        ("GET", "https://a:/b?c", "/b", "a"),
        ("GET", "coap+tcp://[::1]:443/b", "/b", "[::1]"),
        ("GET", "http://[v1.a:b]", "", "[v1.a:b]"),
        ("OPTIONS", "*", "", "field"),
        ("OPTIONS", "/", "/", "field"),
        ("CONNECT", "a:443", "", "field"),
        ("CONNECT", "[::1]:65535", "", "field"),
    ] {
        let stream = std::format!("{method} {target} HTTP/1.1\r\nHost: field:1\r\n\r\n");
        let stream = stream.as_bytes();
        let head = head(stream);
        assert_eq!(text(stream, head.target), target);
        assert_eq!(text(stream, head.path), path, "{target}");
        assert_eq!(text(stream, head.host.unwrap()), host, "{target}");
    }
}

#[test]
fn hosts() {
    for (value, host) in [
        ("", ""),
        (" \t ", ""),
        (":80", ""),
        ("a", "a"),
        (" a\t", "a"),
        (" a: ", "a"),
        (" a:0080 ", "a"),
        (" 192.0.2.1:65535", "192.0.2.1"),
        (" [2001:db8::1]", "[2001:db8::1]"),
        (" [2001:db8::1]:80", "[2001:db8::1]"),
        (" a_b-c.d~%20!$&'()*+,;=", "a_b-c.d~%20!$&'()*+,;="),
    ] {
        for name in ["Host", "host", "HOST", "hOsT"] {
            let stream = std::format!("GET / HTTP/1.1\r\n{name}:{value}\r\n\r\n");
            let stream = stream.as_bytes();
            assert_eq!(text(stream, head(stream).host.unwrap()), host, "{value}");
        }
    }
}

#[test]
fn names_that_are_only_similar_do_not_matter() {
    let stream = b"GET / HTTP/1.1\r\nHos: /\r\nHosts: /\r\nHost: a\r\nContent-Lengt: x\r\n\
        Content-Length-: x\r\nContent_Length: x\r\nTransfer-Encodin: x\r\nxHost: /\r\n\
        Content-Length: 1\r\nTransfer-Encodings: x\r\nC: x\r\nT: x\r\nH: x\r\n\r\n";
    assert_eq!(text(stream, head(stream).host.unwrap()), "a");
}

#[test]
fn lengths_and_encodings() {
    for fields in [
        "Content-Length: 18446744073709551615",
        "Content-Length:0\t",
        "Content-Length: 5\r\ncontent-length: 05",
        "Transfer-Encoding: gzip\r\nTRANSFER-ENCODING: chunked",
    ] {
        head(std::format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes());
    }
}

#[test]
fn every_reason() {
    for (stream, reason) in [
        ("\n\r\n\n\n\n", Reason::LeadingLines),
        (" ", Reason::Method),
        (":", Reason::Method),
        ("GET\t", Reason::Method),
        ("GET\r", Reason::Method),
        ("G\0", Reason::Method),
        ("GET  ", Reason::Target),
        ("GET \r", Reason::Target),
        ("GET ?", Reason::Target),
        ("GET a/", Reason::Target),
        ("GET a ", Reason::Target),
        ("GET a:8", Reason::Target),
        ("GET http:/a", Reason::Target),
        ("GET http:///", Reason::Target),
        ("GET http://:80/", Reason::Target),
        ("GET http://a@", Reason::Target),
        ("GET http://[/", Reason::Target),
        ("GET http://[]", Reason::Target),
        ("GET http://[::1 ", Reason::Target),
        ("GET http://[::1]a", Reason::Target),
        ("GET http://a:65536", Reason::Target),
        ("GET http://a:8a", Reason::Target),
        ("GET http://a:80:", Reason::Target),
        ("GET 1", Reason::Target),
        ("GET /\t", Reason::Target),
        ("GET /a\0", Reason::Target),
        ("GET /?\x7f", Reason::Target),
        ("GET * HTTP/1.1", Reason::Target),
        ("OPTIONS **", Reason::Target),
        ("CONNECT /", Reason::Target),
        ("CONNECT a ", Reason::Target),
        ("CONNECT a: ", Reason::Target),
        ("CONNECT :1 ", Reason::Target),
        ("GET /\r", Reason::Version),
        ("GET /\n", Reason::Version),
        ("GET / \r", Reason::Version),
        ("GET /  ", Reason::Version),
        ("GET / h", Reason::Version),
        ("GET / HTTP/x", Reason::Version),
        ("GET / HTTP/1\r", Reason::Version),
        ("GET / HTTP/1.1 ", Reason::Version),
        ("GET / HTTP/1.10", Reason::Version),
        ("\rG", Reason::BareCarriageReturn),
        ("GET / HTTP/1.1\r\r", Reason::BareCarriageReturn),
        ("GET / HTTP/1.1\r\nA: b\rc", Reason::BareCarriageReturn),
        ("GET / HTTP/1.1\r\nHost: b\r:", Reason::BareCarriageReturn),
        (
            "GET / HTTP/1.1\r\nHost: b\r\n\rA",
            Reason::BareCarriageReturn,
        ),
        ("GET / HTTP/1.1\r\n ", Reason::Folding),
        ("GET / HTTP/1.1\r\nA: b\r\n\t", Reason::Folding),
        ("GET / HTTP/1.1\r\n:", Reason::EmptyName),
        ("GET / HTTP/1.1\r\nA\r", Reason::Name),
        ("GET / HTTP/1.1\r\nHost\n", Reason::Name),
        ("GET / HTTP/1.1\r\n(", Reason::Name),
        ("GET / HTTP/1.1\r\nHo\0", Reason::Name),
        ("GET / HTTP/1.1\r\nA\"", Reason::Name),
        ("GET / HTTP/1.1\r\nA ", Reason::WhitespaceBeforeColon),
        ("GET / HTTP/1.1\r\nHost\t", Reason::WhitespaceBeforeColon),
        ("GET / HTTP/1.1\r\nA: b\0", Reason::Value),
        ("GET / HTTP/1.1\r\nA:\x7f", Reason::Value),
        ("GET / HTTP/1.1\r\nHost: a b", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a/", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a@", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a:b", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a:99999", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a\0", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: [::1\r", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: ::", Reason::Host),
        ("GET / HTTP/1.1\r\nHost: a\nhost:", Reason::SeveralHosts),
        ("GET / HTTP/1.0\r\nHost:\nhost:", Reason::SeveralHosts),
        ("GET / HTTP/1.1\r\n\r\n", Reason::MissingHost),
        ("GET http://a/ HTTP/1.1\r\n\n", Reason::MissingHost),
        ("GET / HTTP/1.1\nContent-Length:\r", Reason::ContentLength),
        ("GET / HTTP/1.1\nContent-Length: +", Reason::ContentLength),
        ("GET / HTTP/1.1\nContent-Length: -", Reason::ContentLength),
        ("GET / HTTP/1.1\nContent-Length: 0x", Reason::ContentLength),
        ("GET / HTTP/1.1\nContent-Length: 5,", Reason::ContentLength),
        ("GET / HTTP/1.1\nContent-Length: 5 5", Reason::ContentLength),
        (
            "GET / HTTP/1.1\nContent-Length: 18446744073709551616",
            Reason::ContentLength,
        ),
        (
            "GET / HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n",
            Reason::DifferingContentLength,
        ),
        (
            "GET / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding:",
            Reason::LengthAndEncoding,
        ),
        (
            "GET / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length:",
            Reason::LengthAndEncoding,
        ),
        (
            "GET / HTTP/1.0\nTransfer-Encoding:",
            Reason::EncodingInHttp10,
        ),
    ] {
        assert_malformed(stream.as_bytes(), reason);
        assert!(!reason.to_string().is_empty());
    }
}

#[test]
fn other_versions() {
    for stream in [
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET * HTTP/2.0",
        "PRI / HTTP/2.0",
        "PRI * HTTP/2.1",
        "pri * HTTP/2.0",
        "PRIX * HTTP/2.0",
        "XPRI * HTTP/2.0",
        "\r\nPRI * HTTP/2.0",
    ] {
        assert_eq!(error(stream.as_bytes()), Error::Version);
    }
}

#[test]
fn the_preface_of_http2() {
    let (last, before) = HTTP2_PREFACE.split_last().unwrap();
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(before), Ok(Progress::NeedMore));
    assert_eq!(parser.feed(&[*last, 0, 0, 18]), Ok(Progress::Http2));
    assert_eq!(parser.feed(b"x"), Ok(Progress::Http2));
    assert_eq!(parser.fed(), 24);
    assert_eq!(parser.head(), None);

    // Each octet behind the version counts.
    for at in "PRI * HTTP/2.0".len()..HTTP2_PREFACE.len() {
        let mut stream = HTTP2_PREFACE[..at + 1].to_vec();
        stream[at] ^= 1;
        assert_malformed(&stream, Reason::Preface);
    }
    assert_malformed(b"PRI * HTTP/2.0\n", Reason::Preface);
    // In another version it is a method that does not go with this target.
    assert_malformed(b"PRI * HTTP/1.1", Reason::Target);
    assert!(!Reason::Preface.to_string().is_empty());

    let mut parser = Parser::new(23);
    assert_eq!(parser.feed(HTTP2_PREFACE), Err(Error::TooLarge));
}

#[test]
fn the_limit() {
    let stream = b"\r\nGET / HTTP/1.0\r\n\r\n";
    let length = stream.len() as u32;
    for limit in 0..length {
        let mut parser = Parser::new(limit);
        let (within, beyond) = stream.split_at(limit as usize);
        assert_eq!(parser.feed(within), Ok(Progress::NeedMore));
        assert_eq!(parser.feed(beyond), Err(Error::TooLarge));
        assert_eq!(parser.fed(), limit);
        assert_eq!(Parser::new(limit).feed(stream), Err(Error::TooLarge));
    }
    for limit in [length, length + 1, u32::MAX] {
        let mut parser = Parser::new(limit);
        assert_eq!(parser.feed(stream), Ok(Progress::Complete));
    }
    // What is within the limit is looked at first.
    assert_eq!(
        Parser::new(1).feed(b" /"),
        Err(Error::Malformed(Reason::Method))
    );
}

#[test]
fn the_result_stays() {
    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(b""), Ok(Progress::NeedMore));
    let stream = b"GET / HTTP/1.0\n\n:";
    assert_eq!(parser.feed(stream), Ok(Progress::Complete));
    assert_eq!(parser.feed(b":"), Ok(Progress::Complete));
    assert_eq!(parser.feed(b""), Ok(Progress::Complete));
    assert_eq!(parser.fed() as usize, stream.len() - 1);

    let mut parser = Parser::new(LIMIT);
    assert_eq!(parser.feed(b":"), Err(Error::Malformed(Reason::Method)));
    assert_eq!(parser.feed(stream), Err(Error::Malformed(Reason::Method)));
    assert_eq!(parser.feed(b""), Err(Error::Malformed(Reason::Method)));
    assert_eq!(parser.fed(), 1);
}

#[test]
fn statuses() {
    assert_eq!(Error::TooLarge.status(), 431);
    assert_eq!(Error::Malformed(Reason::Name).status(), 400);
    assert_eq!(Error::Version.status(), 505);
    for error in [
        Error::TooLarge,
        Error::Malformed(Reason::Name),
        Error::Version,
    ] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn error_responses_are_complete() {
    for status in [400, 408, 431, 500, 503, 504, 505] {
        let response = core::str::from_utf8(error_response(status)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&std::format!("HTTP/1.1 {status} ")));
        assert!(head.contains("\r\nConnection: close"));
        let length = std::format!("\r\nContent-Length: {}\r\n", body.len());
        assert!(head.contains(&length), "{status}");
    }
    assert_eq!(error_response(418), error_response(500));
}

#[test]
fn the_parser_is_small() {
    assert!(core::mem::size_of::<Parser>() <= 96);
}
