// SPDX-License-Identifier: GPL-2.0

//! Each octet of a message has its place, and each field is checked.

use super::*;
use crate::heap::StdHeap;
use alloc::vec::Vec;
use core::net::{
    Ipv4Addr,
    Ipv6Addr, //
};

fn message(body: Body) -> Message {
    let endpoint = |host, port| Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port);
    Message {
        handoff: Handoff {
            epoch: 0x0102_0304_0506_0708,
            id: 0x1112_1314_1516_1718,
        },
        parties: Parties {
            client: endpoint(1, 0x8001),
            service: endpoint(2, 80),
            server: endpoint(3, 8080),
        },
        body,
    }
}

fn state() -> TcpState {
    TcpState {
        isn_client: 0x2122_2324,
        isn_switch: 0x3132_3334,
        ts_recent: 0x4142_4344,
        ts_last: 0x5152_5354,
        window: 0x0001_0000,
        rtt_us: 0x9192_9394,
        mss: 1460,
        snd_wscale: 7,
        rcv_wscale: 10,
        options: TcpOptions::NONE
            .with(TcpOptions::WSCALE, true)
            .with(TcpOptions::SACK, false)
            .with(TcpOptions::FIN, true),
    }
}

fn create(state: TcpState, request_len: u32) -> Message {
    message(Body::Create {
        state,
        lease_ms: 0x1388,
        deadline_ms: 0x7172_7374,
        haste: Haste::GONE,
        request_len,
    })
}

#[test]
fn every_octet_has_its_place() {
    let mut out = [0xee; MAX_FIXED];
    assert_eq!(create(state(), 3).encode(&mut out), Ok(88));
    #[rustfmt::skip]
    let expected = [
        0x00, 0x01, 0x00, 0x00, 2, 0, 0, 91,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        4, 2, 0, 0, 0x80, 0x01, 0, 80, 0x1f, 0x90, 0, 0,
        10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3,
        0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34,
        0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x53, 0x54,
        0x00, 0x01, 0x00, 0x00, 0x91, 0x92, 0x93, 0x94,
        0x05, 0xb4, 7, 10, 0x00, 0x11, 0x13, 0x88,
        0x71, 0x72, 0x73, 0x74, 0, 0, 0, 3,
    ];
    assert_eq!(out[..88], expected);
    assert_eq!(out[88..], [0xee; MAX_FIXED - 88]);

    let (boot, clock_ms) = (0x6162_6364_6566_6768, 0x8182_8384);
    for (opcode, body) in [
        (2, Body::Created { boot, clock_ms }),
        (12, Body::Late { boot, clock_ms }),
    ] {
        assert_eq!(message(body).encode(&mut out), Ok(60));
        assert_eq!(out[..8], [0, opcode, 0, 0, 2, 0, 0, 60]);
        assert_eq!(out[8..25], expected[8..25]);
        assert_eq!(out[25], 0);
        assert_eq!(out[26..48], expected[26..48]);
        assert_eq!(
            out[48..56],
            [0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68]
        );
        assert_eq!(out[56..60], [0x81, 0x82, 0x83, 0x84]);
    }
}

#[test]
fn every_octet_of_a_bundle_has_its_place() {
    let mut bundle = Bundle::<StdHeap>::default();
    assert!(bundle.is_empty());
    assert_eq!(bundle.finish(), []);
    let (first, second) = (
        message(Body::NotifyClose { leaves: false }),
        message(Body::Confirm { asks: false }),
    );
    bundle.push(&first).unwrap();
    bundle.push(&second).unwrap();
    let octets = bundle.finish().to_vec();
    assert_eq!(octets[..2], [0, 13]);
    assert_eq!(octets[4..8], [2, 0, 0, 104]);
    let mut out = [0; MAX_FIXED];
    assert_eq!(first.encode(&mut out), Ok(48));
    assert_eq!(octets[8..56], out[..48]);
    assert_eq!(second.encode(&mut out), Ok(48));
    assert_eq!(octets[56..], out[..48]);
    let mut sum = Sum::new();
    sum.add(&octets);
    assert!(checksum_ok(sum));
    assert_eq!(Packet::decode(&octets, 104), Ok((Packet::Bundle, 8)));
    let there: Vec<_> = Messages::new(&octets[8..]).collect();
    assert_eq!(there, [Ok(first), Ok(second)]);
    bundle.clear();
    assert!(bundle.is_empty());
}

