// SPDX-License-Identifier: GPL-2.0

//! The parser of request heads against itself and against another one.
//!
//! - However a stream is cut, the result is the same.
//! - The crate `httparse` is the oracle of syntax. Where `thop_core` is stricter, [`objections`]
//!   lists why, found in a plain way from what `httparse` makes of the head. The two must agree on
//!   everything else, with two exceptions: `httparse` wants the target to be UTF-8, and does not
//!   know the preface of HTTP/2.
//!
//! The fuzz target `http` uses what is outside of the module `properties`.

use thop_core::http::{
    Error, Head, Method, Parser, Progress, Reason, Span, Version, HTTP2_PREFACE,
};

/// All that a parser tells.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    result: Result<Progress, Error>,
    head: Option<Head>,
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
        head: parser.head().copied(),
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
        Err(Error::TooLarge) => {
            assert_eq!(whole.fed, limit);
            assert_eq!(exact.result, Ok(Progress::NeedMore));
        }
        _ => assert_eq!(exact, whole),
    }
    assert_eq!(whole.head.is_some(), whole.result == Ok(Progress::Complete));
    if whole.result == Ok(Progress::Http2) {
        assert_eq!(whole.fed as usize, HTTP2_PREFACE.len());
    }
    if let Some(head) = whole.head {
        assert_eq!(head.len, whole.fed);
        let tight = parse(stream, whole.fed, [stream.len()]);
        assert_eq!(tight, whole);
        let tighter = parse(stream, whole.fed - 1, [stream.len()]);
        assert_eq!(tighter.result, Err(Error::TooLarge));
    }
}

/// Checks that `httparse` and this file's idea of strictness agree with the parser.
pub fn check_oracle(stream: &[u8]) {
    let ours = parse(stream, u32::MAX, [stream.len()]);
    let mut headers = vec![httparse::EMPTY_HEADER; stream.len() / 2 + 1];
    let mut request = httparse::Request::new(&mut headers);
    let theirs = request.parse(stream);
    match (ours.result, theirs) {
        (Ok(Progress::Complete), Ok(httparse::Status::Complete(length))) => {
            let head = ours.head.unwrap();
            assert_eq!(head.len as usize, length);
            assert_eq!(head.leading as usize, leading(stream).len());
            assert_eq!(head.method, method(request.method.unwrap()));
            let version = match request.version.unwrap() {
                0 => Version::Http10,
                _ => Version::Http11,
            };
            assert_eq!(head.version, version);
            let target = request.path.unwrap();
            assert_eq!(head.target, span(stream, target.as_bytes()));

            assert_eq!(objections(stream, &request), []);
            let target = split_target(head.method, target).unwrap();
            if target.path.is_empty() {
                assert_eq!(head.path.len, 0);
            } else {
                assert_eq!(head.path, span(stream, target.path.as_bytes()));
            }
            let field = fields(&request, "host").next();
            let host = target.host.map(str::as_bytes).or(field
                .map(|value| {
                    split_authority(std::str::from_utf8(value).unwrap())
                        .unwrap()
                        .0
                })
                .map(str::as_bytes));
            match host {
                Some(b"") => assert_eq!(head.host.unwrap().len, 0),
                _ => assert_eq!(head.host, host.map(|host| span(stream, host))),
            }
        }
        // They want the target to be UTF-8.
        (Ok(Progress::Complete), Err(httparse::Error::Token)) => {
            let target = ours.head.unwrap().target;
            let target = &stream[target.start as usize..][..target.len as usize];
            assert!(std::str::from_utf8(target).is_err());
        }
        (Ok(Progress::NeedMore), Ok(httparse::Status::Partial)) => {}
        (Ok(Progress::Http2), Err(httparse::Error::Version)) => {
            assert!(stream.starts_with(HTTP2_PREFACE));
        }
        // They know from the first digit of the version; or the target is not UTF-8.
        (Ok(Progress::NeedMore), Err(httparse::Error::Version | httparse::Error::Token)) => {}
        (Err(error), Ok(httparse::Status::Complete(_))) => {
            let objections = objections(stream, &request);
            assert!(
                matches!(error, Error::Malformed(reason) if objections.contains(&reason)),
                "{error:?} {objections:?}"
            );
        }
        (Err(error), Ok(httparse::Status::Partial)) => assert!(
            matches!(error, Error::Malformed(reason) if STRICTER.contains(&reason)),
            "{error:?}"
        ),
        (Err(Error::TooLarge), _) => panic!("there is no limit"),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?} {theirs:?}"),
    }
}

