// SPDX-License-Identifier: GPL-2.0
//! x
use kernel::prelude::*;
module! { type: Switch, name: "thop_switch", authors: ["THOP"], description: "x", license: "GPL", }
struct Switch;
impl kernel::Module for Switch { fn init(_m: &'static ThisModule) -> Result<Self> { Ok(Switch) } }
