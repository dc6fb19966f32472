// SPDX-License-Identifier: GPL-2.0
/*
 * See helpers.h. As the kernel has it in rust/helpers: a file for each Rust file that calls what is in it, and
 * one object.
 */

#include "helpers.h"

#include "helpers/sync.c"
#include "helpers/time.c"
#include "helpers/hash.c"
#include "helpers/memory.c"
#include "helpers/work.c"
#include "helpers/instance.c"
#include "helpers/files.c"
#include "helpers/skb.c"
#include "helpers/send.c"
#include "helpers/listener.c"
#include "helpers/first.c"
#include "helpers/adopt.c"
#include "helpers/load.c"
#include "helpers/hmac.c"
#if IS_BUILTIN(CONFIG_KUNIT)
#include "helpers/testing.c"
#endif
