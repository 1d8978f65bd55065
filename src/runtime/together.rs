//! Futures that one task polls one after the other as if they ran at once.

use super::core::Core;
use super::current::try_with;

/// While this is there, what is polled is not alone: what it asks of the kernel is submitted together.
#[derive(Debug)]
pub(crate) struct Together {
    before: bool,
}

impl Together {
    #[inline]
    pub(crate) fn begin() -> Together {
        let before = try_with(|core: &Core| core.together.replace(true));
        Together {
            before: before.unwrap_or_default(),
        }
    }
}

impl Drop for Together {
    #[inline]
    fn drop(&mut self) {
        try_with(|core: &Core| core.together.set(self.before));
    }
}
