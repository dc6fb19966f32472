// SPDX-License-Identifier: GPL-2.0

//! The little of HTTP/2 (RFC 9113) that a switch needs: to refuse a connection.
//!
//! That a client begins with the preface of HTTP/2, `http.rs` finds out. What follows is compressed
//! and left to the server.

/// An empty SETTINGS frame, with which each side must begin (section 3.4), and a GOAWAY (section
/// 6.8) for streams from 0 on: nothing was processed, and all of it may be tried again.
macro_rules! goaway {
    ($error:literal) => {
        &[
            0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS, no octets, stream 0
            0, 0, 8, 7, 0, 0, 0, 0, 0, // GOAWAY, 8 octets, stream 0
            0, 0, 0, 0, // the last stream that was processed: none
            0, 0, 0, $error,
        ]
    };
}

/// The beginning and end of a connection that is refused, with the error code (section 7) that comes
/// nearest to an HTTP status.
pub const fn goaway(status: u16) -> &'static [u8] {
    match status {
        // HTTP_1_1_REQUIRED
        505 => goaway!(0xd),
        // INTERNAL_ERROR
        500 => goaway!(0x2),
        // NO_ERROR: nothing is wrong with the request.
        _ => goaway!(0x0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Frames as (type, flags, stream, payload).
    fn frames(mut octets: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        while !octets.is_empty() {
            let (header, rest) = octets.split_at(9);
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
            let (payload, rest) = rest.split_at(len);
            frames.push((header[3], header[4], stream, payload.to_vec()));
            octets = rest;
        }
        frames
    }

    #[test]
    fn a_refusal_is_two_whole_frames() {
        for (status, error) in [(505, 13), (503, 0), (504, 0), (500, 2)] {
            let mut payload = std::vec![0; 7];
            payload.push(error);
            let expected = [(4, 0, 0, Vec::new()), (7, 0, 0, payload)];
            assert_eq!(frames(goaway(status)), expected);
        }
    }
}
