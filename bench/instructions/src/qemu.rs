// SPDX-License-Identifier: GPL-2.0

//! What is used of QEMU's plugin interface, version 2 and later (QEMU's `include/qemu/qemu-plugin.h`).
//!
//! The crates that wrap it want a newer compiler than a Debian 13 has.

use crate::processor;
use std::{
    ffi::{c_char, c_int, c_uint, c_void, CStr},
    marker::PhantomData,
    sync::OnceLock,
};

/// `qemu_plugin_id_t`.
type Id = u64;
/// `qemu_plugin_vcpu_udata_cb_t`.
type Executed = unsafe extern "C" fn(cpu: c_uint, data: *mut c_void);
/// What is called when something is executed, with the processor's number.
type Action = Box<dyn Fn(usize) + Sync>;
/// `QEMU_PLUGIN_CB_NO_REGS` of `enum qemu_plugin_cb_flags`.
const NO_REGISTERS: c_int = 0;

/// `QEMU_PLUGIN_INLINE_ADD_U64` of `enum qemu_plugin_op`.
const ADD: c_int = 0;

/// `struct qemu_plugin_tb`, `struct qemu_plugin_insn` and `struct qemu_plugin_scoreboard`, of which only QEMU knows the
/// insides.
#[repr(C)]
struct RawBlock([u8; 0]);
#[repr(C)]
struct RawInstruction([u8; 0]);
#[repr(C)]
struct RawScoreboard([u8; 0]);

/// `qemu_plugin_u64`: a number for each processor.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawNumber {
    scoreboard: *mut RawScoreboard,
    offset: usize,
}

/// `qemu_info_t`, for a whole machine.
#[repr(C)]
struct Info {
    target: *const c_char,
    version_min: c_int,
    version_cur: c_int,
    system_emulation: bool,
    smp_vcpus: c_int,
    max_vcpus: c_int,
}

extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, cb: unsafe extern "C" fn(Id, *mut RawBlock));
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut RawBlock,
        cb: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut RawInstruction,
        cb: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut RawBlock,
        operation: c_int,
        number: RawNumber,
        operand: u64,
    );
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut RawScoreboard;
    fn qemu_plugin_u64_get(number: RawNumber, cpu: c_uint) -> u64;
    fn qemu_plugin_u64_set(number: RawNumber, cpu: c_uint, value: u64);
    fn qemu_plugin_tb_n_insns(block: *const RawBlock) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const RawBlock) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const RawBlock, index: usize) -> *mut RawInstruction;
    fn qemu_plugin_insn_data(
        instruction: *const RawInstruction,
        to: *mut c_void,
        len: usize,
    ) -> usize;
    fn qemu_plugin_insn_size(instruction: *const RawInstruction) -> usize;
}

/// The oldest version of the interface that has all this as it is used here.
#[no_mangle]
pub static qemu_plugin_version: c_int = 2;

/// A number that blocks add to without calling anybody. Right only where QEMU knows which processor executes: see
/// [`processor`].
pub struct Sum(RawNumber);

// SAFETY: QEMU keeps the number for as long as it runs, and it may be read and written from anywhere.
unsafe impl Send for Sum {}
// SAFETY: As above.
unsafe impl Sync for Sum {}

impl Sum {
    pub fn new() -> Self {
        Self(RawNumber {
            // SAFETY: It may be called at any time.
            scoreboard: unsafe { qemu_plugin_scoreboard_new(size_of::<u64>()) },
            offset: 0,
        })
    }

    pub fn get(&self, cpu: usize) -> u64 {
        // SAFETY: The number is there for ever.
        unsafe { qemu_plugin_u64_get(self.0, cpu as c_uint) }
    }

    pub fn set(&self, cpu: usize, value: u64) {
        // SAFETY: As above.
        unsafe { qemu_plugin_u64_set(self.0, cpu as c_uint, value) }
    }
}

/// A block of code that is being translated.
pub struct Block<'a>(*mut RawBlock, PhantomData<&'a ()>);

