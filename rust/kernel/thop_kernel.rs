// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's C APIs.
pub mod bindings;
