// SPDX-License-Identifier: GPL-2.0

//! THOP messages: there and back, damaged, and cut short.

use core::net::IpAddr;
use proptest::{collection::vec, prelude::*};
mod scarce;

use scarce::{ScarceHeap, ROOM};
use thop_core::{
    addr::Endpoint,
    checksum::Sum,
    heap::StdHeap,
    wire::{
        checksum_ok, header_ok, is_sealed, pseudo_header, set_checksum, Body, Bundle, DecodeError,
        DropReason, EncodeError, Handoff, Haste, Load, Message, Messages, Monitor, Packet, Parties,
        Ping, Seal, TcpOptions, TcpState, Unfit, CPU_FULL, MAX_BUNDLE, MAX_FIXED, MAX_LEN, MIN_LEN,
        MIN_MSS, SEAL_LEN,
    },
};

fn parties() -> impl Strategy<Value = Parties> {
    let addresses = prop_oneof![
        any::<[[u8; 4]; 3]>().prop_map(|ips| ips.map(IpAddr::from)),
        any::<[[u8; 16]; 3]>().prop_map(|ips| ips.map(IpAddr::from)),
    ];
    (addresses, 1u16.., 1u16.., 1u16..).prop_map(|([client, service, server], c, v, s)| Parties {
        client: Endpoint::new(client, c),
        service: Endpoint::new(service, v),
        server: Endpoint::new(server, s),
    })
}

prop_compose! {
    fn state()(
        numbers: [u32; 5],
        window: u16,
        mss in MIN_MSS..,
        scales in (0u8..=14, 0u8..=14),
        bits in 0u16..32,
    ) -> TcpState {
        let options = TcpOptions::from_bits(bits).unwrap();
        let (snd_wscale, rcv_wscale) = if options.contains(TcpOptions::WSCALE) {
            scales
        } else {
            (0, 0)
        };
        TcpState {
            isn_client: numbers[0],
            isn_switch: numbers[1],
            ts_recent: numbers[2],
            ts_last: numbers[3],
            window: u32::from(window) << snd_wscale,
            rtt_us: numbers[4],
            mss,
            snd_wscale,
            rcv_wscale,
            options,
        }
    }
}

fn body(request_len: usize) -> impl Strategy<Value = Body> {
    prop_oneof![
        3 => (state(), any::<(u16, u32)>(), 0u8..4).prop_map(move |(state, (lease_ms, deadline_ms), haste)| Body::Create {
            state,
            lease_ms,
            deadline_ms,
            haste: Haste::from_bits(haste).unwrap(),
            request_len: request_len as u32,
        }),
        1 => (1u64.., any::<u32>()).prop_map(|(boot, clock_ms)| Body::Created { boot, clock_ms }),
        1 => any::<bool>().prop_map(|leaves| Body::NotifyClose { leaves }),
        2 => prop::sample::select(&DropReason::ALL[..]).prop_map(Body::NotifyDrop),
        1 => Just(Body::CloseAck),
        1 => any::<bool>().prop_map(|reset| Body::Forget { reset }),
        1 => Just(Body::Forgotten),
        1 => any::<bool>().prop_map(|asks| Body::Confirm { asks }),
        1 => (1u64.., any::<u32>()).prop_map(|(boot, clock_ms)| Body::Late { boot, clock_ms }),
    ]
}

/// A message, and the request that follows it if it is a CREATE.
fn message() -> impl Strategy<Value = (Message, Vec<u8>)> {
    (any::<(u64, u64)>(), parties(), vec(any::<u8>(), 0..50)).prop_flat_map(
        |((epoch, id), parties, request)| {
            body(request.len()).prop_map(move |body| {
                let message = Message {
                    handoff: Handoff { epoch, id },
                    parties,
                    body,
                };
                let request = match body {
                    Body::Create { .. } => request.clone(),
                    _ => Vec::new(),
                };
                (message, request)
            })
        },
    )
}

fn ping() -> impl Strategy<Value = Ping> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (any::<(u64, u64)>(), address, 1u16..).prop_map(|((epoch, sequence), ip, port)| Ping {
        epoch,
        sequence,
        server: Endpoint::new(ip, port),
    })
}

