//! The one allocation of a task: its future, later its output.

#![forbid(unsafe_code)]

use pin_project_lite::pin_project;
use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A task as the table holds it, whatever its future is.
pub(crate) trait Task {
    /// Polls the future; when it is ready, drops it and keeps its output in its place.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;

    /// Moves the output of a future that is ready into `slot`, which is an `Option` of the output's type.
    fn take_output(self: Pin<&mut Self>, slot: &mut dyn Any);
}

pin_project! {
    /// A future, then its output, then nothing.
    #[project = StoredProjection]
    #[derive(Debug)]
    pub(crate) enum Stored<F: Future> {
        Future { #[pin] future: F },
        Output { output: Option<F::Output> },
    }
}

impl<F: Future> Stored<F> {
    pub(crate) fn new(future: F) -> Stored<F> {
        Stored::Future { future }
    }
}

impl<F: Future> Task for Stored<F>
where
    F::Output: 'static,
{
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let output = match self.as_mut().project() {
            StoredProjection::Future { future } => match future.poll(context) {
                Poll::Ready(output) => output,
                Poll::Pending => return Poll::Pending,
            },
            StoredProjection::Output { .. } => {
                unreachable!("a task that is ready is not polled again")
            }
        };
        self.set(Stored::Output {
            output: Some(output),
        });
        Poll::Ready(())
    }

    fn take_output(self: Pin<&mut Self>, slot: &mut dyn Any) {
        let slot = slot.downcast_mut::<Option<F::Output>>();
        match (self.project(), slot) {
            (StoredProjection::Output { output }, Some(slot)) => *slot = output.take(),
            _ => unreachable!("a handle takes the output of its own task, once it is there"),
        }
    }
}
