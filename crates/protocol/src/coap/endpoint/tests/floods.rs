//! Much of it, and much of it wrong: options of every form, datagrams that are cut anywhere, and floods.

use super::*;

/// A request with options as they are given, and what follows.
fn get(options: &[u8]) -> Vec<u8> {
    [b"\x42\x01\x12\x34to", options].concat()
}

#[test]
fn every_delta_and_length_of_an_option_is_read_or_rejected() {
    let mut count = 0;
    for first in 0..=255u8 {
        for more in [
            &b""[..],
            b"\x00",
            b"\xff",
            b"\x00\x00",
            b"\xff\xff",
            b"\x00\x00\x00",
            b"\xff\xff\xff",
            b"\xff\xff\xff\xff",
        ] {
            for value in [0, 1, 8, 12, 13, 255, 269, 1_100] {
                let mut options = vec![first];
                options.extend(more);
                options.extend(vec![b'v'; value]);
                let bytes = get(&options);
                let said = said(&mut endpoint(1), &bytes);
                let is_short = said.iter().map(Vec::len).sum::<usize>() <= 3 * bytes.len();
                assert!(said.len() == 1 && is_short, "{bytes:x?}: {said:x?}");
                let (kind, mid) = (said[0][0] >> 4, &said[0][2..4]);
                assert!(matches!(kind, 6 | 7) && mid == b"\x12\x34", "acknowledged or rejected: {said:x?}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 256 * 8 * 8);
}

#[test]
fn a_datagram_that_is_cut_anywhere_is_answered_once_or_not_at_all() {
    let whole = b"\x48\x03\x12\x3412345678\xb4echo\x11\x32\xd3\x02\x12\x34\x56\xff{\"a\":1}";
    for length in 0..=whole.len() {
        let mut end = endpoint(1);
        let said = said(&mut end, &whole[..length]);
        assert!(said.len() <= usize::from(length >= 4), "{length} bytes: {said:x?}");
    }
}

#[test]
fn observers_are_bounded_at_one_peer_and_in_all() {
    let limits = Limits { observers_max: 40, ..Limits::default() };
    let per_peer = limits.observers_per_peer_max;
    let mut end = Endpoint::new(limits, numbers(1));
    let mut observed = 0;
    for number in 0..1_000u16 {
        let peer = address(1_000 + number / 100);
        let mut bytes = vec![0x42, 0x01];
        bytes.extend(number.to_be_bytes());
        bytes.extend(number.to_be_bytes());
        bytes.extend(b"\x60\x57observe");
        end.datagram(peer, &bytes, 1_000);
        while let Some(event) = end.poll_event() {
            if let Event::Asked { exchange, request, block, .. } = event {
                observed += usize::from(end.respond(exchange, serve(&request, block), 1_000).is_some());
            }
        }
        let answer = end.poll_transmit().map(|(_, bytes)| bytes).unwrap();
        assert_eq!(answer[1], Code::CONTENT.0, "it is answered all the same");
        assert!(end.observers() <= per_peer * usize::from(number / 100 + 1));
    }
    assert_eq!((observed, end.observers()), (40, 40));
    assert_eq!(end.counters().refused_observers, 960);
    // A peer that is gone takes its observers with it.
    end.forget_peer(address(1_000));
    assert_eq!(end.observers(), 40 - per_peer);
}

#[test]
fn requests_without_an_answer_are_bounded_at_one_address() {
    let limits = Limits::default();
    let (most, mut end) = (limits.exchanges_per_address_max, Endpoint::new(limits, numbers(1)));
    let mut refused = 0;
    for number in 0..2_000u16 {
        let [high, low] = number.to_be_bytes();
        end.datagram(address(1), &[0x40, 0x01, high, low, 0xb1, b'l'], 1_000);
        while let Some((_, bytes)) = end.poll_transmit() {
            refused += usize::from(bytes[1] == Code::UNAVAILABLE.0);
        }
    }
    assert_eq!(refused, 2_000 - most);
    assert_eq!(end.counters().refused_busy, refused as u64);
}

#[test]
fn a_list_of_a_megabyte_is_given_up_when_it_is_too_large() {
    let (mut node, mut hub) = (endpoint(1), endpoint(2));
    node.trust_addresses();
    hub.request(address(1), Request::new(Method::Get, "/.well-known/core"), 60_000, 0).unwrap();
    let mut taken = 0;
    let failed = loop {
        while let Some((_, bytes)) = hub.poll_transmit() {
            node.datagram(address(2), &bytes, 0);
        }
        while let Some(Event::Asked { exchange, .. }) = node.poll_event() {
            let list = Response::with(Code::CONTENT, format::LINKS, large(1_000_000));
            node.respond(exchange, list, 0);
        }
        while let Some((_, bytes)) = node.poll_transmit() {
            taken += bytes.len();
            hub.datagram(address(1), &bytes, 0);
        }
        if let Some(event) = hub.poll_event() {
            break event;
        }
    };
    assert!(matches!(failed, Event::Failed { failure: Failure::TooLarge, .. }), "{failed:?}");
    assert!(taken < 70_000, "{taken} bytes were taken");
}
