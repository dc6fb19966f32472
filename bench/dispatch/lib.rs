// SPDX-License-Identifier: GPL-2.0

//! Nothing: the benchmarks are in `benches/`.
