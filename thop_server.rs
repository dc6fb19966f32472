// SPDX-License-Identifier: GPL-2.0
//! x
use kernel::prelude::*;
module! { type: Server, name: "thop_server", authors: ["THOP"], description: "x", license: "GPL", }
struct Server;
impl kernel::Module for Server { fn init(_m: &'static ThisModule) -> Result<Self> { Ok(Server) } }
