//! Values that record, count or panic when they are dropped, and caught panics.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A record of events in order.
#[derive(Clone, Default)]
pub struct Journal(Rc<RefCell<Vec<&'static str>>>);

impl Journal {
    pub fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    pub fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }

    /// A value that records its drop.
    pub fn on_drop(&self, what: &'static str) -> OnDrop {
        OnDrop(self.clone(), what)
    }
}

pub struct OnDrop(Journal, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// Panics when it is dropped.
pub struct DropBomb(pub &'static str);

impl Drop for DropBomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Calls a closure when it is dropped.
pub struct Finally<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The output of a future, or the payload of its panic.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        },
    )
    .await
}

/// The message of a panic.
pub fn panic_message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast_ref::<&str>().expect("a text")).to_owned(),
    }
}

/// Counts its members that were not dropped.
#[derive(Clone, Default)]
pub struct Census {
    made: Rc<Cell<usize>>,
    dropped: Rc<Cell<usize>>,
}

pub struct Member {
    dropped: Rc<Cell<usize>>,
    /// False once the value was dropped, to detect a second drop.
    alive: Cell<bool>,
}

impl Census {
    pub fn member(&self) -> Member {
        self.made.set(self.made.get() + 1);
        Member {
            dropped: self.dropped.clone(),
            alive: Cell::new(true),
        }
    }

    pub fn alive(&self) -> usize {
        self.made.get() - self.dropped.get()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        assert!(self.alive.replace(false), "a value is dropped once");
        self.dropped.set(self.dropped.get() + 1);
    }
}
