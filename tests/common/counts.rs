//! Counts that must return to a baseline.

use crate::{Watched, is_alone};
use gimmal::runtime::Stats;
use gimmal::{Handle, yield_now};

/// The maximum number of turns that a runtime may take to return to its baseline. Kernel workers need time, and a turn
/// that finds nothing to do takes only a microsecond.
const TURNS_MAX: usize = 10_000_000;

/// The number of open descriptors of this process, including the one that counts them.
///
/// Only for a test that runs in a process of its own: other tests open and close descriptors, too.
#[track_caller]
pub fn descriptors() -> usize {
    assert!(
        is_alone(),
        "a test that counts descriptors begins with ran_in_own_process()"
    );
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// What a runtime must have released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    tasks: usize,
    task_rows: usize,
    scopes: usize,
    waits: usize,
    operations: usize,
    orphans: usize,
    operation_rows: usize,
    timers: usize,
}

impl From<Stats> for Counts {
    fn from(stats: Stats) -> Counts {
        Counts {
            tasks: stats.tasks,
            task_rows: stats.task_rows,
            scopes: stats.scopes,
            waits: stats.waits,
            operations: stats.operations,
            orphans: stats.orphans,
            operation_rows: stats.operation_rows,
            timers: stats.timers,
        }
    }
}

/// The state of the runtime and the process before a test.
#[derive(Debug)]
pub struct Baseline {
    counts: Counts,
    descriptors: usize,
    buffers: usize,
}

impl Baseline {
    /// Records the state of the current runtime and of this process.
    pub fn take() -> Baseline {
        Baseline {
            counts: Handle::current().stats().into(),
            descriptors: descriptors(),
            buffers: Watched::alive(),
        }
    }

    /// The number of descriptors that were open.
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Lets the runtime turn until its tables are back at the baseline.
    pub async fn operations_return(&self, after: &str) {
        let handle = Handle::current();
        let mut turns = 0;
        loop {
            let counts = Counts::from(handle.stats());
            if counts == self.counts {
                return;
            }
            turns += 1;
            assert!(
                turns < TURNS_MAX,
                "after {after}: {counts:?} did not return to {:?}: {:?}",
                self.counts,
                handle.operations()
            );
            yield_now().await;
        }
    }

    /// Lets the runtime turn until it is back at the baseline, and checks descriptors and buffers.
    #[track_caller]
    pub fn returns(&self, after: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.operations_return(after).await;
            // A name lookup that is no longer awaited may still hold a descriptor on its thread.
            for _ in 0..2000 {
                if descriptors() == self.descriptors {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert_eq!(
                descriptors(),
                self.descriptors,
                "{caller}: descriptors after {after}"
            );
            assert_eq!(
                Watched::alive(),
                self.buffers,
                "{caller}: buffers after {after}"
            );
            Watched::check(after);
        }
    }
}
