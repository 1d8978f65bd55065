//! A child as it lies in its slot: its future, later its output, of any type and with its lifetime forgotten.

use crate::tasks::TaskCell;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Tells what went wrong in an output that nobody takes. It is given whether the child was cut short.
pub(super) type Report<T> = fn(&T, bool) -> Option<String>;

pin_project! {
    /// A child as it lies in its slot.
    pub(super) struct ChildCell<F: Future> {
        #[pin]
        stored: TaskCell<F>,
        report: Option<Report<F::Output>>,
    }
}

impl<F: Future> ChildCell<F> {
    pub(super) fn new(future: F, report: Option<Report<F::Output>>) -> ChildCell<F> {
        ChildCell {
            stored: TaskCell::new(future),
            report,
        }
    }
}

/// A child, whatever its future is.
pub(super) trait PollChild {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;

    /// What went wrong in the output, which nobody will take, of a child that was cut short or not.
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

/// A child in its allocation, its lifetime forgotten. It is pinned there from the first to the last.
pub(super) struct ErasedChild(NonNull<dyn PollChild>);

impl ErasedChild {
    /// Forgets what a child borrows.
    ///
    /// # Safety
    ///
    /// The child is neither polled nor dropped after what it borrows is gone.
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

    /// Another name for the child, so that it is polled while this one stays where it is.
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

/// A child that lies in its slot.
pub(super) struct ChildPtr(NonNull<dyn PollChild>);

impl ChildPtr {
    /// # Safety
    ///
    /// Until this returns the child is not touched in another way, and it has not been dropped before.
    #[inline]
    pub(super) unsafe fn poll(self, context: &mut Context<'_>) -> Poll<()> {
        let mut child = self.0;
        // SAFETY: the caller's promise; the child is pinned in its allocation.
        unsafe { Pin::new_unchecked(child.as_mut()) }.poll(context)
    }
}
