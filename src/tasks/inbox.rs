//! Messages from other threads to a runtime: wake IDs of tasks to wake, and rows of waits to free.
//!
//! A sender posts a message, and interrupts the runtime's wait only if it is asleep. The two synchronize without a lock:
//! the sender sets `pending`, then reads `asleep`; the runtime sets `asleep`, then reads `pending`. Both are
//! sequentially consistent, so at least one sees the other's store (tested by `tests::neither_side_misses_a_wake`).
//!
//! Inboxes are static and are reused by later runtimes, because a waker may outlive its runtime by any time.

#![forbid(unsafe_code)]

use super::wake_id::{RUNTIMES_MAX, WakeId};
use crate::table::Key;
use crate::threading::{AtomicBool, AtomicU64, Mutex, OnceLock, lock};
use std::array;
use std::fmt;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most wake IDs in an inbox. A full inbox drops them all and has every task woken, which is never wrong (K3). In the
/// models it is soon full.
pub(crate) const WAKE_IDS_MAX: usize = if cfg!(gimmal_loom) { 2 } else { 1 << 14 };

/// Wakes a runtime that waits in the kernel.
pub(crate) trait Interrupt: Send + Sync {
    fn interrupt(&self);

    /// Returns the descriptor that the runtime polls to notice an interrupt.
    fn descriptor(&self) -> i32;
}

/// The inbox of one runtime, which other threads post to.
pub(crate) struct Inbox {
    posted: Mutex<Posted>,
    /// The ID of the runtime, or zero. It changes only under the lock.
    owner: AtomicU64,
    pending: AtomicBool,
    asleep: AtomicBool,
    /// The counted wakers of this runtime, and of those before it in this slot.
    wakers: AtomicUsize,
    interrupt: OnceLock<Box<dyn Interrupt>>,
}

#[derive(Debug, Default)]
pub(crate) struct Posted {
    /// Tasks to wake.
    pub(crate) wake_ids: Vec<WakeId>,
    /// Whether to wake every task.
    pub(crate) everyone: bool,
    /// Waits that were dropped on other threads: at most as many as the runtime has rows.
    pub(crate) waits: Vec<Key>,
}

impl Posted {
    const fn new() -> Posted {
        Posted {
            wake_ids: Vec::new(),
            everyone: false,
            waits: Vec::new(),
        }
    }
}

/// The inboxes that are made at once.
const BATCH: usize = 64;

/// One inbox for each possible slot number. They are made when a runtime first needs one: as a plain static, they would
/// make every program larger by their size, because an empty one is not all zeros.
static INBOXES: [std::sync::OnceLock<Box<[Inbox; BATCH]>>; RUNTIMES_MAX / BATCH] =
    [const { std::sync::OnceLock::new() }; RUNTIMES_MAX / BATCH];

static NUMBERS: std::sync::Mutex<Numbers> = std::sync::Mutex::new(Numbers {
    unused: 0,
    free: Vec::new(),
});

/// Locks the numbers. No code that can panic runs under the lock.
fn numbers() -> std::sync::MutexGuard<'static, Numbers> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Numbers {
    unused: u16,
    free: Vec<u16>,
}

impl Inbox {
    fn new() -> Inbox {
        Inbox {
            posted: Mutex::new(Posted::new()),
            owner: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            wakers: AtomicUsize::new(0),
            interrupt: OnceLock::new(),
        }
    }