prop_compose! {
    fn load()(
        ping in ping(),
        boot in 1u64..,
        drops: u64,
        numbers: [u32; 3],
        cpu in 0..=CPU_FULL,
        listening: bool,
        clock_ms: u32,
    ) -> Load {
        Load {
            ping,
            boot,
            drops,
            connections: numbers[0],
            queue: numbers[1],
            queue_limit: numbers[2],
            cpu,
            listening,
            clock_ms,
        }
    }
}

/// A message of either kind, with the request that follows.
fn packet() -> impl Strategy<Value = (Packet, Vec<u8>)> {
    prop_oneof![
        3 => message().prop_map(|(message, request)| (Packet::Handoff(message), request)),
        1 => ping().prop_map(|ping| (Packet::Monitor(Monitor::Ping(ping)), Vec::new())),
        1 => load().prop_map(|load| (Packet::Monitor(Monitor::Load(load)), Vec::new())),
    ]
}

/// Written by the message's own kind.
fn write(packet: &Packet, fixed: &mut [u8; MAX_FIXED]) -> Result<usize, EncodeError> {
    match packet {
        Packet::Handoff(message) => message.encode(fixed),
        Packet::Monitor(message) => message.encode(fixed),
        Packet::Bundle => unreachable!("a bundle is not one message"),
    }
}

fn fixed_len(packet: &Packet) -> usize {
    match packet {
        Packet::Handoff(message) => message.fixed_len(),
        Packet::Monitor(message) => message.fixed_len(),
        Packet::Bundle => unreachable!("a bundle is not one message"),
    }
}

fn sum(octets: &[u8]) -> Sum {
    let mut sum = Sum::new();
    sum.add(octets);
    sum
}

/// The whole message as it travels.
fn encode(packet: &Packet, request: &[u8]) -> Vec<u8> {
    let mut fixed = [0xee; MAX_FIXED];
    let len = write(packet, &mut fixed).unwrap();
    assert_eq!(len, fixed_len(packet));
    assert!(len >= MIN_LEN);
    let mut whole = sum(&fixed[..len]);
    whole.add(request);
    set_checksum(&mut fixed, whole);
    [&fixed[..len], request].concat()
}

/// What a receiver does.
fn receive(octets: &[u8]) -> Option<(Packet, usize)> {
    if !checksum_ok(sum(octets)) {
        return None;
    }
    Packet::decode(octets, octets.len()).ok()
}

