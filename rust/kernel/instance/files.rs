// SPDX-License-Identifier: GPL-2.0

//! Proc files of an instance.
//!
//! A file is read as a sequence of records, so that a table of any length needs no memory of its
//! own: each record is printed by one call, at a position that the instance chooses.

use core::fmt;

use super::*;

/// The largest text that may be written at once, octets.
const MAX_WRITE: usize = 1 << 20;

/// A proc file.
pub struct File<T> {
    /// Its name.
    pub name: &'static CStr,
    /// Its permission bits.
    pub mode: u16,
    /// The first record at or behind a position. Process context, not locked.
    pub seek: fn(&T, u64) -> Option<u64>,
    /// Prints the record at a position.
    pub show: fn(&T, u64, &mut Text<'_>),
    /// Takes a text that was written with one `write()`, by one who has CAP_NET_ADMIN in the
    /// namespace.
    pub write: Option<fn(&T, &[u8]) -> Result>,
}

/// The text of a proc file: `struct seq_file`.
pub struct Text<'a>(&'a mut bindings::seq_file);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: The file is valid for the time of the call; a text too long for its buffer makes
        // the kernel try again with a larger one.
        unsafe { bindings::seq_write(self.0, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

/// What a proc entry's data points to.
pub(super) struct Entry<T: Instance> {
    state: *const T,
    namespace: NonNull<bindings::net>,
    file: &'static File<T>,
}

struct Operations<T>(PhantomData<T>);

impl<T: Instance> Operations<T> {
    const PROC: bindings::proc_ops = bindings::proc_ops {
        proc_open: Some(Self::open_callback),
        proc_read: Some(bindings::seq_read),
        proc_lseek: Some(bindings::seq_lseek),
        proc_release: Some(bindings::seq_release),
        proc_write: Some(Self::write_callback),
        // SAFETY: All zeroes are no functions and no flags.
        ..unsafe { mem::zeroed() }
    };

    const SEQUENCE: bindings::seq_operations = bindings::seq_operations {
        start: Some(Self::start_callback),
        next: Some(Self::next_callback),
        stop: Some(Self::stop_callback),
        show: Some(Self::show_callback),
    };

    /// # Safety
    ///
    /// `m` is a sequence that `open_callback()` has opened.
    unsafe fn entry<'a>(m: *mut bindings::seq_file) -> &'a Entry<T> {
        // SAFETY: `open_callback()` has set it; the entry lives until the proc file is removed,
        // which waits for calls like the one we are in.
        unsafe { &*(*m).private.cast::<Entry<T>>() }
    }

    /// The token of a record is its position plus one: it is never a null pointer.
    ///
    /// # Safety
    ///
    /// As for `entry()`; `position` is valid.
    unsafe fn seek(m: *mut bindings::seq_file, position: *mut bindings::loff_t) -> *mut c_void {
        // SAFETY: By the function's requirements.
        unsafe {
            let entry = Self::entry(m);
            match (entry.file.seek)(&*entry.state, *position as u64) {
                Some(record) => {
                    *position = record as i64;
                    ptr::without_provenance_mut(record as usize + 1)
                }
                None => ptr::null_mut(),
            }
        }
    }

    /// Process context.
    ///
    /// # Safety
    ///
    /// `file` is being opened, on an entry that `create()` has made.
    unsafe extern "C" fn open_callback(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> i32 {
        // SAFETY: The kernel passes a valid file; the operations are constants.
        let ret = unsafe { bindings::seq_open(file, &Self::SEQUENCE) };
        if ret == 0 {
            // SAFETY: `seq_open()` has put the sequence there.
            unsafe { (*bindings::thop_seq(file)).private = bindings::thop_pde_data(file) };
        }
        ret
    }

    /// Process context.
    ///
    /// # Safety
    ///
    /// `m` is a sequence that `open_callback()` has opened, called as `struct seq_operations` says.
    unsafe extern "C" fn start_callback(
        m: *mut bindings::seq_file,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: By the contract of `seq_operations`.
        unsafe { Self::seek(m, position) }
    }

    /// Process context.
    ///
    /// # Safety
    ///
    /// `m` is a sequence that `open_callback()` has opened, called as `struct seq_operations` says.
    unsafe extern "C" fn next_callback(
        m: *mut bindings::seq_file,
        _token: *mut c_void,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: By the contract of `seq_operations`.
        unsafe {
            *position = (*position).saturating_add(1);
            Self::seek(m, position)
        }
    }

    /// Process context. There is nothing to undo.
    ///
    /// # Safety
    ///
    /// `m` is a sequence that `open_callback()` has opened, called as `struct seq_operations` says.
    unsafe extern "C" fn stop_callback(_m: *mut bindings::seq_file, _token: *mut c_void) {}

    /// Process context.
    ///
    /// # Safety
    ///
    /// `m` is a sequence that `open_callback()` has opened, called as `struct seq_operations` says.
    unsafe extern "C" fn show_callback(m: *mut bindings::seq_file, token: *mut c_void) -> i32 {
        // SAFETY: By the contract of `seq_operations`; the token comes from `seek()`.
        unsafe {
            let entry = Self::entry(m);
            (entry.file.show)(
                &*entry.state,
                (token.addr() as u64).saturating_sub(1),
                &mut Text(&mut *m),
            );
        }
        0
    }

    /// Process context.
    ///
    /// # Safety
    ///
    /// `file` is open, on an entry that `create()` has made.
    unsafe extern "C" fn write_callback(
        file: *mut bindings::file,
        from: *const c_char,
        len: usize,
        _position: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open, so its entry lives.
        let entry = unsafe { &*bindings::thop_pde_data(file).cast::<Entry<T>>() };
        let written = (|| {
            let write = entry.file.write.ok_or(EACCES)?;
            // SAFETY: File and namespace are valid.
            if !unsafe { bindings::thop_net_admin(file, entry.namespace.as_ptr()) } {
                return Err(EPERM);
            }
            if len > MAX_WRITE {
                return Err(EFBIG);
            }
            // SAFETY: The function checks the user's pointer.
            let copy = unsafe { bindings::thop_memdup_user(from.cast(), len) };
            let copy = kernel::error::from_err_ptr(copy)?;
            // SAFETY: It has `len` octets, and is freed below only.
            let text = unsafe { core::slice::from_raw_parts(copy.cast::<u8>(), len) };
            // SAFETY: The instance lives as long as its files.
            let result = write(unsafe { &*entry.state }, text);
            // It may hold a secret.
            // SAFETY: Allocated above, with that length.
            unsafe {
                bindings::thop_wipe(copy, len);
                bindings::kvfree(copy);
            }
            result
        })();
        match written {
            Ok(()) => len as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// Creates the files of an instance. Process context.
pub(super) fn create<T: Instance>(net: NonNull<bindings::net>, holder: &Holder<T>) -> Result {
    // SAFETY: The namespace is valid; the name lives for ever.
    let directory = unsafe { bindings::thop_proc_net_mkdir(net.as_ptr(), T::NAME.as_char_ptr()) };
    if directory.is_null() {
        return Err(ENOMEM);
    }
    holder.directory.store(directory, Relaxed);
    let entries = T::files().len();
    let mut list = KVec::with_capacity(entries, memory::may_sleep())?;
    for file in T::files() {
        list.push(
            Entry::<T> {
                state: &holder.state,
                namespace: net,
                file,
            },
            memory::may_sleep(),
        )?;
    }
    // The entries live as long as the holder, which has them from here on.
    // SAFETY: Nobody reads the cell before this returns, and `remove()` is the only other writer.
    let list = unsafe { &*(*holder.entries.get()).insert(list) };
    for entry in list {
        // SAFETY: Name, operations and data live until the directory is removed.
        let made = unsafe {
            bindings::proc_create_data(
                entry.file.name.as_char_ptr(),
                entry.file.mode,
                directory,
                const { &Operations::<T>::PROC },
                ptr::from_ref(entry).cast_mut().cast(),
            )
        };
        if made.is_null() {
            return Err(ENOMEM);
        }
    }
    Ok(())
}

/// Removes them and waits for calls that are under way. Process context.
pub(super) fn remove<T: Instance>(holder: &Holder<T>) {
    let directory = holder.directory.xchg(ptr::null_mut(), Relaxed);
    if !directory.is_null() {
        // SAFETY: Made by `create()`, removed once.
        unsafe { bindings::proc_remove(directory) };
    }
}
