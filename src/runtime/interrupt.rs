//! How another thread ends the wait of a runtime.

use crate::sys::EventFd;
use crate::tasks::Interrupt;
use std::io;

#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        EventFd::new().map(Bell)
    }
}

impl Interrupt for Bell {
    fn interrupt(&self) {
        self.0.signal();
    }

    fn descriptor(&self) -> i32 {
        self.0.raw()
    }
}
