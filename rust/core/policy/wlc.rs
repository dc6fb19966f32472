// SPDX-License-Identifier: GPL-2.0

//! `wlc`: the server with the fewest connections in proportion to its weight.

use super::{least::Field, Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, OutOfMemory};

pub(super) const NAME: &str = "wlc";
pub(super) const OPTIONS: &[Choice] = &[];

/// Weighted least connections.
pub struct WeightedLeastConnections<H: Heap>(Field<H>);

impl<H: Heap> Policy for WeightedLeastConnections<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        Field::new(members, true, before.map(|before| &before.0)).map(Self)
    }

    #[inline]
    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        self.0.choose(servers)
    }
}
