//! The cell of a table.

use std::cell::{Ref, RefCell, RefMut};

/// A `RefCell` that does not record where it is borrowed. A second borrow is a bug, which a backtrace finds; the location
/// of each call would take 48 bytes in every program, and there are some two hundred.
#[derive(Debug)]
pub(crate) struct TableCell<T>(RefCell<T>);

impl<T> TableCell<T> {
    pub(crate) const fn new(table: T) -> TableCell<T> {
        TableCell(RefCell::new(table))
    }

    #[inline]
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.0.borrow()
    }

    /// Whether nothing borrows it.
    pub(crate) fn is_free(&self) -> bool {
        self.0.try_borrow_mut().is_ok()
    }

    #[inline]
    pub(crate) fn borrow_mut(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}
