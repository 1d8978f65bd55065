//! The result of a pass over the files: counted and displayed while it runs, and reported at its end.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// On a terminal, progress is displayed at every hundredth sample.
const SAMPLES_PER_LINE: u64 = 100;

/// Counters that every thread that reads or walks adds to.
#[derive(Default)]
pub(crate) struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    faults: AtomicU64,
    skipped: AtomicU64,
    samples: AtomicU64,
    in_flight_sum: AtomicU64,
    in_flight_max: AtomicU64,
    /// Whether faults are listed and progress is displayed.
    loud: bool,
}

impl Tally {
    pub(crate) fn loud() -> Tally {
        Tally {
            loud: true,
            ..Tally::default()
        }
    }

    /// Counts files that were read, and their bytes.
    pub(crate) fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts and lists something that cannot be read. `why` names it.
    pub(crate) fn fault(&self, why: impl Display) {
        self.faults.fetch_add(1, Relaxed);
        self.show(format_args!("{why}\n"));
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Counts something that is not a regular file.
    pub(crate) fn skip(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// Records the number of operations in flight at this moment.
    pub(crate) fn peak(&self, in_flight: u64) {
        self.in_flight_max.fetch_max(in_flight, Relaxed);
    }

    /// Records the same for the mean, which needs samples a fixed time apart.
    pub(crate) fn sample(&self, in_flight: u64) {
        self.peak(in_flight);
        self.in_flight_sum.fetch_add(in_flight, Relaxed);
        let samples = self.samples.fetch_add(1, Relaxed);
        if samples % SAMPLES_PER_LINE == SAMPLES_PER_LINE - 1 && io::stderr().is_terminal() {
            let (files, bytes) = self.counts();
            let mb = bytes / 1_000_000;
            self.show(format!("{files} files, {mb} MB, {in_flight} in flight"));
        }
    }

    /// Writes to standard error, in place of the progress line. If nobody reads it, the error is ignored.
    fn show(&self, text: impl Display) {
        let is_terminal = io::stderr().is_terminal();
        if self.loud {
            let clear = if is_terminal { "\r\x1b[K" } else { "" };
            let _ = write!(io::stderr(), "{clear}{text}");
        }
    }

    /// Returns the numbers of files and bytes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.files.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Prints the result of the pass by gimmal.
    pub(crate) fn report(&self, tasks: usize, time: Duration) -> io::Result<()> {
        self.show("");
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let rates = rates(self.counts(), time);
        let mut text = format!("gimmal, {tasks} tasks: {rates}\n");
        text += &format!("in flight: {} at most", of(&self.in_flight_max));
        let samples = of(&self.samples);
        if samples > 0 {
            let mean = of(&self.in_flight_sum) as f64 / samples as f64;
            text += &format!(", {mean:.1} on average");
        }
        let (faults, skipped) = (of(&self.faults), of(&self.skipped));
        text += &format!("; unreadable: {faults}; skipped, not regular files: {skipped}\n");
        io::stdout().write_all(text.as_bytes())
    }
}

/// Describes what was read in this time.
pub(crate) fn rates((files, bytes): (u64, u64), time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (rate, megabytes) = (files as f64 / seconds, bytes as f64 / 1e6 / seconds);
    format!("{files} files, {bytes} bytes, {seconds:.3} s: {rate:.0} files/s, {megabytes:.0} MB/s")
}
