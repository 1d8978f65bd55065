//! The one allocation of a task: its future, later its output.

#![forbid(unsafe_code)]

use pin_project_lite::pin_project;
use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A task as the table holds it, with its future type erased.
pub(crate) trait Task {
    /// Polls the future. When it is ready, drops it and stores its output in its place.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;

    /// Returns the output of a finished future: an `Option` of the output's type, `None` once it has been taken.
    fn output(self: Pin<&mut Self>) -> &mut dyn Any;

    /// Returns the task, if it is one of the runtime's around another.
    fn wrapper(&self) -> Option<&dyn Any> {
        None
    }
}

pin_project! {
    /// A future, then its output, then nothing.
    #[project = StoredProjection]
    #[derive(Debug)]
    pub enum TaskCell<F: Future> {
        Future { #[pin] future: F },
        Output { output: Option<F::Output> },
    }
}

impl<F: Future> TaskCell<F> {
    pub(crate) fn new(future: F) -> TaskCell<F> {
        TaskCell::Future { future }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, TaskCell::Output { .. })
    }

    /// Polls the future. When it is ready, drops it and stores its output in its place.
    #[inline]
    pub(crate) fn poll_stored(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let output = match self.as_mut().project() {
            StoredProjection::Future { future } => match future.poll(context) {
                Poll::Ready(output) => output,
                Poll::Pending => return Poll::Pending,
            },
            StoredProjection::Output { .. } => {
                unreachable!("a task that is ready is not polled again")
            }
        };
        self.set(TaskCell::Output {
            output: Some(output),
        });
        Poll::Ready(())
    }

    /// Returns the output of a finished future; `None` once it has been taken.
    pub(crate) fn output(self: Pin<&mut Self>) -> &mut Option<F::Output> {
        match self.project() {
            StoredProjection::Output { output } => output,
            StoredProjection::Future { .. } => {
                unreachable!("a handle takes the output of a task once it is there")
            }
        }
    }
}

impl<F: Future> Task for TaskCell<F>
where
    F::Output: 'static,
{
    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_stored(context)
    }

    fn output(self: Pin<&mut Self>) -> &mut dyn Any {
        self.output()
    }
}

/// The payload of a panic, in the place of the task that panicked.
#[derive(Debug)]
pub(super) struct PanicPayload(pub(super) Option<Box<dyn Any + Send>>);

impl PanicPayload {
    /// Takes the payload out of a task that is one.
    pub(super) fn take(mut task: Pin<Box<dyn Task>>) -> Option<Box<dyn Any + Send>> {
        task.as_mut().output().downcast_mut::<Option<_>>()?.take()
    }
}

impl Task for PanicPayload {
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        unreachable!("a task that has ended is not polled again")
    }

    fn output(self: Pin<&mut Self>) -> &mut dyn Any {
        &mut self.get_mut().0
    }
}