/// Why `thop_core` refuses what `httparse` accepts.
const STRICTER: [Reason; 9] = [
    Reason::LeadingLines,
    Reason::Target,
    Reason::Host,
    Reason::SeveralHosts,
    Reason::MissingHost,
    Reason::ContentLength,
    Reason::DifferingContentLength,
    Reason::LengthAndEncoding,
    Reason::EncodingInHttp10,
];

/// Why a head that `httparse` accepts is to be refused; more than one reason may be there.
fn objections(stream: &[u8], request: &httparse::Request) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut object = |reason, if_so| {
        if if_so {
            reasons.push(reason);
        }
    };
    let empty_lines = leading(stream).iter().filter(|c| **c == b'\n').count();
    object(Reason::LeadingLines, empty_lines > 4);

    let method = method(request.method.unwrap());
    let target = split_target(method, request.path.unwrap());
    object(Reason::Target, target.is_none());

    let hosts: Vec<_> = fields(request, "host").collect();
    let version = request.version.unwrap();
    object(Reason::MissingHost, version == 1 && hosts.is_empty());
    object(Reason::SeveralHosts, hosts.len() > 1);
    let bad_host = |value: &&[u8]| {
        let value = std::str::from_utf8(value);
        value.ok().and_then(split_authority).is_none()
    };
    object(Reason::Host, hosts.iter().any(bad_host));

    let lengths: Vec<Option<u64>> = fields(request, "content-length")
        .map(|value| {
            let digits = value.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(value).ok()?;
            value.parse().ok().filter(|_| digits)
        })
        .collect();
    object(Reason::ContentLength, lengths.contains(&None));
    object(
        Reason::DifferingContentLength,
        lengths.iter().any(|length| *length != lengths[0]),
    );

    let encoding = fields(request, "transfer-encoding").next().is_some();
    object(Reason::EncodingInHttp10, encoding && version == 0);
    object(
        Reason::LengthAndEncoding,
        encoding && fields(request, "content-length").next().is_some(),
    );
    reasons
}

/// The empty lines before the request line.
fn leading(stream: &[u8]) -> &[u8] {
    let end = stream.iter().position(|c| !matches!(c, b'\r' | b'\n'));
    &stream[..end.unwrap_or(stream.len())]
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other,
    }
}

/// The values of the fields of this name.
fn fields<'a>(request: &'a httparse::Request, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let headers = request.headers.iter();
    headers
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// Where `part` is in `stream`.
fn span(stream: &[u8], part: &[u8]) -> Span {
    Span {
        start: (part.as_ptr() as usize - stream.as_ptr() as usize) as u32,
        len: part.len() as u32,
    }
}

struct Target<'a> {
    path: &'a str,
    host: Option<&'a str>,
}

fn split_target(method: Method, target: &str) -> Option<Target<'_>> {
    let origin = |path: &'_ str| path.find(['?', '#']).unwrap_or(path.len());
    if method == Method::Connect {
        let (host, port) = split_authority(target)?;
        let path = "";
        return (!host.is_empty() && !port?.is_empty()).then_some(Target { path, host: None });
    }
    if target == "*" {
        let path = "";
        return (method == Method::Options).then_some(Target { path, host: None });
    }
    if target.starts_with('/') {
        let path = &target[..origin(target)];
        return Some(Target { path, host: None });
    }
    let (scheme, rest) = target.split_once("://")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letters) {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, _) = split_authority(authority).filter(|(host, _)| !host.is_empty())?;
    let path = &rest[..origin(rest)];
    let host = Some(host);
    Some(Target { path, host })
}

fn split_authority(authority: &str) -> Option<(&str, Option<&str>)> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(c);
    let (host, rest) = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']').filter(|end| *end != 0)?;
        if !rest[..end].chars().all(|c| c == ':' || in_name(c)) {
            return None;
        }
        authority.split_at(end + "[]".len())
    } else {
        let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        if !host.chars().all(in_name) {
            return None;
        }
        (host, rest)
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?;
    let number = port.trim_start_matches('0');
    let good = port.chars().all(|c| c.is_ascii_digit())
        && (number.is_empty() || number.parse::<u16>().is_ok());
    good.then_some((host, Some(port)))
}

