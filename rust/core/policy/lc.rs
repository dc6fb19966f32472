// SPDX-License-Identifier: GPL-2.0

//! `lc`: the server with the fewest connections, whatever its weight (but for weight 0).

use super::{least::Field, Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, OutOfMemory};

pub(super) const NAME: &str = "lc";
pub(super) const OPTIONS: &[Choice] = &[];

/// Least connections.
pub struct LeastConnections<H: Heap>(Field<H>);

impl<H: Heap> Policy for LeastConnections<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        Field::new(members, false, before.map(|before| &before.0)).map(Self)
    }

    #[inline]
    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        self.0.choose(servers)
    }
}
