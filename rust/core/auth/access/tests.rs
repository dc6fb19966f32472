// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::heap::StdHeap;
use std::{format, string::String, vec::Vec};

const A: &str = "000102030405060708090a0b0c0d0e0f";
const B: &str = "FFEEDDCCBBAA99887766554433221100ffeeddccbbaa99887766554433221100";

fn parse(text: &str) -> Result<Access<StdHeap>, Rejected> {
    Access::parse(text.as_bytes())
}

fn why(text: &str) -> (u32, Why) {
    match parse(text) {
        Err(Rejected { line, why }) => (line, why),
        Ok(_) => panic!("{text:?} is taken"),
    }
}

#[test]
fn keys_and_networks() {
    let text = format!(
        "# who may speak\n\nkey 7 {A}\r\n\tkey 255  {B} # the new one\nfrom 10.0.0.0/8\nfrom 192.0.2.1\nsend 255"
    );
    let access = parse(&text).unwrap();
    let keys: Vec<_> = access
        .keys()
        .map(|key| (key.id(), key.octets().len()))
        .collect();
    assert_eq!(keys, [(7, 16), (255, 32)]);
    let expected: Vec<u8> = (0..16).collect();
    assert_eq!(access.key(7).unwrap().octets(), expected);
    assert_eq!(&access.key(255).unwrap().octets()[..3], [0xff, 0xee, 0xdd]);
    assert_eq!(access.key(8), None);
    assert_eq!(access.send(), 255);
    for (ip, admitted) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
    ] {
        assert_eq!(
            admits(access.networks(), ip.parse().unwrap()),
            admitted,
            "{ip}"
        );
    }
}

#[test]
fn without_networks_anybody_is_admitted() {
    let access = parse(&format!("key 1 {A}")).unwrap();
    assert!(admits(access.networks(), "203.0.113.9".parse().unwrap()));
    assert!(access.networks().is_empty());
}

#[test]
fn the_first_key_is_sent_with() {
    assert_eq!(parse(&format!("key 9 {A}\nkey 3 {B}")).unwrap().send(), 9);
    assert_eq!(parse("").unwrap().send(), 0);
    assert_eq!(parse("").unwrap().keys().count(), 0);
    // `send` may stand before the key that it names.
    assert_eq!(
        parse(&format!("send 3\nkey 9 {A}\nkey 3 {B}"))
            .unwrap()
            .send(),
        3
    );
}

#[test]
fn what_is_refused() {
    for word in ["keys 1", "KEY 1", "\u{1}", "key1"] {
        assert_eq!(why(word), (1, Why::Word), "{word}");
    }
    for line in [
        "key",
        "key 1",
        "send",
        "from",
        "send 1 2",
        "from 10.0.0.1 x",
    ] {
        assert_eq!(why(line), (1, Why::Words), "{line}");
    }
    assert_eq!(why(&format!("key 1 {A} {A}")), (1, Why::Words));
    for id in ["0", "256", "-1", "+1", "x", "1x", "99999999999999999999"] {
        assert_eq!(why(&format!("\nkey {id} {A}")), (2, Why::Id), "{id}");
    }
    let long = "ab".repeat(MAX_KEY + 1);
    let odd = format!("{A}0");
    let sign = A.replace("00", "+0");
    for hex in [
        "",
        "00",
        &A[2..],
        &long,
        &odd,
        &sign,
        &A.replace('f', "g"),
        &A.replace('f', "é"),
    ] {
        let line = format!("key 1 {hex}");
        let expected = if hex.is_empty() { Why::Words } else { Why::Hex };
        assert_eq!(why(&line), (1, expected), "{hex}");
    }
    assert_eq!(why(&format!("key 1 {A}\nkey 1 {B}")), (2, Why::Twice));
    assert_eq!(
        why(&format!("key 1 {A}\nkey 2 {A}\nkey 3 {A}")),
        (3, Why::TooMany)
    );
    assert_eq!(why(&format!("send 2\nkey 1 {A}")), (1, Why::Send));
    assert_eq!(why(&format!("key 1 {A}\nsend 1\nsend 1")), (3, Why::Send));
    for network in ["10.0.0.0/33", "10.0.0", "host", "::/0"] {
        assert_eq!(
            why(&format!("from {network}")),
            (1, Why::Network),
            "{network}"
        );
    }
}

#[test]
fn nothing_shows_a_key() {
    let access = parse(&format!("key 1 {A}")).unwrap();
    assert_eq!(format!("{:?}", access.key(1).unwrap()), "Key(1)");
    let shown: Vec<String> = [
        format!("key 1 {A}x"),
        format!("kay {A}"),
        format!("from {A}"),
    ]
    .iter()
    .map(|text| format!("{}", parse(text).err().unwrap()))
    .collect();
    assert!(shown.iter().all(|text| !text.contains("0001")), "{shown:?}");
}
