//! One pass of the event loop.
//!
//! 1. Poll ready tasks, within a budget of polls and time.
//! 2. Fire due timers; take what other threads sent.
//! 3. Enter the kernel once, waiting only if nothing is ready and nothing is left over.
//! 4. Reap: copy every completion into its row, then wake, then dispose of what nobody waits for.

use super::core::{Core, READY_LEAVES_PER_POLL};
use super::fault::{Fault, catch};
use crate::driver::Reaped;
use crate::sys::{Instant, Wait};
use crate::tasks::{Body, End, Name, Turn, name_of, waker};
use std::mem::ManuallyDrop;
use std::task::{Context, Poll, Waker};

/// Between two looks at the clock a turn polls so many tasks. A turn is over its time by at most the time of these.
const POLLS_PER_CLOCK: u32 = 16;

/// Timers that fire in one turn. More of them wait for the next, behind what is ready.
const TIMERS_PER_TURN: usize = 4096;

/// Vectors that are used again from turn to turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    reaped: Reaped,
    wakers: Vec<Waker>,
    names: Vec<Name>,
}

/// Polls the future that `block_on` holds: true when it is ready.
pub(super) type PollMain<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> bool;

impl Core {
    /// One pass. It waits at most until `limit`, which is asked for after the tasks were polled. True when the main future
    /// is ready; the pass ends there.
    pub(super) fn turn(
        &self,
        main: PollMain<'_>,
        limit: impl FnOnce() -> Option<Instant>,
        scratch: &mut Scratch,
    ) -> bool {
        assert!(
            !self.is_child(),
            "this gimmal runtime belongs to the process that forked this one: build a new one in the child, \
             or call exec"
        );
        self.turns.set(self.turns.get() + 1);
        if self.poll_ready(main) {
            return true;
        }
        self.fire_timers(scratch);
        self.take_mail(scratch);
        self.enter(limit(), scratch);
        false
    }

    /// Step 1.
    fn poll_ready(&self, main: PollMain<'_>) -> bool {
        let mut polls = 0;
        let mut started = None;
        while let Some(turn) = self.next_task() {
            polls += 1;
            if self.poll_task(turn, main) {
                return true;
            }
            if polls >= self.settings.polls_per_turn {
                break;
            }
            if polls % POLLS_PER_CLOCK == 0 {
                let now = self.now();
                let since = *started.get_or_insert(now);
                if now.saturating_duration_since(since) >= self.settings.time_per_turn {
                    break;
                }
            }
        }
        self.polls.set(self.polls.get() + u64::from(polls));
        false
    }

    #[inline]
    fn next_task(&self) -> Option<Turn> {
        self.tasks.borrow_mut().next()
    }

    #[inline]
    pub(super) fn poll_task(&self, turn: Turn, main: PollMain<'_>) -> bool {
        let Turn { key, body, aborted } = turn;
        let name = self.tasks.borrow().name(key);
        self.polling.set(name.bits());
        self.allowance.set(READY_LEAVES_PER_POLL);
        // A waker of ours has nothing to drop.
        let waker = ManuallyDrop::new(waker(name));
        let mut context = Context::from_waker(&waker);
        let mut task = match body {
            Body::Main => {
                // Back in its row first: if it panics, the panic goes through to whoever called `block_on`.
                self.tasks.borrow_mut().park(key, Body::Main);
                return main(&mut context);
            }
            Body::Spawned(task) => task,
        };
        let end = if aborted {
            self.hook.guard("an aborted task", || drop(task));
            End::Aborted
        } else {
            match catch(|| task.as_mut().poll(&mut context)) {
                Ok(Poll::Pending) => {
                    self.tasks.borrow_mut().park(key, Body::Spawned(task));
                    return false;
                }
                Ok(Poll::Ready(())) => End::Output(task),
                Err(payload) => {
                    self.hook.guard("a task that had panicked", || drop(task));
                    End::Panicked(payload)
                }
            }
        };
        let finished = self.tasks.borrow_mut().finish(key, end);
        self.settle(finished);
        false
    }

    /// Step 2.
    fn fire_timers(&self, scratch: &mut Scratch) {
        {
            let mut timers = self.timers.borrow_mut();
            if timers.armed() == 0 {
                return;
            }
            let now = self.now().as_ns();
            while scratch.wakers.len() < TIMERS_PER_TURN
                && let Some(waker) = timers.pop_due(now)
            {
                scratch.wakers.push(waker);
            }
        }
        self.wake_all(&mut scratch.wakers);
    }

    /// Step 2.
    fn take_mail(&self, scratch: &mut Scratch) {
        if !self.inbox().has_mail() {
            return;
        }
        let everyone = self.inbox().take(&mut scratch.names);
        let mut tasks = self.tasks.borrow_mut();
        if everyone {
            tasks.wake_everyone();
        }
        for name in scratch.names.drain(..) {
            tasks.wake_if_ours(name);
        }
    }

    /// Steps 3 and 4.
    fn enter(&self, limit: Option<Instant>, scratch: &mut Scratch) {
        let wait = self.wait_for(limit);
        let outcome = {
            let mut driver = self.driver.borrow_mut();
            if wait == Wait::No && !driver.needs_turn() {
                return;
            }
            // What is there or is only to be fetched does not wait for more.
            let wait = match wait {
                Wait::No => Wait::No,
                _ if driver.has_work() || !self.inbox().fall_asleep() => Wait::No,
                wait => wait,
            };
            let outcome = driver.turn(wait, &mut scratch.reaped);
            if wait != Wait::No {
                self.inbox().wake_up();
            }
            outcome
        };
        self.wake_all(&mut scratch.reaped.woken);
        self.dispose_late(&mut scratch.reaped);
        if let Err(error) = outcome {
            self.ring_lost(&error);
        }
    }

    /// How long the kernel may be waited for: not at all if a task is ready.
    fn wait_for(&self, limit: Option<Instant>) -> Wait {
        if self.tasks.borrow().has_ready() {
            return Wait::No;
        }
        let timer = self.timers.borrow().next_deadline().map(Instant::from_ns);
        let again = self.driver.borrow().next_deadline();
        match [timer, again, limit].into_iter().flatten().min() {
            Some(deadline) => Wait::Until(deadline),
            None => Wait::Forever,
        }
    }

    /// Wakes them: ours by name in one borrow, foreign ones after it, for their code is a user's (R1).
    fn wake_all(&self, wakers: &mut Vec<Waker>) {
        if wakers.is_empty() {
            return;
        }
        let mut foreign = Vec::new();
        {
            let mut tasks = self.tasks.borrow_mut();
            for waker in wakers.drain(..) {
                match name_of(&waker) {
                    Some(name) if tasks.wake_if_ours(name) => {}
                    _ => foreign.push(waker),
                }
            }
        }
        for waker in foreign {
            self.hook.guard("a waker", || waker.wake());
        }
    }

    fn dispose_late(&self, reaped: &mut Reaped) {
        for late in reaped.late.drain(..) {
            let mut owners = self.driver.borrow_mut().lend_owners(late.key, late.last);
            self.hook.guard("an operation's disposal", || {
                owners.dispose(late.completion);
            });
            if late.last {
                self.hook.guard("an operation", || drop(owners));
            } else {
                self.driver.borrow_mut().return_owners(late.key, owners);
            }
        }
    }

    #[cold]
    fn ring_lost(&self, error: &std::io::Error) -> ! {
        let message = error.to_string();
        self.hook.report(&Fault::RingLost {
            message: message.clone(),
        });
        panic!("gimmal: the ring is lost, and with it every operation in flight: {message}");
    }
}
