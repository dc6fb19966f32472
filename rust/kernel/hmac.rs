// SPDX-License-Identifier: GPL-2.0

//! HMAC-SHA-256 (RFC 2104), and secrets.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use core::mem::{
    self,
    MaybeUninit, //
};

use kernel::{
    prelude::*,
    types::Opaque, //
};

use crate::{
    bindings,
    memory, //
};

/// Length of the whole code, octets.
const DIGEST: usize = 32;

/// A key, prepared: the states of SHA-256 after its two blocks. It is wiped when it is dropped, and
/// lives on the heap, so that no copy of it is left behind where it was moved from.
pub struct Key(Pin<KBox<Opaque<bindings::hmac_sha256_key>>>);

// SAFETY: It is plain data that does not change.
unsafe impl Send for Key {}
// SAFETY: As above.
unsafe impl Sync for Key {}

impl Key {
    /// Prepares a key of any length. Process context.
    pub fn new(secret: &[u8]) -> Result<Self> {
        let key = KBox::pin(Opaque::uninit(), memory::may_sleep())?;
        // SAFETY: The secret has that length; the function initialises the key.
        unsafe { bindings::hmac_sha256_preparekey(key.get(), secret.as_ptr(), secret.len()) };
        Ok(Self(key))
    }

    /// The code's first `N` octets, over all that `write` gives to its argument. Any context.
    pub fn mac<const N: usize>(&self, write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; N] {
        let mut context = MaybeUninit::<bindings::hmac_sha256_ctx>::uninit();
        let context = context.as_mut_ptr();
        // SAFETY: `new()` has initialised the key; the function initialises the context.
        unsafe { bindings::thop_hmac_init(context, self.0.get()) };
        write(&mut |octets| {
            // SAFETY: The context is initialised; the octets have that length.
            unsafe { bindings::thop_hmac_update(context, octets.as_ptr(), octets.len()) }
        });
        let mut digest = [0; DIGEST];
        // SAFETY: The context is initialised; the digest has room. The function wipes the context.
        unsafe { bindings::hmac_sha256_final(context, digest.as_mut_ptr()) };
        let mut mac = [0; N];
        for (to, from) in mac.iter_mut().zip(digest) {
            *to = from;
        }
        mac
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: The key is ours, and of that size.
        unsafe {
            bindings::thop_wipe(
                self.0.get().cast(),
                mem::size_of::<bindings::hmac_sha256_key>(),
            )
        }
    }
}

/// Whether two codes are the same, in a time that does not tell where they differ.
pub fn same<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    // SAFETY: Both have that length.
    !unsafe { bindings::thop_differs(a.as_ptr().cast(), b.as_ptr().cast(), N) }
}