    /// Returns the inbox of the runtime with this slot number.
    #[inline]
    pub(super) fn of(runtime: u16) -> &'static Inbox {
        let number = usize::from(runtime);
        let batch =
            INBOXES[number / BATCH].get_or_init(|| Box::new(array::from_fn(|_| Inbox::new())));
        &batch[number % BATCH]
    }

    /// Has this task woken. Called from any thread.
    pub(super) fn post(&self, wake_id: WakeId) {
        {
            let mut posted = lock(&self.posted);
            if posted.wake_ids.len() == WAKE_IDS_MAX {
                posted.wake_ids.clear();
                posted.everyone = true;
            }
            if !posted.everyone {
                posted.wake_ids.push(wake_id);
            }
            self.pending.store(true, Ordering::SeqCst);
        }
        self.interrupt_sleeper();
    }

    /// Sends the row of a wait back to the runtime with this ID, if it still exists. Called from any thread.
    pub(crate) fn give_back(owner: u64, wait: Key) {
        let used = numbers().unused;
        let mut inboxes = (0..used).map(Inbox::of);
        if let Some(inbox) = inboxes.find(|inbox| inbox.owner.load(Ordering::Acquire) == owner) {
            inbox.post_wait(owner, wait);
        }
    }

    fn post_wait(&self, owner: u64, wait: Key) {
        {
            let mut posted = lock(&self.posted);
            if self.owner.load(Ordering::Relaxed) != owner {
                return;
            }
            posted.waits.push(wait);
            self.pending.store(true, Ordering::SeqCst);
        }
        self.interrupt_sleeper();
    }

    /// Counts a waker with which other code may wake the runtime.
    pub(super) fn count_waker(&self) {
        self.wakers.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a waker out of the count that is gone, or was used.
    pub(super) fn discount_waker(&self) {
        self.wakers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the number of counted wakers.
    pub(crate) fn wakers_out(&self) -> usize {
        self.wakers.load(Ordering::Acquire)
    }

    /// Ends the wait of the runtime, without a message. Called from any thread.
    pub(crate) fn nudge(&self) {
        self.pending.store(true, Ordering::SeqCst);
        self.interrupt_sleeper();
    }

    /// Returns how many returned waits the runtime has not taken yet. Called by the runtime.
    pub(crate) fn waits(&self) -> usize {
        lock(&self.posted).waits.len()
    }

    /// Opens the inbox for the runtime with this ID, before it hands out its first key. Waits returned to
    /// the slot's previous runtime are rejected. (Its wake IDs may still arrive, and are false wakes.)
    pub(crate) fn open(&self, owner: u64) {
        let _posted = lock(&self.posted);
        self.owner.store(owner, Ordering::Release);
    }

    /// Closes the inbox of a runtime that is gone, and drops its messages.
    fn close(&self) {
        let posted = {
            let mut posted = lock(&self.posted);
            self.owner.store(0, Ordering::Release);
            self.pending.store(false, Ordering::SeqCst);
            std::mem::replace(&mut *posted, Posted::new())
        };
        drop(posted);
        self.wake_up();
    }

    fn interrupt_sleeper(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(interrupt) = self.interrupt.get()
        {
            interrupt.interrupt();
        }
    }

    /// Returns the descriptor that the runtime polls to notice an interrupt. It is never closed.
    pub(crate) fn descriptor(&self) -> i32 {
        self.interrupt
            .get()
            .map_or(-1, |interrupt| interrupt.descriptor())
    }

    /// Whether there are messages to take. Called by the runtime.
    #[inline]
    pub(crate) fn has_remote_wakes(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes the messages, in exchange for the last batch, which the caller has emptied. Called by the runtime.
    pub(crate) fn take(&self, emptied: &mut Posted) {
        let mut posted = lock(&self.posted);
        self.pending.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *posted, emptied);
    }

    /// Announces that the runtime is about to sleep: from now on a sender interrupts its wait. Returns false if a
    /// message is already there: then do not wait. Called by the runtime.
    #[inline]
    pub(crate) fn park(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Announces that the runtime is awake. A sender may still interrupt at the same moment, which is a false wake.
    /// Called by the runtime.
    #[inline]
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("pending", &self.pending)
            .field("asleep", &self.asleep)
            .finish_non_exhaustive()
    }
}

/// The slot number of a live runtime, and its inbox. Dropping it frees the number.
#[derive(Debug)]
pub(crate) struct RuntimeSlot {
    number: u16,
    inbox: &'static Inbox,
}

impl RuntimeSlot {
    /// Takes a number that no live runtime has. `interrupt` is called once for each inbox, and its result is kept until
    /// the process ends.
    pub(crate) fn take(
        interrupt: impl FnOnce() -> io::Result<Box<dyn Interrupt>>,
    ) -> io::Result<RuntimeSlot> {
        let slot = {
            let mut numbers = numbers();
            let number = match numbers.free.pop() {
                Some(number) => number,
                None if usize::from(numbers.unused) < RUNTIMES_MAX => {
                    numbers.unused += 1;
                    numbers.unused - 1
                }
                None => {
                    return Err(io::Error::other(format!(
                        "a process has at most {RUNTIMES_MAX} runtimes at once: drop one before building the next"
                    )));
                }
            };
            RuntimeSlot {
                number,
                inbox: Inbox::of(number),
            }
        };
        let inbox = slot.inbox;
        if inbox.interrupt.get().is_none() {
            let made = interrupt()?;
            let set = inbox.interrupt.set(made);
            assert!(set.is_ok(), "a number belongs to one runtime at a time");
        }
        // Drop messages to the runtime that had the number before.
        inbox.close();
        Ok(slot)
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    #[inline]
    pub(crate) fn inbox(&self) -> &'static Inbox {
        self.inbox
    }

    /// Returns the descriptor that the runtime polls to notice an interrupt.
    pub(crate) fn descriptor(&self) -> i32 {
        self.inbox.descriptor()
    }
}

impl Drop for RuntimeSlot {
    fn drop(&mut self) {
        self.inbox.close();
        numbers().free.push(self.number);
    }
}

#[cfg(all(test, gimmal_loom))]
#[path = "inbox_models.rs"]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Key;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    struct ChannelUnparker(mpsc::SyncSender<()>);

    impl Interrupt for ChannelUnparker {
        fn interrupt(&self) {
            let _ = self.0.try_send(());
        }

        fn descriptor(&self) -> i32 {
            -1
        }
    }

    fn inbox_with_unparker() -> (Arc<Inbox>, mpsc::Receiver<()>) {
        let (ring, heard) = mpsc::sync_channel(1);
        let inbox = Inbox::new();
        assert!(inbox.interrupt.set(Box::new(ChannelUnparker(ring))).is_ok());
        (Arc::new(inbox), heard)
    }

    #[test]
    fn only_a_parked_runtime_is_interrupted_and_only_once() {
        let (inbox, heard) = inbox_with_unparker();
        let wake_id = WakeId::new(0, Key::new(1, 1));
        inbox.post(wake_id);
        assert!(heard.try_recv().is_err());
        assert!(!inbox.park(), "must not park with pending wakes");
        let mut mail = Posted::new();
        inbox.take(&mut mail);
        assert!(!mail.everyone);
        assert_eq!(mail.wake_ids, [wake_id]);
        assert!(inbox.park());
        inbox.post(wake_id);
        inbox.post(wake_id);
        assert!(heard.try_recv().is_ok());
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn a_full_inbox_wakes_every_task() {
        let (inbox, _heard) = inbox_with_unparker();
        for n in 0..WAKE_IDS_MAX as u32 + 5 {
            inbox.post(WakeId::new(0, Key::new(n, 1)));
        }
        let mut mail = Posted::new();
        inbox.take(&mut mail);
        assert!(mail.everyone);
        assert!(mail.wake_ids.is_empty());
        mail.everyone = false;
        inbox.take(&mut mail);
        assert!(!mail.everyone);
    }

    #[test]
    fn only_the_owner_gets_a_returned_wait() {
        let (inbox, heard) = inbox_with_unparker();
        let wait = Key::new(1, 1);
        let taken = || {
            let mut mail = Posted::new();
            inbox.take(&mut mail);
            mail.waits
        };
        inbox.post_wait(7, wait);
        inbox.open(7);
        inbox.post_wait(6, wait);
        assert_eq!(taken(), []);
        assert!(inbox.park());
        inbox.post_wait(7, wait);
        assert!(heard.try_recv().is_ok());
        assert_eq!(taken(), [wait]);
        inbox.post_wait(7, wait);
        inbox.close();
        inbox.post_wait(7, wait);
        assert_eq!(taken(), []);
    }

    /// Hangs if the two stores and the two loads are in any other order.
    #[test]
    fn neither_side_misses_a_wake() {
        const SENDERS: usize = 2;
        const EACH: usize = 20_000;
        let (inbox, heard) = inbox_with_unparker();
        let sent = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (inbox, sent) = (inbox.clone(), sent.clone());
                thread::spawn(move || {
                    for n in 0..EACH as u32 {
                        sent.fetch_add(1, Ordering::SeqCst);
                        inbox.post(WakeId::new(0, Key::new(n, 1)));
                        if n % 64 == 0 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        // A sender increments the count before it posts: a runtime that parks after the increment is woken by the post.
        let mut mail = Posted::new();
        while sent.load(Ordering::SeqCst) < SENDERS * EACH || inbox.has_remote_wakes() {
            if inbox.park() {
                heard.recv().unwrap();
            }
            inbox.wake_up();
            mail.wake_ids.clear();
            mail.everyone = false;
            inbox.take(&mut mail);
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert!(!inbox.has_remote_wakes() || !inbox.park());
    }

    #[test]
    fn numbers_are_unique_among_live_runtimes() {
        let never = || -> io::Result<Box<dyn Interrupt>> {
            let (ring, _) = mpsc::sync_channel(1);
            Ok(Box::new(ChannelUnparker(ring)))
        };
        let one = RuntimeSlot::take(never).unwrap();
        let two = RuntimeSlot::take(never).unwrap();
        assert_ne!(one.number(), two.number());
    }
}
