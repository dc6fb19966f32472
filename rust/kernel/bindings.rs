// SPDX-License-Identifier: GPL-2.0

//! Bindings to the C APIs that the kernel's own `bindings` crate lacks.
//!
//! Generated at build time from `bindings_helper.h`. Only this crate uses them.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ptr_cast_constness,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(concat!(
    env!("THOP_OBJ"),
    "/rust/kernel/bindings_generated.rs"
));
