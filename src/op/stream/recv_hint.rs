//! Predicts from recent receives whether the next one on a socket will block.
//!
//! A receive that finds no data has wasted an attempt. With `IORING_RECVSEND_POLL_FIRST` (5.19), it waits for data
//! before its first attempt: that saves 150 to 210 ns if there is none, and costs 430 to 490 ns more if there is some
//! (Unix and TCP sockets on 6.18). If there is data and nothing else is to be done, a direct call is cheaper still
//! ([`Entry::try_direct`]).
//!
//! A completion reports whether its socket has more data (streams only). If it has none, the answer depends on the
//! peer: most take longer to answer than the next receive takes to start, but a peer in the same task has already
//! written. So one in several receives on an empty socket is a probe: the first probe is timed; later ones try a direct
//! call, or are timed where that is not possible. A socket with few receives is never tried: polling a read of it once
//! and dropping it consumes nothing.

use crate::op::{Completion, Entry};
use crate::runtime::{self, Core};
use crate::sys::{Features, Instant};
use std::cell::Cell;
use std::time::Duration;

const POLL_FIRST: u16 = 1;

/// One in this many receives is a probe: reading the clock twice costs 50 to 100 ns.
const PROBED_EVERY: u8 = 16;

/// A probe that takes longer than this had to wait.
const PROMPT: Duration = Duration::from_micros(5);

/// The result of the last probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeResult {
    /// It had to wait.
    Waits,
    /// The ring had data promptly.
    Prompt,
    /// The direct call succeeded.
    AtOnce,
}

/// What a socket remembers of its receives. Only one is in flight at a time.
#[derive(Debug, Default)]
pub(in crate::op) struct RecvHint {
    /// The last receive left no data behind.
    is_drained: Cell<bool>,
    last_probe: Cell<Option<ProbeResult>>,
    /// How many receives precede the next probe.
    until_probe: Cell<u8>,
    /// When the current receive started, if it is a probe.
    probe_start: Cell<Option<Instant>>,
}

impl RecvHint {
    /// Prepares the entry for the way in which the next receive should be served.
    #[inline]
    pub(in crate::op) fn prepare(&self, entry: Entry) -> Entry {
        if !self.is_drained.get() {
            return entry;
        }
        match (self.probes(), self.last_probe.get()) {
            (true, Some(_)) | (false, Some(ProbeResult::AtOnce)) => entry.try_direct(),
            _ => entry.ioprio(self.poll_first()),
        }
    }

    /// Returns the flags of the next receive, if it has several completions.
    #[inline]
    pub(super) fn flags(&self) -> u16 {
        if !self.is_drained.get() {
            return 0;
        }
        self.probes();
        self.poll_first()
    }

    /// Returns whether the next receive is a probe.
    #[inline]
    fn probes(&self) -> bool {
        let until_probe = self.until_probe.get();
        let probes = until_probe == 0;
        self.until_probe.set(match probes {
            true => PROBED_EVERY - 1,
            false => until_probe - 1,
        });
        // Also resets the start of an earlier probe, which may have been canceled.
        let now = || runtime::try_with(Core::real_now);
        self.probe_start.set(probes.then(now).flatten());
        probes
    }

    #[inline]
    fn poll_first(&self) -> u16 {
        let waits = self.last_probe.get() == Some(ProbeResult::Waits);
        match waits && runtime::with(|core: &Core| core.has(Features::POLL_FIRST)) {
            true => POLL_FIRST,
            false => 0,
        }
    }

    /// Records a receive that returned data or the end of the stream.
    #[inline]
    pub(in crate::op) fn note(&self, completion: Completion) {
        self.is_drained.set(!completion.socket_has_more());
        if let Some(probe_start) = self.probe_start.take()
            && let Some(now) = runtime::try_with(Core::real_now)
        {
            let is_late = !completion.came_at_once() && now - probe_start > PROMPT;
            self.last_probe.set(Some(match self.last_probe.get() {
                _ if completion.came_at_once() => ProbeResult::AtOnce,
                // Other tasks may have been polled in between: the next probe decides.
                Some(ProbeResult::AtOnce) if is_late => ProbeResult::Prompt,
                Some(ProbeResult::AtOnce) => ProbeResult::AtOnce,
                _ if is_late => ProbeResult::Waits,
                _ => ProbeResult::Prompt,
            }));
        }
    }
}
