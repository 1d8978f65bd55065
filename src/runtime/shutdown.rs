//! The end of a runtime (O8), in this order:
//!
//! 1. refuse new tasks, new operations except closing, and new closures; take those that have not begun out of the pool;
//! 2. drop the tasks while the runtime is still current, each panic caught;
//! 3. ask the kernel to cancel everything, and reap until nothing is in flight or the deadline passes; dispose of results
//!    that nobody will ask for;
//! 4. wait for what runs in the pool, as long as there is time;
//! 5. leak, and report, what is left.
//!
//! Closing a ring is no barrier: 20 ms after the close the kernel still wrote into the buffers of 32 reads (measured on
//! 6.18). So nothing that is in flight is ever freed.

use super::builder::Runtime;
use super::core::{Core, Phase};
use super::current::{self, Entered};
use super::fault::Fault;
use super::turn::{Polled, Scratch};
use crate::sys::Instant;
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

impl Runtime {
    /// Shuts the runtime down, as dropping it does, but within this time, and says what would not end.
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
    /// `TimedOut`, with the kinds of operations that the kernel would not give up, whose memory is then leaked, and the
    /// number of closures that still run.
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

    /// The end of `run`: cancels the root scope, and waits until its tasks have ended or the grace period is over.
    pub(super) fn cancel_what_is_left(&mut self) {
        let core = &self.core;
        if core.tasks.borrow().alive() == 0 || core.is_forked() {
            return;
        }
        let _entered = Entered::new(core);
        core.cancel_root();
        let deadline = core.now() + core.settings.grace;
        core.turn_until(deadline, || {
            core.tasks.borrow().alive() == 0 || core.force_shutdown.get()
        });
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.core.has_ended() {
            let timeout = self.core.settings.shutdown;
            self.core.shut_down(&self.core, timeout);
        }
    }
}

impl Core {
    /// Turns until `done` or the deadline, and once at least.
    fn turn_until(&self, deadline: Instant, done: impl Fn() -> bool) {
        let mut scratch = Scratch::default();
        let main_is_gone = &mut |_: &mut std::task::Context<'_>| false;
        while !done() && !self.driver.borrow().is_lost() {
            self.first_half(main_is_gone);
            // The last task may just have ended: then nothing is left that would end the wait before the deadline.
            if done() {
                break;
            }
            self.second_half(Some(deadline), &mut scratch);
            if self.now() >= deadline {
                break;
            }
        }
    }

    /// Ends the runtime. What could not be ended is reported, and given back.
    fn shut_down(&self, shared: &Rc<Core>, timeout: Duration) -> Vec<Fault> {
        if self.is_forked() {
            // The ring and all that is in flight belong to the parent: nothing of it is touched, and nothing is freed.
            std::mem::forget(shared.clone());
            self.enter_phase(Phase::Ended);
            return Vec::new();
        }
        let entered = Entered::new(shared);
        let deadline = self.now() + timeout;
        let mut faults = Vec::new();
        self.enter_phase(Phase::Closing);
        self.pool.close(&self.hook);
        self.drop_tasks();
        let mut wakers = self.driver.borrow_mut().cancel_all();
        wakers.append(&mut self.closers.borrow_mut().take_all());
        let mut sleepers = self.scopes.borrow_mut().take_wakes();
        for sleeper in self.timers.borrow_mut().wakes_mut() {
            sleepers.push(std::mem::replace(&mut sleeper.waker, Waker::noop().clone()));
        }
        for wait in self.waits.borrow_mut().iter_mut() {
            sleepers.push(std::mem::replace(&mut wait.waker, Waker::noop().clone()));
        }
        // Whom they wake is gone.
        for waker in wakers.into_iter().chain(sleepers) {
            self.hook.guard("a waker", || drop(waker));
        }
        self.turn_until(deadline, || self.driver.borrow().is_drained());
        let left = deadline.saturating_duration_since(self.now());
        let running = self.pool.wait(left);
        if running > 0 {
            faults.push(Fault::BlockingLeft { running });
        }
        self.withdraw_buffers();
        let kinds = self.driver.borrow_mut().leak();
        if !kinds.is_empty() {
            faults.push(Fault::OperationsLeaked { kinds });
        }
        self.enter_phase(Phase::Ended);
        drop(entered);
        for fault in &faults {
            self.hook.report(fault);
        }
        current::retire(shared);
        faults
    }

    /// Drops every task, and the outputs that nobody will take any more. While one is being dropped others may be woken
    /// or let go of, but none is begun.
    fn drop_tasks(&self) {
        self.tasks.borrow_mut().abort_all();
        while self.tasks.borrow().alive() > 0 {
            let Some(turn) = self.tasks.borrow_mut().next() else {
                unreachable!("an aborted task is ready")
            };
            self.poll_task(turn, &mut Polled::default(), &mut |_| false);
        }
        let ended = self.tasks.borrow_mut().take_ended();
        for (end, origin) in ended {
            self.dispose_of_end(end, &origin);
        }
    }
}
