// SPDX-License-Identifier: GPL-2.0

//! Configurations: what is read and written must read as the same, and route alike.
//!
//! The input is a text; what follows its first NUL is a request head.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thop_core::{
    config::{self, ServiceId},
    heap::StdHeap,
    http::{Parser, Progress},
    request::Request,
};

type Config = config::Config<StdHeap>;

fn complaint_is_plain(text: &[u8], error: config::Error) {
    let lines = text.split(|&octet| octet == b'\n').count();
    assert!(error.line as usize <= lines);
    let shown = error.to_string();
    assert!(
        shown.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
        "{shown}"
    );
}

fn same_routes(a: &Config, b: &Config, request: &Request<'_>) {
    for service in 0..a.services().len() as u32 {
        let service = ServiceId::new(service);
        assert_eq!(a.route(service, request), b.route(service, request));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&octet| octet == 0);
    let text = parts.next().unwrap_or(&[]);
    let head = parts.next().unwrap_or(&[]);
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => return complaint_is_plain(text, error),
    };
    let canonical = config.to_string();
    assert!(canonical.len() <= text.len() + 1);
    let again = Config::parse(canonical.as_bytes()).expect("a canonical text");
    assert_eq!(again.to_string(), canonical);
    for (a, b) in config.routes().iter().zip(again.routes()) {
        assert_eq!(a.target, b.target);
    }

    let client = [192, 0, 2, 1].into();
    let mut parser = Parser::new(u32::MAX);
    if let (Ok(Progress::Complete), Some(known)) = (parser.feed(head), parser.head()) {
        same_routes(&config, &again, &Request::http(client, known, head));
    }
    // Whatever the parts of a request are, a lookup must bear them.
    let loose = Request {
        host: Some(head),
        path: head,
        query: head,
        fields: head,
        alpn: head,
        ..Request::of(client)
    };
    same_routes(&config, &again, &loose);
});