#[test]
fn a_bundle_is_checked() {
    let mut bundle = Bundle::<StdHeap>::default();
    assert_eq!(bundle.push(&create(state(), 0)), Err(Unfit::Message));
    assert_eq!(
        bundle.push(&message(Body::Created {
            boot: 0,
            clock_ms: 0
        })),
        Err(Unfit::Message)
    );
    assert!(bundle.is_empty());
    let mut count = 0;
    while bundle.push(&message(Body::CloseAck)).is_ok() {
        count += 1;
    }
    // Any more would be too long for some network.
    assert_eq!(count, (MAX_BUNDLE - 8) / 48);
    assert_eq!(bundle.push(&message(Body::CloseAck)), Err(Unfit::Full));
    let good = bundle.finish().to_vec();
    assert_eq!(Messages::new(&good[8..]).count(), count);
    let with = |at: usize, octet: u8| {
        let mut octets = good.clone();
        octets[at] = octet;
        Packet::decode(&octets, octets.len())
    };
    assert_eq!(with(4, 1), Err(DecodeError::Version));
    assert_eq!(with(5, 1), Err(DecodeError::Reserved));
    assert_eq!(with(7, good[7] + 1), Err(DecodeError::Length));
    assert_eq!(
        Packet::decode(&[0, 13, 0, 0, 2, 0, 0, 8], 8),
        Err(DecodeError::Short)
    );
    assert_eq!(
        Packet::decode(&[0, 13, 0, 0, 2, 0, 0xff, 0xff], 0xffff),
        Err(DecodeError::Length)
    );

    // Whatever is wrong with a message ends the bundle, behind what came before.
    let wrong = |at: usize, octet: u8| {
        let mut octets = good.clone();
        octets[at] = octet;
        let messages: Vec<_> = Messages::new(&octets[8..]).collect();
        assert!(messages[..messages.len() - 1].iter().all(Result::is_ok));
        (messages.len(), *messages.last().unwrap())
    };
    let second = 8 + 48;
    assert_eq!(wrong(second + 7, 0), (2, Err(DecodeError::Short)));
    assert_eq!(wrong(second + 7, 47), (2, Err(DecodeError::Short)));
    assert_eq!(wrong(second + 7, 49), (2, Err(DecodeError::Length)));
    assert_eq!(wrong(second + 6, 0xff), (2, Err(DecodeError::Length)));
    // Neither the load monitor's nor a bundle.
    assert_eq!(wrong(second + 1, 9), (2, Err(DecodeError::Opcode)));
    assert_eq!(wrong(second + 1, 13), (2, Err(DecodeError::Opcode)));
    assert_eq!(
        Messages::new(&good[8..60]).last(),
        Some(Err(DecodeError::Short))
    );
    // No CREATE, although it is well-formed.
    let mut out = [0; MAX_FIXED];
    let len = create(state(), 0).encode(&mut out).unwrap();
    let messages: Vec<_> = Messages::new(&out[..len]).collect();
    assert_eq!(messages, [Err(DecodeError::Opcode)]);
}

fn ping() -> Ping {
    Ping {
        epoch: 0x0102_0304_0506_0708,
        sequence: 0x1112_1314_1516_1718,
        server: Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 8080),
    }
}

fn load() -> Load {
    Load {
        ping: ping(),
        boot: 0x2122_2324_2526_2728,
        drops: 0x3132_3334_3536_3738,
        connections: 0x4142_4344,
        queue: 0x5152_5354,
        queue_limit: 0x6162_6364,
        cpu: 0x0304,
        listening: true,
        clock_ms: 0x7172_7374,
    }
}

#[test]
fn every_octet_of_the_monitor_has_its_place() {
    #[rustfmt::skip]
    let expected = [
        0x00, 0x0a, 0x00, 0x00, 2, 0, 0, 72,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        4, 0, 0, 0, 0x1f, 0x90, 0, 0, 10, 0, 0, 3,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,
        0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x53, 0x54,
        0x61, 0x62, 0x63, 0x64, 0x03, 0x04, 0x00, 0x01,
        0x71, 0x72, 0x73, 0x74,
    ];
    let mut out = [0xee; MAX_FIXED];
    assert_eq!(Monitor::Load(load()).encode(&mut out), Ok(72));
    assert_eq!(out[..72], expected);
    assert_eq!(out[72..], [0xee; MAX_FIXED - 72]);

    let mut out = [0xee; MAX_FIXED];
    assert_eq!(Monitor::Ping(ping()).encode(&mut out), Ok(MIN_LEN));
    assert_eq!(out[..8], [0, 9, 0, 0, 2, 0, 0, MIN_LEN as u8]);
    assert_eq!(out[8..MIN_LEN], expected[8..36]);
    assert_eq!(out[MIN_LEN..], [0xee; MAX_FIXED - MIN_LEN]);

    let mut server = ping();
    server.server.ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut out = [0xee; MAX_FIXED];
    assert_eq!(Monitor::Ping(server).encode(&mut out), Ok(48));
    assert_eq!((out[7], out[24]), (48, 6));
    assert_eq!(out[32..48], Ipv6Addr::LOCALHOST.octets());
}

