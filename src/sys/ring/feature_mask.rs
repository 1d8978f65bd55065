//! Hides kernel features, so that each fallback is really tested.

use super::OpcodeSet;
use crate::sys::Opcode;

/// Features of io_uring that the runtime must not use, although the kernel has them.
///
/// It is for testing programs that must also run on older kernels. It removes features that older kernels lack; it does
/// not change how the kernel implements the others.
///
/// ```
/// use gimmal::runtime::FeatureMask;
///
/// # fn main() -> std::io::Result<()> {
/// let mut runtime = gimmal::Runtime::builder().mask(FeatureMask::linux_5_15()).build()?;
/// assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureMask {
    /// `IORING_SETUP_*`.
    pub(super) setup: u32,
    /// `IORING_FEAT_*`.
    pub(super) features: u32,
    pub(super) registered_ring: bool,
    pub(super) attempts: bool,
    pub(super) resizing: bool,
    pub(super) opcodes: OpcodeSet,
}

pub(in crate::sys::ring) const SETUP_SUBMIT_ALL: u32 = 1 << 7;
pub(in crate::sys::ring) const SETUP_COOP_TASKRUN: u32 = 1 << 8;
pub(in crate::sys::ring) const SETUP_TASKRUN_FLAG: u32 = 1 << 9;
pub(in crate::sys::ring) const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
pub(in crate::sys::ring) const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
pub(in crate::sys::ring) const SETUP_NO_SQARRAY: u32 = 1 << 16;
pub(in crate::sys::ring) const FEAT_CQE_SKIP: u32 = 1 << 11;

impl FeatureMask {
    /// Creates a mask that hides nothing.
    #[must_use]
    pub const fn none() -> FeatureMask {
        FeatureMask {
            setup: 0,
            features: 0,
            registered_ring: false,
            attempts: false,
            resizing: false,
            opcodes: OpcodeSet::EMPTY,
        }
    }

    /// Creates a mask that leaves the features of Linux 6.1: no ring without an index array, and none that can be
    /// resized.
    #[must_use]
    pub const fn linux_6_1() -> FeatureMask {
        FeatureMask {
            setup: SETUP_NO_SQARRAY,
            resizing: true,
            ..FeatureMask::none()
        }
        .without_opcodes_from(49)
    }

    /// Creates a mask that leaves the features of Linux 5.15: no cooperative or deferred task work, no batch that
    /// survives a bad entry, no registered ring descriptor, no skipped completions.
    #[must_use]
    pub const fn linux_5_15() -> FeatureMask {
        FeatureMask {
            setup: SETUP_NO_SQARRAY
                | SETUP_SINGLE_ISSUER
                | SETUP_DEFER_TASKRUN
                | SETUP_COOP_TASKRUN
                | SETUP_TASKRUN_FLAG
                | SETUP_SUBMIT_ALL,
            features: FEAT_CQE_SKIP,
            registered_ring: true,
            resizing: true,
            ..FeatureMask::none()
        }
        .without_opcodes_from(40)
    }

    /// The mask of a builder that sets none: that of an older kernel in a build with `--cfg gimmal_mask="…"`, so that all
    /// tests run with it.
    pub(crate) const fn initial() -> FeatureMask {
        if cfg!(gimmal_mask = "6.1") {
            FeatureMask::linux_6_1()
        } else if cfg!(gimmal_mask = "5.15") {
            FeatureMask::linux_5_15()
        } else {
            FeatureMask::none()
        }
    }

    /// Also hides this opcode.
    #[must_use]
    pub const fn without_opcode(mut self, opcode: Opcode) -> FeatureMask {
        self.opcodes.insert(opcode);
        self
    }

    /// Also hides this setup flag of the ring (`IORING_SETUP_*`, `io_uring_setup(2)`).
    #[must_use]
    pub const fn without_setup_flag(mut self, flag: u32) -> FeatureMask {
        self.setup |= flag;
        self
    }

    /// Sends every operation through the ring, even if a direct system call could serve it
    /// ([`Entry::try_direct`](crate::op::Entry::try_direct)).
    #[must_use]
    pub const fn without_attempts(mut self) -> FeatureMask {
        self.attempts = true;
        self
    }

    /// Opcodes are numbered in the order in which kernels introduced them.
    const fn without_opcodes_from(mut self, number: u8) -> FeatureMask {
        let mut next = number;
        while next < u8::MAX {
            self = self.without_opcode(Opcode::new(next));
            next += 1;
        }
        self.without_opcode(Opcode::new(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_an_older_kernel_hides_later_features() {
        let mask = FeatureMask::linux_5_15();
        assert!(!mask.opcodes.contains(Opcode::READ));
        assert!(
            !mask.opcodes.contains(Opcode::new(39)),
            "LINKAT was added in 5.15"
        );
        assert!(
            mask.opcodes.contains(Opcode::new(40)),
            "MSG_RING was added in 5.18"
        );
        assert!(mask.opcodes.contains(Opcode::new(255)));
        assert!(!FeatureMask::linux_6_1().opcodes.contains(Opcode::new(48)));
        assert!(FeatureMask::linux_6_1().opcodes.contains(Opcode::new(49)));
        assert_eq!(FeatureMask::linux_6_1().setup & SETUP_DEFER_TASKRUN, 0);
        let mask = FeatureMask::none().without_opcode(Opcode::NOP);
        assert!(mask.opcodes.contains(Opcode::NOP) && !mask.opcodes.contains(Opcode::READV));
    }
}