#[cfg(test)]
mod properties {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};

    /// Heads as they are met with.
    const HEADS: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /index.html?q=%20&r#s HTTP/1.1\r\nHost: www.example.org:8080\r\n\
          User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
          Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n\
          Connection: keep-alive\r\nCookie: a=b; c=d\r\n\r\nGET / HTTP/1.1\r\n",
        b"\r\nPOST /form HTTP/1.1\r\nhost:[2001:db8::1]:80\r\ncontent-length:  5 \r\n\
          Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
        b"\n\r\nPUT http://example.org:80/a/b?c HTTP/1.1\nHost: other\nTransfer-Encoding: chunked\n\n0",
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost:\r\nTrailing: \r\n\r\n\x16\x03",
        b"OPTIONS * HTTP/1.0\r\nX-\xc3\xa9: \xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
    ];

    /// Things that streams are made of.
    const WORDS: [&str; 59] = [
        "GET",
        "POST",
        "CONNECT",
        "OPTIONS",
        " ",
        " ",
        "\t",
        "/",
        "*",
        "a",
        "a:1",
        "http://",
        "[::1]",
        "?",
        "#",
        "@",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "HTTP/",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        ":",
        ":",
        ",",
        "5",
        "18446744073709551615",
        "65536",
        "0",
        "Host",
        "hOST",
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "chunked",
        "X",
        "Host: a\r\n",
        "\r\nHost: a\r\n",
        "\nContent-Length: 5\r\n",
        "\r\nContent-Length: 05\n",
        "\r\nContent-Length: 6\r\n",
        "\r\nTransfer-Encoding: x\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.0\n",
        "GET http://a/b HTTP/1.0\r\n",
        "\r\n\r\n",
        "\n\n",
        "PRI * HTTP/2.0",
        "\r\n\r\nSM\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{e9}",
        "\x7f",
        "_",
    ];

    fn of_words() -> impl Strategy<Value = Vec<u8>> {
        let starts = ["", "GET ", "GET / HTTP/1.1\r\n", "POST / HTTP/1.0\r\n"];
        let end = select(&["", "\r\n\r\n", "\n\n"][..]);
        (select(starts.to_vec()), vec(select(&WORDS[..]), 0..12), end)
            .prop_map(|(start, words, end)| (start.to_owned() + &words.concat() + end).into_bytes())
    }

    /// What a target or host is made of.
    const PIECES: [&str; 19] = [
        "/", "/", "*", "a", "a", "a:", "http://", "http://a", "[", "]", "[::1]", ":", "80",
        "65535", "65536", "?", "#", "@", "[]",
    ];

    const LINES: [&str; 12] = [
        "Host: a",
        "Host: a",
        "HOST:",
        "Content-Length: 5",
        "content-length:5 ",
        "Content-Length: 6",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked",
        "transfer-encoding:",
        "X: y",
        "X y",
    ];

    /// Streams in the form of a request, each part of which may be wrong.
    fn of_parts() -> impl Strategy<Value = Vec<u8>> {
        let leading = prop_oneof![3 => Just(0), 1 => 0..7_usize];
        let method = select(&["GET", "GET", "CONNECT", "OPTIONS", "X", "X(", ""][..]);
        let pieces = || vec(select(&PIECES[..]), 0..5).prop_map(|pieces| pieces.concat());
        let target = prop_oneof![Just("/".to_owned()), pieces()];
        let version = select(&["1.1", "1.1", "1.0", "1.0", "1.2"][..]);
        let line = prop_oneof![
            8 => select(&LINES[..]).prop_map(str::to_owned),
            1 => pieces().prop_map(|host| format!("Host: {host}")),
        ];
        let fields = vec(line, 0..5);
        (
            leading,
            method,
            target,
            version,
            fields,
            select(&["\n", "\r\n"][..]),
        )
            .prop_map(|(leading, method, target, version, fields, line_end)| {
                let mut stream = line_end.repeat(leading);
                stream += &format!("{method} {target} HTTP/{version}{line_end}");
                for field in fields {
                    stream += &field;
                    stream += line_end;
                }
                (stream + line_end).into_bytes()
            })
    }

    /// A valid request, with what it is made of.
    #[derive(Clone, Debug)]
    struct Valid {
        stream: Vec<u8>,
        method: String,
        target: String,
        path: String,
        host: Option<String>,
        version: Version,
        leading: usize,
        length: usize,
    }

    const TOKEN: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}";

    fn valid_host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9._~%!$&'()*+,;=-]{1,20}",
            "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
            "\\[[0-9a-f:.]{1,20}\\]",
        ]
    }

    fn valid_port() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just(":".to_owned()),
            any::<u16>().prop_map(|port| format!(":{port}")),
            any::<u16>().prop_map(|port| format!(":{port:07}")),
        ]
    }

    /// Method, target, path, and the host of the target.
    fn valid_target() -> impl Strategy<Value = (String, String, String, Option<String>)> {
        const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PATCH", "OPTIONS"];
        let method = prop_oneof![
            select(&METHODS[..]).prop_map(str::to_owned),
            TOKEN.prop_filter("has another target", |m| m != "CONNECT"),
        ];
        let path = "/[!-\"$->@-~\u{80}-\u{ffff}]{0,40}";
        let query = prop_oneof![Just(String::new()), "\\?[!-~\u{80}-\u{ffff}]{0,40}"];
        let scheme = "[A-Za-z][A-Za-z0-9+.-]{0,10}";
        prop_oneof![
            4 => (method.clone(), path, query.clone())
                .prop_map(|(method, path, query)| (method, path.clone() + &query, path, None)),
            2 => (method, scheme, valid_host(), valid_port(), prop_oneof!["", path], query)
                .prop_map(|(method, scheme, host, port, path, query)| {
                    let target = format!("{scheme}://{host}{port}{path}{query}");
                    (method, target, path, Some(host))
                }),
            1 => Just(("OPTIONS".to_owned(), "*".to_owned(), String::new(), None)),
            1 => (valid_host(), any::<u16>()).prop_map(|(host, port)| {
                ("CONNECT".to_owned(), format!("{host}:{port}"), String::new(), None)
            }),
        ]
    }

    /// Fields that do not matter, each with how many spaces are around the value.
    fn valid_field() -> impl Strategy<Value = String> {
        let matters = ["host", "content-length", "transfer-encoding"];
        let name = TOKEN.prop_filter("matters", move |name| {
            !matters.contains(&name.to_ascii_lowercase().as_str())
        });
        let similar = select(
            &[
                "Hos",
                "Hosts",
                "content-lengt",
                "Transfer-Encoding-",
                "hosT_",
            ][..],
        );
        let name = prop_oneof![4 => name, 1 => similar.prop_map(str::to_owned)];
        (name, "[ \t]{0,2}([ -~\t\u{80}-\u{ffff}]{0,40})")
            .prop_map(|(name, value)| format!("{name}:{value}"))
    }

    fn any_case(name: &'static str) -> impl Strategy<Value = String> {
        vec(any::<bool>(), name.len()).prop_map(|upper| {
            let letters = name.chars().zip(upper);
            letters
                .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c })
                .collect()
        })
    }

    /// At most one of Content-Length, maybe repeated, and Transfer-Encoding.
    fn valid_framing() -> impl Strategy<Value = Vec<String>> {
        let length = (any_case("content-length"), any::<u64>(), 1..4_usize);
        prop_oneof![
            Just(Vec::new()),
            length.prop_map(|(name, length, times)| vec![format!("{name}: {length} "); times]),
            any_case("transfer-encoding").prop_map(|name| vec![format!("{name}:chunked")]),
        ]
    }

    fn valid_request() -> impl Strategy<Value = Valid> {
        let host = (any_case("host"), valid_host(), valid_port(), any::<bool>());
        (
            vec(any::<bool>(), 0..=4),
            valid_target(),
            host,
            valid_framing(),
            vec(valid_field(), 0..6),
            vec(any::<bool>(), 16),
            vec(any::<u8>(), 0..20),
            any::<prop::sample::Index>(),
        )
            .prop_map(
                |(leading, target, host, framing, mut fields, ends, behind, place)| {
                    let (method, target, path, target_host) = target;
                    let (host_name, host, port, old) = host;
                    let encoding = matches!(&framing[..], [f] if f.ends_with("chunked"));
                    let old = old && !encoding;
                    fields.extend(framing);
                    let place = place.index(fields.len() + 1);
                    fields.insert(place, format!("{host_name}: {host}{port}"));

                    let line_end = |bare| if bare { "\n" } else { "\r\n" };
                    let leading: String = leading.into_iter().map(line_end).collect();
                    let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
                    let mut stream = leading.clone() + &format!("{method} {target} {version}");
                    let mut ends = ends.into_iter().cycle().map(line_end);
                    for field in fields {
                        stream += ends.next().unwrap();
                        stream += &field;
                    }
                    stream += ends.next().unwrap();
                    stream += ends.next().unwrap();
                    let length = stream.len();
                    let mut stream = stream.into_bytes();
                    stream.extend(behind);
                    Valid {
                        stream,
                        method,
                        target,
                        path,
                        host: target_host.or(Some(host)),
                        version: if old {
                            Version::Http10
                        } else {
                            Version::Http11
                        },
                        leading: leading.len(),
                        length,
                    }
                },
            )
    }

    /// A change of a stream: where, what, and an octet or word for it.
    type Mutation = (prop::sample::Index, u8, u8, &'static str);

    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let base = prop_oneof![
            select(&HEADS[..]).prop_map(<[u8]>::to_vec),
            valid_request().prop_map(|valid| valid.stream),
        ];
        let octet = prop_oneof![
            any::<u8>(),
            select(&b"\r\n\t \0:/@[]?#,*0959Aa-\x7f\x80"[..])
        ];
        let mutation = (
            any::<prop::sample::Index>(),
            0..5_u8,
            octet,
            select(&WORDS[..]),
        );
        (base, vec(mutation, 1..4)).prop_map(|(mut stream, mutations): (_, Vec<Mutation>)| {
            for (place, kind, octet, word) in mutations {
                if stream.is_empty() {
                    break;
                }
                let at = place.index(stream.len());
                match kind {
                    0 => stream[at] = octet,
                    1 => stream.insert(at, octet),
                    2 => drop(stream.remove(at)),
                    3 => stream.truncate(at),
                    _ => drop(stream.splice(at..at, word.bytes())),
                }
            }
            stream
        })
    }

    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(any::<u8>(), 0..200), of_words(), of_parts(), mutated()]
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        vec(0..30_usize, 1..10).prop_filter("goes on", |lengths| lengths.iter().any(|n| *n != 0))
    }

    fn text(stream: &[u8], span: Span) -> &str {
        std::str::from_utf8(&stream[span.start as usize..][..span.len as usize]).unwrap()
    }

    #[test]
    fn real_heads_cut_anywhere() {
        for stream in HEADS {
            let whole = parse(stream, u32::MAX, [stream.len()]);
            for first in 1..stream.len() {
                for second in [1, 2, 7, stream.len()] {
                    check_segmentation(stream, 1000, &[first, second]);
                }
                assert_eq!(parse(stream, u32::MAX, [first, stream.len()]), whole);
            }
            for end in 0..=stream.len() {
                check_oracle(&stream[..end]);
            }
        }
    }

    #[test]
    fn every_octet_everywhere() {
        for stream in HEADS {
            let mut stream = stream.to_vec();
            for at in 0..stream.len() {
                let before = stream[at];
                for octet in 0..=255 {
                    stream[at] = octet;
                    check_oracle(&stream);
                }
                stream[at] = before;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

        #[test]
        fn segmentation_changes_nothing(
            stream in any_stream(),
            lengths in lengths(),
            limit in prop_oneof![Just(u32::MAX), 0..300_u32],
        ) {
            check_segmentation(&stream, limit, &lengths);
        }

        #[test]
        fn segmentation_of_valid_requests_changes_nothing(
            valid in valid_request(),
            lengths in lengths(),
        ) {
            check_segmentation(&valid.stream, u32::MAX, &lengths);
        }

        #[test]
        fn words_are_judged_as_by_httparse(stream in of_words()) {
            check_oracle(&stream);
        }

        #[test]
        fn parts_are_judged_as_by_httparse(stream in of_parts()) {
            check_oracle(&stream);
        }

        #[test]
        fn mutated_requests_are_judged_as_by_httparse(stream in mutated()) {
            check_oracle(&stream);
        }

        #[test]
        fn any_octets_are_judged_as_by_httparse(stream in vec(any::<u8>(), 0..200)) {
            check_oracle(&stream);
        }

        #[test]
        fn valid_requests_are_accepted(valid in valid_request()) {
            let stream = &valid.stream;
            check_oracle(stream);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let theirs = httparse::Request::new(&mut headers).parse(stream);
            prop_assert_eq!(theirs, Ok(httparse::Status::Complete(valid.length)));

            let outcome = parse(stream, u32::MAX, [stream.len()]);
            prop_assert_eq!(outcome.result, Ok(Progress::Complete));
            let head = outcome.head.unwrap();
            prop_assert_eq!(head.method, method(&valid.method));
            prop_assert_eq!(head.version, valid.version);
            prop_assert_eq!(text(stream, head.target), valid.target);
            prop_assert_eq!(text(stream, head.path), valid.path);
            prop_assert_eq!(head.host.map(|host| text(stream, host)), valid.host.as_deref());
            prop_assert_eq!(head.leading as usize, valid.leading);
            prop_assert_eq!(head.len as usize, valid.length);
        }
    }
}