proptest! {
    #[test]
    fn there_and_back((packet, request) in packet()) {
        let octets = encode(&packet, &request);
        prop_assert_eq!(receive(&octets), Some((packet, fixed_len(&packet))));
        // The fixed part is enough to decode it.
        let head = &octets[..octets.len().min(MAX_FIXED)];
        prop_assert_eq!(
            Packet::decode(head, octets.len()),
            Ok((packet, fixed_len(&packet)))
        );
        prop_assert_eq!(&octets[fixed_len(&packet)..], &request[..]);
        match packet {
            Packet::Handoff(message) => {
                prop_assert_eq!(message.reply(message.body), message);
                prop_assert_eq!(Message::decode(head, octets.len()), Ok((message, octets.len() - request.len())));
                prop_assert_eq!(Monitor::decode(head, octets.len()), Err(DecodeError::Opcode));
            }
            Packet::Monitor(message) => {
                prop_assert_eq!(Monitor::decode(head, octets.len()), Ok((message, octets.len())));
                prop_assert_eq!(Message::decode(head, octets.len()), Err(DecodeError::Opcode));
            }
            Packet::Bundle => unreachable!("none was written"),
        }
    }

    /// What goes into bundles comes out of them, in order, and nothing else does.
    #[test]
    fn bundles_there_and_back(messages in vec(message(), 0..60)) {
        let mut bundle = Bundle::<StdHeap>::default();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut deliver = |bundle: &mut Bundle<StdHeap>| {
            let octets = bundle.finish();
            assert!(octets.len() <= MAX_BUNDLE);
            if !octets.is_empty() {
                assert_eq!(receive(octets), Some((Packet::Bundle, 8)));
                let messages: Result<Vec<_>, _> = Messages::new(&octets[8..]).collect();
                received.extend(messages.unwrap());
            }
            bundle.clear();
        };
        for (message, _) in messages {
            match bundle.push(&message) {
                Ok(()) => {}
                Err(Unfit::Full) => {
                    deliver(&mut bundle);
                    bundle.push(&message).unwrap();
                }
                Err(why) => {
                    prop_assert_eq!(why, Unfit::Message);
                    prop_assert!(matches!(message.body, Body::Create { .. }), "{:?}", message);
                    continue;
                }
            }
            sent.push(message);
        }
        deliver(&mut bundle);
        prop_assert_eq!(received, sent);
    }

    /// Without memory a bundle stays what it was.
    #[test]
    fn a_bundle_without_memory_is_as_before(messages in vec(message(), 1..10), room in 0u64..500) {
        let mut bundle = Bundle::<ScarceHeap>::default();
        ROOM.set(room);
        for (message, _) in messages {
            let before = bundle.finish().to_vec();
            if bundle.push(&message).is_err() {
                prop_assert_eq!(bundle.finish(), &before[..]);
            }
        }
        ROOM.set(u64::MAX);
        let octets = bundle.finish();
        prop_assert!(Messages::new(octets.get(8..).unwrap_or(&[])).all(|message| message.is_ok()));
    }

    #[test]
    fn the_checksum_finds_every_flipped_bit((packet, request) in packet()) {
        let mut octets = encode(&packet, &request);
        prop_assert!(checksum_ok(sum(&octets)));
        for bit in 0..8 * octets.len() {
            octets[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!checksum_ok(sum(&octets)));
            octets[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Even when the checksum is made to fit, a flipped bit never makes the message another one
    /// that claims to be as long and means the same.
    #[test]
    fn a_flipped_bit_is_refused_or_seen((packet, request) in packet()) {
        let octets = encode(&packet, &request);
        for bit in 0..8 * fixed_len(&packet) {
            if (16..32).contains(&bit) {
                continue;
            }
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            if let Ok((other, _)) = Packet::decode(&flipped, flipped.len()) {
                prop_assert_ne!(other, packet);
            }
        }
    }

    #[test]
    fn no_part_of_a_message_is_one((packet, request) in packet()) {
        let octets = encode(&packet, &request);
        for len in 0..octets.len() {
            // The network says how much came: less than the message says.
            prop_assert!(Packet::decode(&octets[..len], len).is_err());
            // The caller has too little of it in hand.
            if len < fixed_len(&packet) {
                prop_assert_eq!(
                    Packet::decode(&octets[..len], octets.len()),
                    Err(DecodeError::Short)
                );
            }
        }
        let mut longer = octets.clone();
        longer.push(0);
        prop_assert_eq!(Packet::decode(&longer, longer.len()), Err(DecodeError::Length));
    }

    #[test]
    fn any_octets_do_not_panic(octets in vec(any::<u8>(), 0..200), total in any::<usize>()) {
        let _ = Packet::decode(&octets, octets.len());
        let _ = Packet::decode(&octets, total);
        let _ = Packet::decode(&octets, usize::from(total as u16));
        prop_assert!(Messages::new(&octets).count() <= octets.len());
    }

    /// There is one way to write a message: what is understood is written back to the same octets.
    #[test]
    fn what_is_understood_is_written_the_same(
        (packet, request) in packet(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut octets = encode(&packet, &request);
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok((read, fixed_len)) = Packet::decode(&octets, octets.len()) {
            if read == Packet::Bundle {
                return Ok(());
            }
            let mut fixed = [0; MAX_FIXED];
            prop_assert_eq!(write(&read, &mut fixed), Ok(fixed_len));
            octets[2..4].fill(0);
            prop_assert_eq!(&fixed[..fixed_len], &octets[..fixed_len]);
        }
    }

    /// What is written is understood, whatever the fields are.
    #[test]
    fn what_is_written_is_understood(
        (message, _) in message(),
        ports in any::<[u16; 3]>().prop_map(|ports| ports.map(|port| port % 4)),
        extremes: (u32, u16, u8, u8, u32),
    ) {
        let mut message = message;
        message.parties.client.port = ports[0];
        message.parties.service.port = ports[1];
        message.parties.server.port = ports[2];
        if let Body::Create { state, request_len, .. } = &mut message.body {
            state.window = extremes.0;
            state.mss = extremes.1 % 100;
            state.snd_wscale = extremes.2 % 20;
            state.rcv_wscale = extremes.3 % 20;
            *request_len = extremes.4 % 70_000;
        }
        if let Body::Created { boot, .. } | Body::Late { boot, .. } = &mut message.body {
            *boot %= 2;
        }
        let mut fixed = [0; MAX_FIXED];
        match message.encode(&mut fixed) {
            Ok(len) => {
                let request_len = match message.body {
                    Body::Create { request_len, .. } => request_len as usize,
                    _ => 0,
                };
                prop_assert_eq!(
                    Message::decode(&fixed, len + request_len),
                    Ok((message, len))
                );
            }
            Err(EncodeError::Length) => {
                let Body::Create { request_len, .. } = message.body else {
                    panic!("only a request can be too long");
                };
                prop_assert!(message.fixed_len() + request_len as usize > MAX_LEN);
            }
            Err(_) => {}
        }
    }

    /// The same of the load monitor's.
    #[test]
    fn what_the_monitor_writes_is_understood(
        load in load(),
        boot in 0u64..3,
        cpu in CPU_FULL - 2..CPU_FULL + 3,
        port in 0u16..3,
    ) {
        let mut load = Load { boot, cpu, ..load };
        load.ping.server.port = port;
        let mut fixed = [0; MAX_FIXED];
        match Monitor::Load(load).encode(&mut fixed) {
            Ok(len) => prop_assert_eq!(
                Monitor::decode(&fixed, len),
                Ok((Monitor::Load(load), len))
            ),
            Err(EncodeError::Port) => prop_assert_eq!(port, 0),
            Err(error) => {
                prop_assert_eq!(error, EncodeError::Range);
                prop_assert!(boot == 0 || cpu > CPU_FULL);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_seal_is_read_as_it_was_written(
        key in 1u8..,
        sender in 1u64..,
        receiver: u64,
        sequence: u64,
        mac: [u8; 16],
        len in 0usize..=MAX_LEN - SEAL_LEN,
        bit in 0usize..8 * SEAL_LEN,
    ) {
        let seal = Seal { key, sender, receiver, sequence };
        let covered = seal.covered(len).unwrap();
        let mut header = Seal::finish(covered, &mac);
        let total = SEAL_LEN + len;
        prop_assert!(is_sealed(&header) && header_ok(&header));
        prop_assert_eq!(Seal::decode(&header, total), Ok((seal, mac)));
        // Only together with what is covered.
        prop_assert_eq!(&covered[4..32], &header[4..32]);
        prop_assert_eq!((&covered[2..4], &covered[32..]), (&[0; 2][..], &[0; 16][..]));
        // Neither longer nor shorter; and no message without a seal begins so.
        prop_assert_eq!(Seal::decode(&header, total + 1), Err(DecodeError::Length));
        prop_assert_eq!(Packet::decode(&header, total), Err(DecodeError::Opcode));
        for cut in 0..SEAL_LEN {
            prop_assert!(Seal::decode(&header[..cut], total).is_err());
        }
        header[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!header_ok(&header));
    }

    #[test]
    fn any_octets_are_a_seal_or_none(octets: Vec<u8>, total: u16) {
        let _ = Seal::decode(&octets, octets.len());
        let _ = Seal::decode(&octets, usize::from(total));
    }
}

#[test]
fn what_cannot_be_sealed() {
    let seal = Seal {
        key: 1,
        sender: 1,
        receiver: 0,
        sequence: 0,
    };
    assert!(seal.covered(MAX_LEN - SEAL_LEN).is_ok());
    assert_eq!(
        seal.covered(MAX_LEN - SEAL_LEN + 1),
        Err(EncodeError::Length)
    );
    assert_eq!(Seal { key: 0, ..seal }.covered(0), Err(EncodeError::Range));
    assert_eq!(
        Seal { sender: 0, ..seal }.covered(0),
        Err(EncodeError::Range)
    );
    let mut header = Seal::finish(seal.covered(0).unwrap(), &[0; 16]);
    header[5] = 0;
    assert_eq!(Seal::decode(&header, SEAL_LEN), Err(DecodeError::Range));
}

#[test]
fn the_mac_covers_who_speaks_to_whom() {
    let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let header = pseudo_header(a, b);
    assert_eq!(
        &header[..16],
        "::ffff:192.0.2.1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
    );
    assert_eq!(
        &header[16..],
        "2001:db8::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
    );
    assert_ne!(header, pseudo_header(b, a));
}
