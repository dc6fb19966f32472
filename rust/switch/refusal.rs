// SPDX-License-Identifier: GPL-2.0

//! What the switch says itself to a client that no server takes, in the client's protocol.

use thop_core::{
    http::error_response,
    http2::goaway,
    tls::{
        alert_response,
        INTERNAL_ERROR, //
    }, //
};

use crate::{
    counters::Counter,
    switch::Switch, //
};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.x.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS.
    Tls,
}

impl Switch {
    /// The answer that means `status` in what the client speaks; counted.
    pub(crate) fn refusal(&self, speaks: Speaks, status: u16) -> &'static [u8] {
        match speaks {
            Speaks::Http => {
                self.count(Counter::answered(status));
                error_response(status)
            }
            Speaks::Http2 => {
                self.count(Counter::AnsweredGoaway);
                goaway(status)
            }
            // The handshake has not gone far enough to say more.
            Speaks::Tls => self.alert(INTERNAL_ERROR),
        }
    }

    /// A TLS alert (RFC 8446, section 6); counted.
    pub(crate) fn alert(&self, description: u8) -> &'static [u8] {
        self.count(Counter::AnsweredAlert);
        alert_response(description)
    }
}
