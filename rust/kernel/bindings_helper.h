/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads to make thop_kernel::bindings: kernel headers that the kernel's own Rust
 * bindings do not cover, and our helpers for their inline functions.
 */
#include "helpers.h"
