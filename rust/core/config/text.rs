// SPDX-License-Identifier: GPL-2.0

//! The words that a configuration keeps, one after another in one list.

use crate::heap::{List, OutOfMemory};

/// Some neighbouring elements of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, len: 0 };

    /// What will be put behind the elements of `list`; nothing yet.
    pub(crate) fn after<T>(list: &[T]) -> Self {
        Self {
            start: u32::try_from(list.len()).unwrap_or(u32::MAX),
            len: 0,
        }
    }

    /// Takes in what is now in `list` up to its end.
    pub(crate) fn extend_to<T>(&mut self, list: &[T]) {
        let end = u32::try_from(list.len()).unwrap_or(u32::MAX);
        self.len = end.saturating_sub(self.start);
    }

    pub(crate) fn end(self) -> usize {
        self.start.saturating_add(self.len) as usize
    }

    /// These elements of `list`; none of them if `list` is too short, being another's.
    #[inline]
    pub(crate) fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.start as usize..self.end()).unwrap_or(&[])
    }
}

/// A name or another word of a configuration. [`Config::name`](super::Config::name) tells its text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Name(Span);

impl Name {
    /// The name without an octet.
    pub(crate) const EMPTY: Self = Self(Span::EMPTY);

    /// Its octets, in the text it was kept in.
    #[inline]
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        self.0.of(text)
    }

    /// A part of it: so many octets, so many behind its first.
    pub(crate) const fn part(self, start: u32, len: u32) -> Self {
        Self(Span {
            start: self.0.start.saturating_add(start),
            len,
        })
    }

    /// How many octets it has.
    #[inline]
    pub(crate) const fn len(self) -> u32 {
        self.0.len
    }
}

/// Keeps some octets at the end of `text`. They must be ASCII.
pub(crate) fn keep(
    text: &mut impl List<u8>,
    octets: impl Iterator<Item = u8>,
) -> Result<Name, OutOfMemory> {
    // All of this is shorter than the configuration's text, so it cannot be out of range.
    let start = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut len = 0u32;
    for octet in octets {
        text.try_push(octet)?;
        len = len.saturating_add(1);
    }
    Ok(Name(Span { start, len }))
}