#[test]
fn each_field_of_the_monitor_is_checked() {
    let mut good = [0; MAX_FIXED];
    assert_eq!(Monitor::Load(load()).encode(&mut good), Ok(72));
    let with = |at: usize, octet: u8| {
        let mut m = good;
        m[at] = octet;
        Monitor::decode(&m[..72], 72).unwrap_err()
    };
    assert_eq!(
        Monitor::decode(&good[..72], 72),
        Ok((Monitor::Load(load()), 72))
    );
    assert_eq!(with(0, 1), DecodeError::Opcode);
    assert_eq!(with(1, 8), DecodeError::Opcode);
    assert_eq!(with(1, 9), DecodeError::Length);
    assert_eq!(with(1, 11), DecodeError::Opcode);
    assert_eq!(with(4, 1), DecodeError::Version);
    assert_eq!(with(5, 1), DecodeError::Reserved);
    assert_eq!(with(7, 73), DecodeError::Length);
    assert_eq!(with(24, 0), DecodeError::Family);
    assert_eq!(with(24, 6), DecodeError::Short);
    for at in [25, 26, 27, 30, 31, 66] {
        assert_eq!(with(at, 1), DecodeError::Reserved, "octet {at}");
        assert_eq!(with(at, 0x80), DecodeError::Reserved, "octet {at}");
    }
    for bit in 1..8 {
        assert_eq!(with(67, 1 << bit), DecodeError::Reserved);
    }
    // 1001 thousandths; 1000 are all there are.
    good[64..66].copy_from_slice(&1001u16.to_be_bytes());
    assert_eq!(Monitor::decode(&good, 72), Err(DecodeError::Range));
    good[64..66].copy_from_slice(&CPU_FULL.to_be_bytes());
    assert!(Monitor::decode(&good, 72).is_ok());
    good[36..44].fill(0);
    assert_eq!(Monitor::decode(&good, 72), Err(DecodeError::Range));
    good[28..30].fill(0);
    assert_eq!(Monitor::decode(&good, 72), Err(DecodeError::Port));
}

#[test]
fn a_monitor_that_decoding_would_refuse_is_not_written() {
    let mut out = [0; MAX_FIXED];
    let mut refused = |change: fn(&mut Load)| {
        let mut l = load();
        change(&mut l);
        Monitor::Load(l).encode(&mut out).unwrap_err()
    };
    assert_eq!(refused(|l| l.ping.server.port = 0), EncodeError::Port);
    assert_eq!(refused(|l| l.boot = 0), EncodeError::Range);
    assert_eq!(refused(|l| l.cpu = CPU_FULL + 1), EncodeError::Range);
}

#[test]
fn what_decoding_would_refuse_is_not_written() {
    let mut out = [0; MAX_FIXED];
    let mut refused = |m: Message| m.encode(&mut out).unwrap_err();

    let mut m = message(Body::Created {
        boot: 1,
        clock_ms: 1,
    });
    m.parties.server.ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    assert_eq!(refused(m), EncodeError::Family);
    let mut m = message(Body::Created {
        boot: 1,
        clock_ms: 1,
    });
    m.parties.service.port = 0;
    assert_eq!(refused(m), EncodeError::Port);
    assert_eq!(
        refused(message(Body::Created {
            boot: 0,
            clock_ms: 1
        })),
        EncodeError::Range
    );

    let bad = |change: fn(&mut TcpState)| {
        let mut s = state();
        change(&mut s);
        create(s, 0)
    };
    assert_eq!(refused(bad(|s| s.mss = 47)), EncodeError::Mss);
    assert_eq!(
        refused(bad(|s| s.snd_wscale = 15)),
        EncodeError::WindowScale
    );
    assert_eq!(
        refused(bad(|s| s.options = TcpOptions::SACK)),
        EncodeError::WindowScale
    );
    assert_eq!(
        refused(bad(|s| s.window = 0x1_0000 << 7)),
        EncodeError::Window
    );
    assert_eq!(refused(create(state(), 65_448)), EncodeError::Length);
    assert_eq!(refused(create(state(), u32::MAX)), EncodeError::Length);
    assert!(create(state(), 65_447).encode(&mut out).is_ok());
}

