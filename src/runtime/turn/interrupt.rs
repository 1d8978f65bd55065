//! The eventfd by which another thread ends the wait of a runtime.

use crate::sys::EventFd;
use crate::tasks::Interrupt;

impl Interrupt for EventFd {
    fn interrupt(&self) {
        self.signal();
    }

    fn descriptor(&self) -> i32 {
        self.raw()
    }
}
