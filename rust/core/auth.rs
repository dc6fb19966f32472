// SPDX-License-Identifier: GPL-2.0

//! Who may speak THOP: keys, networks, and no message twice.
//!
//! A message is believed when it is sealed ([`crate::wire::Seal`]) with a key that is known here,
//! names the epoch in which its receiver is, and was not seen before. The rest follows from that:
//!
//! - Every instance of a module draws an *epoch* when it begins: a random number. Whoever speaks to
//!   it must name it. A message recorded before that names another, and is worth nothing.
//! - A sender numbers its messages. The receiver keeps a [`Window`] for each epoch of a sender from
//!   which it has believed a message, and takes each number once.
//! - A sender that does not know the receiver's epoch is told by EPOCH, and says it again.
//! - A receiver that must forget a sender's window, as there are too many, draws a new epoch: all
//!   that was said before is worth nothing again.
//!
//! Nothing of this is kept for a sender that does not have the key.

mod access;
mod window;

pub use access::{
    admits,
    Access,
    Key,
    Rejected,
    Why,
    KEYS,
    MAX_KEY,
    MIN_KEY, //
};
pub use window::{
    Judged,
    Window,
    WINDOW, //
};
