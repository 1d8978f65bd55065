//! The eventfd by which another thread ends the wait of a runtime.

use crate::sys::EventFd;
use crate::tasks::Interrupt;
use std::io;

#[derive(Debug)]
pub(in crate::runtime) struct EventFdUnparker(EventFd);

impl EventFdUnparker {
    pub(in crate::runtime) fn new() -> io::Result<EventFdUnparker> {
        EventFd::new().map(EventFdUnparker)
    }
}

impl Interrupt for EventFdUnparker {
    fn interrupt(&self) {
        self.0.signal();
    }

    fn descriptor(&self) -> i32 {
        self.0.raw()
    }
}
