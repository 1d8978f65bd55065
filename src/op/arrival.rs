//! Whether the next receive of a socket will have to wait, as far as the last ones tell.
//!
//! A receive that finds nothing has cost an attempt. With `IORING_RECVSEND_POLL_FIRST` (5.19) it waits for data before it
//! tries: that saves 150 to 210 ns where there are none, and costs 430 to 490 more where there are (sockets of Unix and TCP on
//! 6.18). A completion says whether its socket has more; if it has not, it depends on the peer: most take longer to answer
//! than the next receive takes to begin, but one that is in the same task has written before. So one in some receives of a
//! socket that was empty is timed.

use super::Completion;
use crate::runtime::{self, Core};
use crate::sys::{Instant, Opcode};
use std::cell::Cell;
use std::time::Duration;

const POLL_FIRST: u16 = 1;

/// One in so many is timed: to look at the clock twice costs 50 to 100 ns.
const TIMED_EVERY: u8 = 16;

/// What is there after so long had to be waited for.
const PROMPT: Duration = Duration::from_micros(5);

/// What a socket remembers of its receives. One is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    /// The last one left nothing behind.
    is_drained: Cell<bool>,
    /// The last one that was timed had to wait.
    waits: Cell<bool>,
    /// So many are not timed before the next that is.
    untimed: Cell<u8>,
    /// When the one that is under way began, if it is timed.
    begun: Cell<Option<Instant>>,
}

impl Arrival {
    /// The flags of the next receive. Kernels before 5.19 know none; those that have SEND_ZC (6.0) are not among them.
    #[inline]
    pub(super) fn flags(&self) -> u16 {
        if !self.is_drained.get() {
            return 0;
        }
        match self.untimed.get() {
            0 => {
                self.untimed.set(TIMED_EVERY - 1);
                self.begun.set(Some(Instant::now()));
            }
            n => {
                // The one that was timed may have been cancelled.
                self.begun.set(None);
                self.untimed.set(n - 1);
            }
        }
        match self.waits.get() && runtime::with(|core: &Core| core.supports(Opcode::SEND_ZC)) {
            true => POLL_FIRST,
            false => 0,
        }
    }

    /// A receive has brought something, or the end.
    #[inline]
    pub(super) fn note(&self, completion: Completion) {
        self.is_drained.set(!completion.socket_has_more());
        if let Some(begun) = self.begun.take() {
            self.waits.set(begun.elapsed() > PROMPT);
        }
    }
}
