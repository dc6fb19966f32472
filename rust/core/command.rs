// SPDX-License-Identifier: GPL-2.0

//! What an operator may order while the switch runs: the state and weight of a server.
//!
//! ```text
//! POOL/SERVER ready
//! POOL/SERVER drain
//! POOL/SERVER maint
//! POOL/SERVER weight N
//! ```
//!
//! One order a line. Orders last until they are revoked, or until the server leaves the
//! configuration; a new configuration that changes a server's weight overrides an ordered one.

use core::str;

use crate::health::Order;

/// An order for one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The server's pool.
    pub pool: &'a str,
    /// The server.
    pub server: &'a str,
    /// What it shall do.
    pub what: What,
}

/// What a server shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Be in this state.
    Order(Order),
    /// Have this weight.
    Weight(u16),
}

/// The orders of a text, line by line; `None` for a line that is no order. Empty lines are none.
pub fn commands(text: &[u8]) -> impl Iterator<Item = Option<Command<'_>>> + Clone {
    text.split(|&octet| octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| line.iter().any(|octet| !matches!(octet, b' ' | b'\t')))
        .map(command)
}

fn command(line: &[u8]) -> Option<Command<'_>> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let (pool, server) = words.next()?.split_once('/')?;
    let what = match words.next()? {
        "ready" => What::Order(Order::Ready),
        "drain" => What::Order(Order::Drain),
        "maint" => What::Order(Order::Maint),
        "weight" => {
            let number = words.next()?;
            if !number.bytes().all(|octet| octet.is_ascii_digit()) {
                return None;
            }
            What::Weight(number.parse().ok()?)
        }
        _ => return None,
    };
    words
        .next()
        .is_none()
        .then_some(Command { pool, server, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn all(text: &[u8]) -> Vec<Option<Command<'_>>> {
        commands(text).collect()
    }

    #[test]
    fn what_can_be_ordered() {
        let order = |pool, server, what| Some(Command { pool, server, what });
        assert_eq!(
            all(b"web/s1 drain\n\n  a.b/c-d\tmaint \r\nweb/s1 ready\nx/y weight 65535"),
            vec![
                order("web", "s1", What::Order(Order::Drain)),
                order("a.b", "c-d", What::Order(Order::Maint)),
                order("web", "s1", What::Order(Order::Ready)),
                order("x", "y", What::Weight(65535)),
            ]
        );
        assert_eq!(all(b""), vec![]);
        assert_eq!(all(b"\n \n"), vec![]);
    }

    #[test]
    fn what_is_no_order() {
        for line in [
            "web",
            "web/s1",
            "web s1 drain",
            "web/s1 up",
            "web/s1 drain now",
            "web/s1 weight",
            "web/s1 weight 65536",
            "web/s1 weight -1",
            "web/s1 weight +1",
            "web/s1 weight 1 2",
            "web/s1 Drain",
        ] {
            assert_eq!(all(line.as_bytes()), vec![None], "{line}");
        }
        assert_eq!(all(b"web/\xff drain"), vec![None]);
    }
}