#[test]
fn each_field_is_checked() {
    let mut good = [0; MAX_FIXED];
    assert_eq!(create(state(), 3).encode(&mut good), Ok(88));
    good[25] = 0;
    let with = |at: usize, octet: u8| {
        let mut m = good;
        m[at] = octet;
        Message::decode(&m[..91], 91).unwrap_err()
    };
    assert!(Message::decode(&good[..91], 91).is_ok());
    assert_eq!(with(4, 1), DecodeError::Version);
    assert_eq!(with(1, 0), DecodeError::Opcode);
    for monitor_or_seal in 9..=11 {
        assert_eq!(with(1, monitor_or_seal), DecodeError::Opcode);
    }
    assert_eq!(with(1, 13), DecodeError::Opcode);
    assert_eq!(with(0, 1), DecodeError::Opcode);
    assert_eq!(with(1, 2), DecodeError::Length);
    assert_eq!(with(1, 4), DecodeError::Reason);
    assert_eq!(with(5, 1), DecodeError::Reserved);
    assert_eq!(with(7, 92), DecodeError::Length);
    assert_eq!(with(24, 5), DecodeError::Family);
    assert_eq!(with(24, 6), DecodeError::Short);
    assert_eq!(with(25, 4), DecodeError::Reason);
    assert_eq!(with(26, 1), DecodeError::Reserved);
    assert_eq!(with(27, 1), DecodeError::Reserved);
    assert_eq!(with(31, 0), DecodeError::Port);
    assert_eq!(with(34, 1), DecodeError::Reserved);
    assert_eq!(with(64, 0xff), DecodeError::Window);
    assert_eq!(with(74, 15), DecodeError::WindowScale);
    assert_eq!(with(75, 15), DecodeError::WindowScale);
    assert_eq!(with(76, 1), DecodeError::Reserved);
    assert_eq!(with(77, 0x20), DecodeError::Reserved);
    assert_eq!(with(77, 0x10), DecodeError::WindowScale);
    assert_eq!(with(87, 2), DecodeError::RequestLen);
    good[72] = 0;
    good[73] = 47;
    assert_eq!(Message::decode(&good[..91], 91), Err(DecodeError::Mss));

    let (boot, clock_ms) = (1, 1);
    for body in [
        Body::Created { boot, clock_ms },
        Body::Late { boot, clock_ms },
    ] {
        let mut octets = [0; MAX_FIXED];
        assert_eq!(message(body).encode(&mut octets), Ok(60));
        octets[55] = 0;
        assert_eq!(Message::decode(&octets, 60), Err(DecodeError::Range));
    }
}

#[test]
fn a_question_is_a_confirm_with_a_reason() {
    let mut out = [0; MAX_FIXED];
    let question = message(Body::Confirm { asks: true });
    assert_eq!(question.encode(&mut out), Ok(48));
    assert_eq!((out[1], out[25]), (8, 1));
    assert_eq!(Message::decode(&out, 48), Ok((question, 48)));
    out[25] = 2;
    assert_eq!(Message::decode(&out, 48), Err(DecodeError::Reason));
    // A CLSACK has none.
    out[1] = 5;
    out[25] = 1;
    assert_eq!(Message::decode(&out, 48), Err(DecodeError::Reason));
}

#[test]
fn a_message_must_be_as_long_as_it_says() {
    let mut out = [0; MAX_FIXED];
    assert_eq!(
        message(Body::Confirm { asks: false }).encode(&mut out),
        Ok(48)
    );
    assert!(Message::decode(&out, 48).is_ok());
    assert_eq!(Message::decode(&out, 49), Err(DecodeError::Length));
    // The length field agrees, but something follows.
    out[7] += 1;
    assert_eq!(Message::decode(&out, 49), Err(DecodeError::Length));
    assert_eq!(Message::decode(&out, 65_536 + 49), Err(DecodeError::Length));
    assert_eq!(Message::decode(&out, usize::MAX), Err(DecodeError::Length));

    assert_eq!(Monitor::Ping(ping()).encode(&mut out), Ok(MIN_LEN));
    assert!(Monitor::decode(&out, MIN_LEN).is_ok());
    out[7] += 1;
    assert_eq!(Monitor::decode(&out, MIN_LEN + 1), Err(DecodeError::Length));
}

#[test]
fn counters_have_one_place_each() {
    for (i, error) in DecodeError::ALL.iter().enumerate() {
        assert_eq!(error.index(), i);
    }
    for (i, reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), i);
        assert_eq!(DropReason::from_wire(*reason as u8), Some(*reason));
    }
    assert_eq!(DropReason::from_wire(0), None);
    assert_eq!(DropReason::from_wire(9), None);
}
