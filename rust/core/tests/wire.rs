// SPDX-License-Identifier: GPL-2.0

//! THOP messages: there and back, damaged, and cut short.

use core::net::IpAddr;
use proptest::{collection::vec, prelude::*};
use thop_core::{
    addr::Endpoint,
    checksum::Sum,
    wire::{
        checksum_ok, set_checksum, Body, DecodeError, DropReason, EncodeError, Handoff, Message,
        Parties, TcpOptions, TcpState, MAX_FIXED, MAX_LEN, MIN_MSS,
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
        numbers: [u32; 4],
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
            mss,
            snd_wscale,
            rcv_wscale,
            options,
        }
    }
}

fn body(request_len: usize) -> impl Strategy<Value = Body> {
    prop_oneof![
        3 => (state(), any::<u16>()).prop_map(move |(state, lease_ms)| Body::Create {
            state,
            lease_ms,
            request_len: request_len as u32,
        }),
        1 => Just(Body::Created),
        1 => Just(Body::NotifyClose),
        2 => prop::sample::select(&DropReason::ALL[..]).prop_map(Body::NotifyDrop),
        1 => Just(Body::CloseAck),
        1 => any::<bool>().prop_map(|reset| Body::Forget { reset }),
        1 => Just(Body::Forgotten),
        1 => Just(Body::Confirm),
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

fn sum(octets: &[u8]) -> Sum {
    let mut sum = Sum::new();
    sum.add(octets);
    sum
}

/// The whole message as it travels.
fn encode(message: &Message, request: &[u8]) -> Vec<u8> {
    let mut fixed = [0xee; MAX_FIXED];
    let len = message.encode(&mut fixed).unwrap();
    assert_eq!(len, message.fixed_len());
    let mut whole = sum(&fixed[..len]);
    whole.add(request);
    set_checksum(&mut fixed, whole);
    [&fixed[..len], request].concat()
}

/// What a receiver does.
fn receive(octets: &[u8]) -> Option<(Message, usize)> {
    if !checksum_ok(sum(octets)) {
        return None;
    }
    Message::decode(octets, octets.len()).ok()
}

proptest! {
    #[test]
    fn there_and_back((message, request) in message()) {
        let octets = encode(&message, &request);
        prop_assert_eq!(receive(&octets), Some((message, message.fixed_len())));
        // The fixed part is enough to decode it.
        let head = &octets[..octets.len().min(MAX_FIXED)];
        prop_assert_eq!(
            Message::decode(head, octets.len()),
            Ok((message, message.fixed_len()))
        );
        prop_assert_eq!(&octets[message.fixed_len()..], &request[..]);
        prop_assert_eq!(message.reply(message.body), message);
    }

    #[test]
    fn the_checksum_finds_every_flipped_bit((message, request) in message()) {
        let mut octets = encode(&message, &request);
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
    fn a_flipped_bit_is_refused_or_seen((message, request) in message()) {
        let octets = encode(&message, &request);
        for bit in 0..8 * message.fixed_len() {
            if (16..32).contains(&bit) {
                continue;
            }
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            if let Ok((other, _)) = Message::decode(&flipped, flipped.len()) {
                prop_assert_ne!(other, message);
            }
        }
    }

    #[test]
    fn no_part_of_a_message_is_one((message, request) in message()) {
        let octets = encode(&message, &request);
        for len in 0..octets.len() {
            // The network says how much came: less than the message says.
            prop_assert!(Message::decode(&octets[..len], len).is_err());
            // The caller has too little of it in hand.
            if len < message.fixed_len() {
                prop_assert_eq!(
                    Message::decode(&octets[..len], octets.len()),
                    Err(DecodeError::Short)
                );
            }
        }
        let mut longer = octets.clone();
        longer.push(0);
        prop_assert_eq!(Message::decode(&longer, longer.len()), Err(DecodeError::Length));
    }

    #[test]
    fn any_octets_do_not_panic(octets in vec(any::<u8>(), 0..200), total in any::<usize>()) {
        let _ = Message::decode(&octets, octets.len());
        let _ = Message::decode(&octets, total);
        let _ = Message::decode(&octets, usize::from(total as u16));
    }

    /// There is one way to write a message: what is understood is written back to the same octets.
    #[test]
    fn what_is_understood_is_written_the_same(
        (message, request) in message(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut octets = encode(&message, &request);
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok((read, fixed_len)) = Message::decode(&octets, octets.len()) {
            let mut fixed = [0; MAX_FIXED];
            prop_assert_eq!(read.encode(&mut fixed), Ok(fixed_len));
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
}
