//! Whether the next receive of a socket will have to wait, as far as the last ones tell.
//!
//! A receive that finds nothing has cost an attempt. With `IORING_RECVSEND_POLL_FIRST` (5.19) it waits for data before it
//! tries: that saves 150 to 210 ns where there are none, and costs 430 to 490 more where there are (sockets of Unix and TCP on
//! 6.18). Where there are some, and nothing else is to be done, a plain call is cheaper still
//! ([`Entry::try_first`](super::Entry::try_first)).
//!
//! A completion says whether its socket has more (streams only); if it has not, it depends on the peer: most take longer to
//! answer than the next receive takes to begin, but one that is in the same task has written before. So one in some receives of
//! a socket that was empty is probed: the first of them is timed, later ones are tried by a plain call, or timed where that
//! cannot be. A socket from which little is received is never tried: whoever polls a read of it once, and drops it, has taken
//! nothing.

use super::{Completion, Entry};
use crate::runtime::{self, Core};
use crate::sys::{Instant, Opcode};
use std::cell::Cell;
use std::time::Duration;

const POLL_FIRST: u16 = 1;

/// One in so many is tried or timed: to look at the clock twice costs 50 to 100 ns.
const PROBED_EVERY: u8 = 16;

/// What is there after so long had to be waited for.
const PROMPT: Duration = Duration::from_micros(5);

/// What the last receive that was probed has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// It had to wait.
    Waits,
    /// The ring had its answer soon.
    Prompt,
    /// So had a plain call.
    AtOnce,
}

/// What a socket remembers of its receives. One is under way at a time.
#[derive(Debug, Default)]
pub(super) struct RecvHint {
    /// The last one left nothing behind.
    is_drained: Cell<bool>,
    shown: Cell<Option<Shown>>,
    /// So many go before the next that is probed.
    unprobed: Cell<u8>,
    /// When the one that is under way began, if it is probed.
    begun: Cell<Option<Instant>>,
}

impl RecvHint {
    /// How the next receive is to be served.
    #[inline]
    pub(super) fn expect(&self, entry: Entry) -> Entry {
        if !self.is_drained.get() {
            return entry;
        }
        match (self.probes(), self.shown.get()) {
            (true, Some(_)) | (false, Some(Shown::AtOnce)) => entry.try_first(),
            _ => entry.ioprio(self.poll_first()),
        }
    }

    /// The flags of the next receive, one of several completions.
    #[inline]
    pub(super) fn flags(&self) -> u16 {
        if !self.is_drained.get() {
            return 0;
        }
        self.probes();
        self.poll_first()
    }

    /// Whether the next one is to show it.
    #[inline]
    fn probes(&self) -> bool {
        let unprobed = self.unprobed.get();
        let probes = unprobed == 0;
        self.unprobed.set(match probes {
            true => PROBED_EVERY - 1,
            false => unprobed - 1,
        });
        // The one that was probed before may have been canceled.
        self.begun.set(probes.then(Instant::now));
        probes
    }

    /// Kernels before 5.19 know no such flag; those that have SEND_ZC (6.0) are not among them.
    #[inline]
    fn poll_first(&self) -> u16 {
        let waits = self.shown.get() == Some(Shown::Waits);
        match waits && runtime::with(|core: &Core| core.supports(Opcode::SEND_ZC)) {
            true => POLL_FIRST,
            false => 0,
        }
    }

    /// A receive has brought something, or the end.
    #[inline]
    pub(super) fn note(&self, completion: Completion) {
        self.is_drained.set(!completion.socket_has_more());
        if let Some(begun) = self.begun.take() {
            let is_late = !completion.came_at_once() && begun.elapsed() > PROMPT;
            self.shown.set(Some(match self.shown.get() {
                _ if completion.came_at_once() => Shown::AtOnce,
                // Others were polled in between, perhaps: the next probe tells.
                Some(Shown::AtOnce) if is_late => Shown::Prompt,
                Some(Shown::AtOnce) => Shown::AtOnce,
                _ if is_late => Shown::Waits,
                _ => Shown::Prompt,
            }));
        }
    }
}
