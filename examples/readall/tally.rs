//! What a pass over the files has come to: counted and shown while it works, and told at its end.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// On a terminal, progress is shown at every hundredth look.
const LOOKS_PER_LINE: u64 = 100;

/// Counters, added to by every thread that reads or walks.
#[derive(Default)]
pub(crate) struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    faults: AtomicU64,
    skipped: AtomicU64,
    looks: AtomicU64,
    in_flight_sum: AtomicU64,
    in_flight_max: AtomicU64,
    /// Whether faults are listed and progress is shown.
    loud: bool,
}

impl Tally {
    pub(crate) fn loud() -> Tally {
        Tally {
            loud: true,
            ..Tally::default()
        }
    }

    /// So many files were read, of so many bytes.
    pub(crate) fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Something cannot be read. Why names what.
    pub(crate) fn fault(&self, why: impl Display) {
        self.faults.fetch_add(1, Relaxed);
        self.show(format_args!("{why}\n"));
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Something is no regular file.
    pub(crate) fn skip(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// So many operations are in flight at this moment.
    pub(crate) fn peak(&self, in_flight: u64) {
        self.in_flight_max.fetch_max(in_flight, Relaxed);
    }

    /// The same, at one of the moments of which the mean is told: they lie a fixed time apart.
    pub(crate) fn look(&self, in_flight: u64) {
        self.peak(in_flight);
        self.in_flight_sum.fetch_add(in_flight, Relaxed);
        let looks = self.looks.fetch_add(1, Relaxed);
        if looks % LOOKS_PER_LINE == LOOKS_PER_LINE - 1 && io::stderr().is_terminal() {
            let files = self.files.load(Relaxed);
            let megabytes = self.bytes.load(Relaxed) / 1_000_000;
            self.show(format_args!(
                "{files} files, {megabytes} MB, {in_flight} in flight"
            ));
        }
    }

    /// Writes to standard error, in place of the progress that stands there.
    fn show(&self, text: impl Display) {
        if self.loud {
            let clear = if io::stderr().is_terminal() {
                "\r\x1b[K"
            } else {
                ""
            };
            // If nobody reads this, there is nobody to be told.
            let _ = write!(io::stderr(), "{clear}{text}");
        }
    }

    pub(crate) fn report(&self, name: &str, elapsed: Duration) -> io::Result<()> {
        self.show("");
        let seconds = elapsed.as_secs_f64();
        let (files, bytes) = (self.files.load(Relaxed), self.bytes.load(Relaxed));
        let rate = files as f64 / seconds;
        let megabytes = bytes as f64 / 1e6 / seconds;
        let mut text = format!(
            "{name}: {files} files, {bytes} bytes, {seconds:.3} s: {rate:.0} files/s, {megabytes:.0} MB/s\n"
        );
        if self.loud {
            let (max, sum) = (&self.in_flight_max, self.in_flight_sum.load(Relaxed));
            let mean = sum as f64 / self.looks.load(Relaxed).max(1) as f64;
            text += &format!(
                "in flight: {} at most, {mean:.1} on average; unreadable: {}; skipped, not regular files: {}\n",
                max.load(Relaxed),
                self.faults(),
                self.skipped.load(Relaxed)
            );
        }
        io::stdout().write_all(text.as_bytes())
    }
}
