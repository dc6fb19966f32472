// SPDX-License-Identifier: GPL-2.0

//! Policies against their definitions.

mod general;
mod lard;
mod least;
mod maglev;
mod pool;
mod sticky;
mod threads;
mod turns;
