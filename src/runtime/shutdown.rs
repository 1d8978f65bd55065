//! Shutdown of a runtime (O8), in this order:
//!
//! 1. reject new tasks, new closures, and new operations except closes; withdraw closures that have not started;
//! 2. drop the tasks while the runtime is still current, catching each panic;
//! 3. cancel every operation, and reap until nothing is in flight or the deadline passes; dispose of results that no
//!    future will take;
//! 4. wait for the closures running in the pool, until the deadline;
//! 5. leak what is left, and report it.
//!
//! Closing a ring is not a barrier: 20 ms after the close the kernel still wrote into the buffers of 32 reads (measured
//! on 6.18). So memory lent to an operation in flight is never freed.

use super::builder::Runtime;
use super::core::Core;
use super::current::{self, Entered};
use super::fault::Fault;
use super::scopes::take_waker;
use super::turn::Scratch;
use crate::sys::Instant;
use crate::table::Key;
use std::cell::{Cell, OnceCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// How far a runtime has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Open,
    /// Rejects everything new except closes.
    Closing,
    Ended,
}

/// What ends a runtime, and when.
#[derive(Debug, Default)]
pub(super) struct RuntimeLifecycle {
    pub(super) phase: Cell<Phase>,
    /// The task-table row of the future that `block_on` holds.
    pub(super) main: Cell<Option<Key>>,
    /// Whether `run` may drop that future before it is ready.
    pub(super) may_drop_main: Cell<bool>,
    /// Ctrl-C presses so far, if the builder asked for `cancel_on_ctrl_c`.
    pub(super) interrupts: OnceCell<Arc<AtomicU32>>,
    /// The presses that have been handled.
    pub(super) interrupts_seen: Cell<u32>,
    grace: Duration,
    timeout: Duration,
}

impl RuntimeLifecycle {
    pub(super) fn new(grace: Duration, timeout: Duration) -> RuntimeLifecycle {
        RuntimeLifecycle {
            grace,
            timeout,
            ..RuntimeLifecycle::default()
        }
    }

    /// Whether to stop waiting for canceled tasks, after a second Ctrl-C.
    pub(super) fn is_forced(&self) -> bool {
        self.interrupts_seen.get() > 1
    }
}

impl Runtime {
    /// Shuts the runtime down, as dropping it does, but within this time, and reports what did not end as an error.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    ///
    /// let mut runtime = gimmal::Runtime::new()?;
    /// runtime.block_on(async {});
    /// runtime.shutdown(Duration::from_millis(100))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut`, with the kinds of operations that are still in the kernel, whose memory is leaked, and the number of
    /// closures that are still running.
    pub fn shutdown(self, timeout: Duration) -> io::Result<()> {
        let faults = self.core.shut_down(&self.core, timeout);
        if faults.is_empty() {
            return Ok(());
        }
        let sentences: Vec<String> = faults.iter().map(Fault::to_string).collect();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            sentences.join("; "),
        ))
    }

    /// Cancels the root scope at the end of `run`, and waits until its tasks have ended or the grace period has passed.
    pub(super) fn cancel_what_is_left(&mut self) {
        let core = &self.core;
        if core.tasks.borrow().alive() == 0 || core.is_forked() {
            return;
        }
        let _entered = Entered::new(core);
        core.cancel_root();
        let deadline = core.now() + core.lifecycle.grace;
        core.turn_until(deadline, Core::now, || {
            core.tasks.borrow().alive() == 0 || core.lifecycle.is_forced()
        });
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.core.has_ended() {
            let timeout = self.core.lifecycle.timeout;
            self.core.shut_down(&self.core, timeout);
        }
    }
}

impl Core {
    /// Runs turns until `done` returns true or the deadline passes by the clock `now`; if not done, at least one turn, even
    /// past the deadline.
    fn turn_until(&self, deadline: Instant, now: fn(&Core) -> Instant, done: impl Fn() -> bool) {
        let mut scratch = Scratch::default();
        let main_is_gone = &mut |_: &mut std::task::Context<'_>| false;
        while !done() && !self.driver.borrow().is_lost() {
            self.first_half(main_is_gone);
            // If the last task has just ended, nothing would end the wait before the deadline.
            if done() {
                break;
            }
            self.second_half(Some(deadline), &mut scratch);
            if now(self) >= deadline {
                break;
            }
        }
    }

    /// Shuts the runtime down. Reports and returns as faults what did not end in time.
    fn shut_down(&self, shared: &Rc<Core>, timeout: Duration) -> Vec<Fault> {
        if self.is_forked() {
            // The ring and everything in flight belong to the parent: touch and free nothing of it.
            std::mem::forget(shared.clone());
            self.lifecycle.phase.set(Phase::Ended);
            return Vec::new();
        }
        let entered = Entered::new(shared);
        // The kernel and the threads of the pool take real time.
        let deadline = self.real_now() + timeout;
        let mut faults = Vec::new();
        self.lifecycle.phase.set(Phase::Closing);
        self.pool.close();
        self.drop_tasks();
        self.wake_kept();
        let mut wakers = self.driver.borrow_mut().cancel_all();
        wakers.append(&mut self.closers.borrow_mut().take_all());
        wakers.append(&mut self.scopes.borrow_mut().take_wakes());
        let (mut timers, mut waits) = (self.timers.borrow_mut(), self.waits.borrow_mut());
        wakers.extend(
            timers
                .wakes_mut()
                .map(|sleeper| take_waker(&mut sleeper.waker)),
        );
        wakers.extend(waits.iter_mut().map(|wait| take_waker(&mut wait.waker)));
        drop((timers, waits));
        // The tasks that these would wake are gone.
        for waker in wakers {
            self.hook.guard("a waker", || drop(waker));
        }
        self.turn_until(deadline, Core::real_now, || {
            self.driver.borrow().is_drained()
        });
        let left = deadline.saturating_duration_since(self.real_now());
        let running = self.pool.wait(left);
        if running > 0 {
            faults.push(Fault::BlockingLeft { running });
        }
        self.withdraw_buffers();
        let kinds = self.driver.borrow_mut().leak();
        if !kinds.is_empty() {
            faults.push(Fault::OperationsLeaked { kinds });
        }
        self.lifecycle.phase.set(Phase::Ended);
        drop(entered);
        for fault in &faults {
            self.hook.report(fault);
        }
        current::retire(shared);
        faults
    }

    /// Drops every task, and the outputs that have not been taken. Dropping one task may wake others or drop their
    /// handles, but spawns none.
    fn drop_tasks(&self) {
        self.tasks.borrow_mut().abort_all();
        while self.tasks.borrow().alive() > 0 {
            let Some(turn) = self.tasks.borrow_mut().next() else {
                unreachable!("an aborted task is ready")
            };
            self.drop_ready(turn);
        }
        let ended = self.tasks.borrow_mut().take_ended();
        for unclaimed in ended {
            self.dispose_of_end(Some(unclaimed));
        }
    }
}
