//! The storage of a child: its future, later its output, with type and lifetime erased.

use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Describes the failure in an output that nobody takes. The flag is whether the child was cut short.
pub(super) type FailureReport<T> = fn(&T, bool) -> Option<String>;

pin_project! {
    /// A child's future, later its output.
    pub(super) struct ChildCell<F: Future> {
        #[pin]
        stored: TaskCell<F>,
        report: Option<FailureReport<F::Output>>,
    }
}

impl<F: Future> ChildCell<F> {
    pub(super) fn new(future: F, report: Option<FailureReport<F::Output>>) -> ChildCell<F> {
        ChildCell {
            stored: TaskCell::new(future),
            report,
        }
    }
}

/// A child with its future's type erased.
pub(super) trait PollChild {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;

    /// Describes the failure in an output that nobody will take. `cut_short` is whether the child was cut short.
    fn report(self: Pin<&mut Self>, cut_short: bool) -> Option<String>;

    /// Moves the output to where `place` points.
    ///
    /// # Safety
    ///
    /// `place` points to an `Option` of the future's output.
    unsafe fn take_output(self: Pin<&mut Self>, place: *mut ());
}

impl<F: Future> PollChild for ChildCell<F> {
    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().stored.poll_stored(context)
    }

    fn report(self: Pin<&mut Self>, cut_short: bool) -> Option<String> {
        let this = self.project();
        let output = this.stored.output().as_ref()?;
        (*this.report).and_then(|report| report(output, cut_short))
    }

    unsafe fn take_output(self: Pin<&mut Self>, place: *mut ()) {
        let place: *mut Option<F::Output> = place.cast();
        // SAFETY: the caller promises that it points to an option of this type.
        unsafe { *place = self.project().stored.output().take() };
    }
}

/// Owns a child in its own allocation, with its lifetime erased. The child stays pinned there until it is dropped.
pub(super) struct ErasedChild(NonNull<dyn PollChild>);

impl ErasedChild {
    /// Erases the lifetime of what the child borrows.
    ///
    /// # Safety
    ///
    /// The child must not be polled or dropped after what it borrows is gone.
    pub(super) unsafe fn new<'a>(child: Box<dyn PollChild + 'a>) -> ErasedChild {
        // SAFETY: the two types differ in a lifetime only; that it is kept is the caller's promise.
        let child =
            unsafe { std::mem::transmute::<Box<dyn PollChild + 'a>, Box<dyn PollChild>>(child) };
        ErasedChild(NonNull::from(Box::leak(child)))
    }

    pub(super) fn get(&mut self) -> Pin<&mut dyn PollChild> {
        // SAFETY: the allocation is this value's own until the drop below, and never moves what is in it.
        unsafe { Pin::new_unchecked(self.0.as_mut()) }
    }

    /// Returns a second pointer to the child, which can be polled while this owner stays where it is.
    pub(super) fn alias(&self) -> ChildPtr {
        ChildPtr(self.0)
    }
}

impl Drop for ErasedChild {
    fn drop(&mut self) {
        // SAFETY: it came out of a box in `new`, and nothing else owns it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A pointer to a child, which stays in its slot while it is polled.
pub(super) struct ChildPtr(NonNull<dyn PollChild>);

impl ChildPtr {
    /// # Safety
    ///
    /// Until this returns, nothing else accesses the child, and the child has not been dropped.
    #[inline]
    pub(super) unsafe fn poll(self, context: &mut Context<'_>) -> Poll<()> {
        let mut child = self.0;
        // SAFETY: the caller's promise; the child is pinned in its allocation.
        unsafe { Pin::new_unchecked(child.as_mut()) }.poll(context)
    }
}