impl Block<'_> {
    /// The address of its first instruction.
    pub fn address(&self) -> u64 {
        // SAFETY: QEMU gives blocks to `translate()` only, and they live until that returns.
        unsafe { qemu_plugin_tb_vaddr(self.0) }
    }

    /// How many instructions it has.
    pub fn instructions(&self) -> usize {
        // SAFETY: As above.
        unsafe { qemu_plugin_tb_n_insns(self.0) }
    }

    /// Has `n` added whenever the block is entered.
    pub fn adds(&self, sum: &Sum, n: u64) {
        // SAFETY: As above, and the number is there for ever.
        unsafe { qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(self.0, ADD, sum.0, n) }
    }

    /// Has `f` called, with the processor's number, whenever the block is entered.
    pub fn on_entry(&self, f: impl Fn(usize) + Sync + 'static) {
        let data = Box::into_raw(Box::<Action>::new(Box::new(f)));
        // SAFETY: As above; `data` is what `executed()` wants, for ever: QEMU does not tell when it
        // drops the block.
        unsafe {
            qemu_plugin_register_vcpu_tb_exec_cb(
                self.0,
                instructions_executed,
                NO_REGISTERS,
                data.cast(),
            )
        }
    }

    /// Has `f` called whenever an instruction of these octets is executed in it.
    pub fn on_instruction(&self, octets: &[u8], f: impl Fn(usize) + Sync + Copy + 'static) {
        for index in 0..self.instructions() {
            // SAFETY: As above, and the index is below the number of instructions.
            let instruction = unsafe { qemu_plugin_tb_get_insn(self.0, index) };
            let mut found = [0; 16];
            // SAFETY: The instruction lives as long as its block; `found` has this length.
            let len = unsafe {
                let len = qemu_plugin_insn_size(instruction).min(found.len());
                qemu_plugin_insn_data(instruction, found.as_mut_ptr().cast(), len).min(len)
            };
            if found.get(..len) == Some(octets) {
                let data = Box::into_raw(Box::<Action>::new(Box::new(f)));
                // SAFETY: As in `on_entry()`.
                unsafe {
                    qemu_plugin_register_vcpu_insn_exec_cb(
                        instruction,
                        instructions_executed,
                        NO_REGISTERS,
                        data.cast(),
                    )
                }
            }
        }
    }
}

// What QEMU calls from the code that it generates, which keeps the address of the processor's state in %rbp
// (`TCG_AREG0` in QEMU's tcg/x86_64/tcg-target.h).
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl instructions_executed",
    ".hidden instructions_executed",
    "instructions_executed:",
    "mov rdx, rbp",
    "jmp {executed}",
    executed = sym executed,
);
#[cfg(not(target_arch = "x86_64"))]
compile_error!("in which register does TCG keep the processor's state on this host?");

extern "C" {
    fn instructions_executed(cpu: c_uint, data: *mut c_void);
}

/// Called by `instructions_executed()`, which adds `state`.
///
/// # Safety
///
/// `data` points to an [`Action`] that is never freed.
unsafe extern "C" fn executed(cpu: c_uint, data: *mut c_void, state: usize) {
    if let Some(cpu) = processor::which(cpu as usize, state) {
        // SAFETY: By the function's requirements.
        unsafe { (*data.cast::<Action>())(cpu) }
    }
}

static TRANSLATE: OnceLock<fn(&Block<'_>)> = OnceLock::new();

/// # Safety
///
/// `block` lives until this returns.
unsafe extern "C" fn translate(_: Id, block: *mut RawBlock) {
    if let Some(f) = TRANSLATE.get() {
        f(&Block(block, PhantomData));
    }
}

/// QEMU loads the plugin.
///
/// # Safety
///
/// As QEMU does: `info` is valid, and `argv` has `argc` strings.
#[no_mangle]
unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let arguments: Vec<String> = (0..argc as usize)
        // SAFETY: By the function's requirements.
        .map(|n| {
            unsafe { CStr::from_ptr(*argv.add(n)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    // SAFETY: By the function's requirements.
    let processors = unsafe { (*info).smp_vcpus } as usize;
    if let Err(e) = crate::install(&arguments, processors) {
        eprintln!("instructions: {e}");
        return 1;
    }
    let _ = TRANSLATE.set(crate::translate);
    // SAFETY: The function is of the type that is asked for.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translate) };
    0
}
