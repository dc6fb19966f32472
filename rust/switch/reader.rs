// SPDX-License-Identifier: GPL-2.0

//! Reads what a client says first, in whichever protocol its service has. Softirq.

use kernel::prelude::*;
use thop_core::{
    config::Protocol,
    http,
    tls,
    wire::Haste, //
};
use thop_kernel::{
    listener::Arrived,
    memory, //
};

use crate::refusal::Speaks;

/// What reads the octets. That of TLS keeps a name and a list, for which others need not have room.
pub(crate) enum Parser {
    Http(http::Parser),
    Tls(KBox<tls::Parser>),
}

/// Why they are nothing that can be dispatched, as the client is told it.
pub(crate) enum Unreadable {
    /// By this status.
    Http(u16),
    /// By this alert.
    Tls(u8),
}

impl Parser {
    /// What reads a head of up to `limit` octets. Atomic context.
    pub(crate) fn new(protocol: Protocol, limit: u32) -> Result<Self> {
        Ok(match protocol {
            Protocol::Http => Self::Http(http::Parser::new(limit)),
            Protocol::Tls => Self::Tls(KBox::new(tls::Parser::new(limit), memory::atomic())?),
        })
    }

    /// How many octets were read.
    pub(crate) fn fed(&self) -> u32 {
        match self {
            Self::Http(parser) => parser.fed(),
            Self::Tls(parser) => parser.fed(),
        }
    }

    /// Reads on. `None` when more is needed. What was read to its end before is there again.
    pub(crate) fn read(
        &mut self,
        arrived: &impl Arrived,
    ) -> Result<Option<Message<'_>>, Unreadable> {
        match self {
            Self::Http(parser) => {
                let (from, more) = (parser.fed(), http::Progress::NeedMore);
                match feed(arrived, from, more, |octets| parser.feed(octets)) {
                    Ok(http::Progress::Complete) => Ok(parser.head().map(Message::Http)),
                    Ok(http::Progress::Http2) => Ok(Some(Message::Http2)),
                    Ok(http::Progress::NeedMore) => Ok(None),
                    Err(error) => Err(Unreadable::Http(error.status())),
                }
            }
            Self::Tls(parser) => {
                let (from, more) = (parser.fed(), tls::Progress::NeedMore);
                match feed(arrived, from, more, |octets| parser.feed(octets)) {
                    Ok(tls::Progress::Complete) => Ok(parser.hello().map(Message::Tls)),
                    Ok(tls::Progress::NeedMore) => Ok(None),
                    Err(error) => Err(Unreadable::Tls(error.alert())),
                }
            }
        }
    }
}

/// Feeds what has arrived from `from` on to a parser, as long as it says `more`; nothing at first, as it may know already.
fn feed<P: PartialEq, E>(
    arrived: &impl Arrived,
    from: u32,
    more: P,
    mut feed: impl FnMut(&[u8]) -> Result<P, E>,
) -> Result<P, E> {
    let goes_on = |result: &Result<P, E>| result.as_ref().is_ok_and(|progress| *progress == more);
    let mut result = feed(&[]);
    if goes_on(&result) {
        arrived.read(from, |octets| {
            result = feed(octets);
            goes_on(&result)
        });
    }
    result
}

/// What the octets have turned out to be.
#[derive(Clone, Copy)]
pub(crate) enum Message<'a> {
    /// A request in HTTP/1.x.
    Http(&'a http::Head),
    /// The preface of HTTP/2.
    Http2,
    /// A ClientHello.
    Tls(&'a tls::Hello),
}

impl Message<'_> {
    pub(crate) fn speaks(&self) -> Speaks {
        match self {
            Self::Http(_) => Speaks::Http,
            Self::Http2 => Speaks::Http2,
            Self::Tls(_) => Speaks::Tls,
        }
    }

    /// What the switch must know at once of whoever takes it over.
    pub(crate) fn haste(&self) -> Haste {
        let more = match self {
            Self::Http(head) => head.method.may_have_content(),
            // A client need not wait for an answer before it goes on.
            Self::Http2 | Self::Tls(_) => true,
        };
        Haste::NONE.with(Haste::TAKEN, more)
    }

    /// Whether it may be given to a second server, when the first has been silent.
    pub(crate) fn is_idempotent(&self) -> bool {
        match self {
            Self::Http(head) => head.method.is_idempotent(),
            // What follows the preface is compressed.
            Self::Http2 => false,
            // A handshake begins nothing that outlives it; but early data is a request.
            Self::Tls(hello) => !hello.early_data,
        }
    }
}
