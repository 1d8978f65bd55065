//! The driver on a ring that the test controls: its queue fills up, it takes few or none of the queued entries, it
//! completes them in any order, posts several completions, and fails cancels.
//!
//! No kernel is involved, so rare events happen all the time here.

use super::*;
use crate::sys::{BufRing, Features, Full, Sizes};
use common::quick_or_full;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

const MORE: u32 = 1 << 1;

/// A descriptor that belongs to a file.
const FILE: i32 = 7;

/// The state that the ring and the test share.
struct World {
    capacity: usize,
    queue: VecDeque<(Entry, u64, Answer)>,
    /// How many entries each of the next `enter`s takes, if not all of them. Zero stands for EAGAIN, EBUSY and EINTR:
    /// `enter` swallows them, and nothing was submitted.
    takes: VecDeque<usize>,
    /// The requests that the kernel has, by user data.
    taken: BTreeMap<u64, Entry>,
    /// In the order in which the kernel took them, including cancels.
    order: Vec<u64>,
    posted: VecDeque<Cqe>,
    /// Posted, but only delivered by an `enter` that may reap completions.
    kept: VecDeque<Cqe>,
    /// The results of the next cancel requests.
    misses: VecDeque<i32>,
    /// The error of the next `enter`.
    lost: Option<i32>,
    now: u64,
    enters: Vec<EnterWait>,
    /// The results of direct calls, and the calls that were made.
    attempt: Attempt,
    attempts: Vec<Opcode>,
}

#[derive(Clone)]
struct FakeRing(Rc<RefCell<World>>);

impl FakeRing {
    fn new(capacity: usize) -> FakeRing {
        FakeRing(Rc::new(RefCell::new(World {
            capacity,
            queue: VecDeque::new(),
            takes: VecDeque::new(),
            taken: BTreeMap::new(),
            order: Vec::new(),
            posted: VecDeque::new(),
            kept: VecDeque::new(),
            misses: VecDeque::new(),
            lost: None,
            now: 1,
            enters: Vec::new(),
            attempt: Attempt::Unserved,
            attempts: Vec::new(),
        })))
    }

    fn driver(&self) -> Driver<FakeRing> {
        Driver::new(self.clone(), -1, None)
    }

    /// The kernel completes a request.
    fn post(&self, user_data: u64, result: i32, flags: u32) {
        let mut world = self.0.borrow_mut();
        if flags & MORE == 0 {
            assert!(
                world.taken.remove(&user_data).is_some(),
                "completed a request that was not taken"
            );
        }
        world.kept.push_back(Cqe {
            user_data,
            completion: Completion::new(result, flags),
        });
    }
}

impl World {
    /// The kernel takes one entry.
    fn take(&mut self, entry: Entry, user_data: u64, answer: Answer) {
        self.order.push(user_data);
        if entry.opcode() != Opcode::ASYNC_CANCEL {
            let twice = self.taken.insert(user_data, entry);
            assert!(twice.is_none(), "two requests with the same user data");
            return;
        }
        assert_eq!(answer, Answer::OnFailure);
        assert_ne!(user_data & CANCEL, 0);
        let target = match user_data {
            CANCEL => WAKE,
            of_an_operation => of_an_operation & !CANCEL,
        };
        let is_there = self.taken.contains_key(&target);
        let result = match self.misses.pop_front() {
            Some(missed) if is_there => missed,
            _ if is_there => 0,
            _ => -libc::ENOENT,
        };
        if result == 0 {
            self.taken.remove(&target);
            self.kept.push_back(Cqe {
                user_data: target,
                completion: Completion::new(-libc::ECANCELED, 0),
            });
        } else {
            self.kept.push_back(Cqe {
                user_data,
                completion: Completion::new(result, 0),
            });
        }
    }
}

impl Port for FakeRing {
    fn supported(&self) -> Supported {
        Supported::new(|_| true, Features::default())
    }

    fn coarse_now(&self) -> Instant {
        self.now()
    }

    fn wants_turn(&mut self) -> bool {
        self.has_work()
    }

    fn provide(&mut self, _group: u16, _buffers: &Arc<BufRing>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn withdraw(&mut self, _group: u16) {}

    fn sizes(&self) -> Sizes {
        Sizes {
            submission: self.0.borrow().capacity as u32,
            completion: u32::MAX,
        }
    }

    fn push(&mut self, entry: &Entry, user_data: u64, answer: Answer) -> Result<(), Full> {
        let mut world = self.0.borrow_mut();
        if world.queue.len() == world.capacity {
            return Err(Full);
        }
        world.queue.push_back((*entry, user_data, answer));
        Ok(())
    }

    fn attempt(&mut self, entry: &Entry) -> Attempt {
        let mut world = self.0.borrow_mut();
        world.attempts.push(entry.opcode());
        world.attempt
    }

    fn enter(&mut self, wait: EnterWait) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.enters.push(wait);
        if let Some(errno) = world.lost {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let takes = world.takes.pop_front().unwrap_or(usize::MAX);
        let all = world.queue.len();
        for _ in 0..takes.min(all) {
            if let Some((entry, user_data, answer)) = world.queue.pop_front() {
                world.take(entry, user_data, answer);
            }
        }
        if wait == EnterWait::Submit {
            return Ok(());
        }
        let kept = std::mem::take(&mut world.kept);
        world.posted.extend(kept);
        // The kernel waits only once it has taken everything queued.
        if world.posted.is_empty() && takes >= all {
            match wait {
                EnterWait::Until(deadline) => world.now = world.now.max(deadline.as_ns()),
                EnterWait::Forever => panic!("nothing will ever end this wait"),
                EnterWait::No | EnterWait::Submit => {}
            }
        }
        Ok(())
    }

    fn reap(&mut self, mut each: impl FnMut(Cqe)) {
        let posted = std::mem::take(&mut self.0.borrow_mut().posted);
        for cqe in posted {
            each(cqe);
        }
    }

    fn has_work(&mut self) -> bool {
        let world = self.0.borrow();
        !world.posted.is_empty() || !world.kept.is_empty()
    }

    fn queued(&mut self) -> usize {
        self.0.borrow().queue.len()
    }

    fn now(&self) -> Instant {
        Instant::from_ns(self.0.borrow().now)
    }

    fn is_before(&self, _: Instant) -> bool {
        false
    }

    fn add_workers(&self, _by: i32) -> bool {
        true
    }

    fn try_thread(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_file(&self, fd: i32) -> bool {
        fd == FILE
    }

    fn serve(&self, _: &Entry, _: bool) -> Option<Completion> {
        None
    }
}

/// The outcome of one operation, seen from outside.
#[derive(Default)]
struct Fate {
    disposed: RefCell<Vec<i32>>,
    dropped: Cell<usize>,
}

/// Counts how often it is dropped, and the completions that it disposes of.
struct Counted(Rc<Fate>);

impl Payload for Counted {
    fn dispose(&mut self, completion: Completion) {
        self.0.disposed.borrow_mut().push(completion.raw());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }
}

#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const TEST: OperationKind = OperationKind {
    name: "test",
    is_cancelable: true,
    waits_for_peer: false,
};

const CLOSE: OperationKind = OperationKind {
    name: "close",
    is_cancelable: false,
    waits_for_peer: false,
};

fn request() -> Request {
    Request {
        owner: Owner::scope(Key::new(0, 1)),
        kind: &TEST,
        task: 0,
        since_ns: 0,
        collect_max: lifecycle::COLLECT_MAX,
    }
}

/// The driver's part of a turn of the runtime. Returns the longest wait, as the runtime computes it.
fn turn(driver: &mut Driver<FakeRing>, wait: EnterWait) -> usize {
    let wait = match (wait, driver.next_deadline()) {
        (EnterWait::Forever, Some(deadline)) => EnterWait::Until(deadline),
        (wait, _) => wait,
    };
    let mut reaped = Reaped::default();
    driver.turn(wait, &mut reaped).expect("the ring is intact");
    let woken = reaped.woken.len();
    reaped.woken.drain(..).for_each(Waker::wake);
    for late in reaped.late {
        let mut payload = driver.take_payload(late.key, late.last);
        payload.dispose(late.completion);
        if !late.last {
            driver.return_payload(late.key, payload);
        }
    }
    woken
}

/// Drops the future of an operation, as `Core::abandon` does.
fn abandon(driver: &mut Driver<FakeRing>, key: Key, fate: &Rc<Fate>) {
    let dropped = driver.abandon(key, Box::new(Counted(fate.clone())));
    match dropped.duty {
        DroppedDuty::Items(_, items) if items.is_empty() => {}
        DroppedDuty::Items(key, items) => {
            let mut payload = driver.take_payload(key, false);
            items.into_iter().for_each(|item| payload.dispose(item));
            driver.return_payload(key, payload);
        }
        DroppedDuty::Ended(mut payload, items) => {
            items.into_iter().for_each(|item| payload.dispose(item));
        }
    }
}

fn waker() -> (Arc<WakeCounter>, Waker) {
    let bell = Arc::new(WakeCounter::default());
    (bell.clone(), Waker::from(bell))
}

#[test]
fn entries_beyond_the_queue_are_submitted_in_order() {
    let ring = FakeRing::new(4);
    let mut driver = ring.driver();
    let keys: Vec<u64> = (0..100)
        .map(|_| {
            let entry = Entry::new(Opcode::NOP);
            driver.submit(&entry, request(), None).to_u64()
        })
        .collect();
    turn(&mut driver, EnterWait::No);
    assert_eq!(ring.0.borrow().order, keys);
    let waits = ring.0.borrow().enters.clone();
    assert_eq!(
        waits.len(),
        25,
        "one each time the queue was full: {waits:?}"
    );
    assert!(waits[..24].iter().all(|wait| *wait == EnterWait::Submit));
}

#[test]
fn entries_not_taken_are_submitted_later_in_order_and_none_is_lost() {
    let ring = FakeRing::new(4);
    let mut driver = ring.driver();
    // Nothing, then one, then nothing: EAGAIN, a partial submission, EBUSY.
    ring.0.borrow_mut().takes.extend([0, 1, 0, 0, 2, 0, 0, 0]);
    let keys: Vec<u64> = (0..40)
        .map(|_| {
            let entry = Entry::new(Opcode::NOP);
            driver.submit(&entry, request(), None).to_u64()
        })
        .collect();
    let mut turns = 0;
    while ring.0.borrow().order.len() < keys.len() {
        assert!(driver.needs_turn());
        turn(&mut driver, EnterWait::No);
        turns += 1;
        assert!(turns < 20);
    }
    assert_eq!(ring.0.borrow().order, keys);
}

/// A direct call must not overtake queued entries or unreaped completions: if there are any, no call is made.
#[test]
fn a_direct_call_is_made_only_if_nothing_else_is_pending() {
    let ring = FakeRing::new(1);
    let mut driver = ring.driver();
    let entry = Entry::new(Opcode::SEND).try_direct();
    let attempt = |driver: &mut Driver<FakeRing>| {
        let before = ring.0.borrow().attempts.len();
        let done = match driver.attempt(&entry) {
            Attempt::Done(completion) => Some(completion.raw()),
            _ => None,
        };
        (done, ring.0.borrow().attempts.len() - before)
    };
    ring.0.borrow_mut().attempt = Attempt::Done(Completion::new(7, 0));
    assert_eq!(attempt(&mut driver), (Some(7), 1));
    assert_eq!(
        (driver.counts().attempts, driver.counts().completed),
        (1, 1)
    );
    assert_eq!((driver.len(), driver.in_flight()), (0, 0));

    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    assert_eq!(attempt(&mut driver), (None, 0), "one entry is queued");
    ring.0.borrow_mut().takes.push_back(0);
    driver.submit(&Entry::new(Opcode::RECV), request(), None);
    assert_eq!(
        attempt(&mut driver),
        (None, 0),
        "one entry is in the backlog"
    );
    while driver.needs_turn() {
        turn(&mut driver, EnterWait::No);
    }
    assert_eq!(attempt(&mut driver).1, 1, "all entries are in the kernel");
    ring.post(key.to_u64(), 1, 0);
    assert_eq!(attempt(&mut driver), (None, 0), "a completion is unreaped");
    turn(&mut driver, EnterWait::No);
    assert_eq!(attempt(&mut driver).1, 1);

    let parked: Vec<Key> = (0..8)
        .map(|_| driver.submit(&Entry::new(Opcode::RECV), request(), None))
        .collect();
    turn(&mut driver, EnterWait::No);
    assert_eq!(attempt(&mut driver), (None, 0), "nine are in flight");
    ring.post(parked[0].to_u64(), 1, 0);
    turn(&mut driver, EnterWait::No);

    let before = driver.counts();
    for vain in [Attempt::WouldWait, Attempt::Never, Attempt::Unserved] {
        ring.0.borrow_mut().attempt = vain;
        assert_eq!(attempt(&mut driver), (None, 1));
    }
    let after = driver.counts();
    assert_eq!(after.attempts - before.attempts, 2, "two calls");
    assert_eq!(after.completed, before.completed);
}

/// The cancel request for the pending operations is still in the backlog: an endless wait would never end.
#[test]
fn a_wait_does_not_delay_entries_in_the_backlog() {
    for ask_first in [false, true] {
        let ring = FakeRing::new(4);
        let mut driver = ring.driver();
        ring.0.borrow_mut().takes.extend([0, 0]);
        let fate = Rc::new(Fate::default());
        let keys: Vec<Key> = (0..4)
            .map(|_| driver.submit(&Entry::new(Opcode::RECV), request(), None))
            .collect();
        for key in keys {
            if ask_first {
                driver.ask_cancel(key);
            }
            abandon(&mut driver, key, &fate);
        }
        let mut turns = 0;
        while driver.in_flight() > 0 {
            turn(&mut driver, EnterWait::Forever);
            turns += 1;
            assert!(turns < 20);
        }
        assert_eq!(fate.dropped.get(), 4);
        assert_eq!(*fate.disposed.borrow(), [-libc::ECANCELED; 4]);
        assert_eq!(driver.len(), 0);
    }
}

#[test]
fn an_operation_that_ignores_a_cancel_for_a_second_is_reported_once() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    ring.0.borrow_mut().misses.extend([-libc::EALREADY; 30]);
    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    driver.ask_cancel(key);
    let asked_at = ring.0.borrow().now;
    let mut reported = Vec::new();
    while driver.in_flight() > 0 {
        let mut reaped = Reaped::default();
        let wait = driver
            .next_deadline()
            .map_or(EnterWait::No, EnterWait::Until);
        driver.turn(wait, &mut reaped).unwrap();
        for (kind, _) in reaped.stuck {
            assert_eq!(kind, "test");
            reported.push(ring.0.borrow().now - asked_at);
        }
    }
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(
        (1_000_000_000..1_300_000_000).contains(&reported[0]),
        "{reported:?}"
    );
}

/// Runs one turn, with as long a wait as possible, and returns the overdue operations.
fn overdue(driver: &mut Driver<FakeRing>) -> Vec<Key> {
    let mut reaped = Reaped::default();
    let wait = driver
        .next_deadline()
        .map_or(EnterWait::No, EnterWait::Until);
    driver.turn(wait, &mut reaped).unwrap();
    for late in reaped.late {
        let mut payload = driver.take_payload(late.key, late.last);
        payload.dispose(late.completion);
        assert!(late.last, "no operation here completes twice");
    }
    reaped.overdue
}

#[test]
fn a_file_operation_is_overdue_once_after_a_second_while_workers_are_held() {
    const SECOND: u64 = 1_000_000_000;
    let ring = FakeRing::new(64);
    let mut driver = ring.driver();
    let submit = |driver: &mut Driver<FakeRing>, entry: Entry, at: u64| {
        ring.0.borrow_mut().now = at;
        let request = Request {
            since_ns: at,
            ..request()
        };
        driver.submit(&entry, request, None)
    };
    let read = |fd| Entry::new(Opcode::READ).fd(fd);
    let open = Entry::new(Opcode::OPENAT).fd(libc::AT_FDCWD);
    submit(&mut driver, read(FILE), 1);
    assert_eq!(driver.next_deadline(), None, "no worker is held");
    assert!(driver.hold_worker());
    // Not those that are on no file, that are expected to wait, or that must not be canceled.
    submit(&mut driver, open.in_worker(), 1);
    submit(&mut driver, read(FILE + 1), 1);
    submit(&mut driver, Entry::new(Opcode::NOP), 1);
    let never = Request {
        kind: &CLOSE,
        ..request()
    };
    driver.submit(&Entry::new(Opcode::CLOSE).fd(FILE), never, None);
    let first = submit(&mut driver, read(FILE), 2);
    let orphan = submit(&mut driver, read(FILE), 3);
    abandon(&mut driver, orphan, &Rc::default());
    let ended = submit(&mut driver, read(FILE), 4);
    let second = submit(&mut driver, open, SECOND / 2);
    assert!(overdue(&mut driver).is_empty());
    ring.post(ended.to_u64(), 0, 0);
    let mut found = Vec::new();
    while let Some(next) = driver.next_deadline() {
        assert!(next.as_ns() <= 5 * SECOND, "bounded");
        for key in overdue(&mut driver) {
            found.push((key, ring.0.borrow().now));
        }
        if found.len() == 3 && driver.held_workers() > 0 {
            driver.release_worker(true);
        }
    }
    let keys: Vec<Key> = found.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys[1..], [first, second]);
    assert!(
        found[1].1 > SECOND && found[2].1 > 3 * SECOND / 2,
        "{found:?}"
    );
}

#[test]
fn a_withdrawn_operation_does_not_count_as_canceled_and_is_not_retried() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let entry = Entry::new(Opcode::WRITE).fd(FILE);
    let key = driver.submit(&entry, request(), None);
    turn(&mut driver, EnterWait::No);
    // It is running, so it is left alone.
    ring.0.borrow_mut().misses.push_back(-libc::EALREADY);
    driver.withdraw(key);
    for _ in 0..10 {
        turn(&mut driver, EnterWait::No);
    }
    assert_eq!(driver.poll(key), Polled::Pending);
    assert_eq!(driver.counts().cancels_asked, 1);
    driver.withdraw(key);
    turn(&mut driver, EnterWait::No);
    let completion = Completion::new(-libc::ECANCELED, 0);
    let asked = false;
    assert_eq!(driver.poll(key), Polled::Last { completion, asked });
    // Nothing is in flight.
    driver.withdraw(key);
    assert_eq!(driver.counts().cancels_asked, 2);
}

#[test]
fn a_failed_cancel_is_repeated_after_growing_pauses_until_the_operation_ends() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    const MISSES: usize = 30;
    ring.0.borrow_mut().misses.extend([-libc::EALREADY; MISSES]);
    let fate = Rc::new(Fate::default());
    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    turn(&mut driver, EnterWait::No);
    abandon(&mut driver, key, &fate);
    let mut asked_at: Vec<u64> = Vec::new();
    let mut asks = 0;
    for _ in 0..1000 {
        if driver.in_flight() == 0 {
            break;
        }
        assert_eq!(fate.dropped.get(), 0, "O1: still in the kernel");
        turn(&mut driver, EnterWait::Forever);
        let sent = ring.0.borrow().order.len();
        if sent > asks {
            asks = sent;
            asked_at.push(ring.0.borrow().now);
        }
    }
    assert_eq!(driver.in_flight(), 0);
    assert_eq!(fate.dropped.get(), 1);
    assert_eq!(driver.counts().cancels_asked as usize, MISSES + 1);
    let pauses: Vec<u64> = asked_at.windows(2).map(|at| at[1] - at[0]).collect();
    assert!(pauses.is_sorted(), "the pauses grow: {pauses:?}");
    assert!(pauses.iter().max() <= Some(&256_000_000), "{pauses:?}");
    assert!(driver.next_deadline().is_none());
}

#[test]
fn an_operation_that_ends_between_two_cancels_is_not_canceled_again() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    ring.0.borrow_mut().misses.push_back(-libc::EALREADY);
    let fate = Rc::new(Fate::default());
    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    abandon(&mut driver, key, &fate);
    turn(&mut driver, EnterWait::No);
    ring.post(key.to_u64(), 5, 0);
    turn(&mut driver, EnterWait::No);
    turn(&mut driver, EnterWait::No);
    assert_eq!(*fate.disposed.borrow(), [5]);
    assert_eq!(fate.dropped.get(), 1);
    for _ in 0..10 {
        turn(&mut driver, EnterWait::No);
    }
    assert!(driver.counts().cancels_asked <= 2);
    assert_eq!((driver.len(), driver.orphans()), (0, 0));
}

/// The row is reused before the result of the first operation's cancel arrives.
#[test]
fn a_late_cancel_result_does_not_affect_the_next_operation_of_the_row() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let fate = Rc::new(Fate::default());
    let first = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    turn(&mut driver, EnterWait::No);
    ring.post(first.to_u64(), 1, 0);
    driver.ask_cancel(first);
    abandon(&mut driver, first, &fate);
    turn(&mut driver, EnterWait::No);
    let second = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    assert_eq!(second.index(), first.index());
    ring.0.borrow_mut().kept.push_back(Cqe {
        user_data: first.to_u64() | CANCEL,
        completion: Completion::new(-libc::EALREADY, 0),
    });
    for _ in 0..5 {
        turn(&mut driver, EnterWait::No);
    }
    assert_eq!(driver.counts().cancels_asked, 1);
    assert!(ring.0.borrow().taken.contains_key(&second.to_u64()));
    abandon(&mut driver, second, &fate);
    turn(&mut driver, EnterWait::No);
    turn(&mut driver, EnterWait::No);
    assert_eq!(driver.len(), 0);
    assert_eq!(fate.dropped.get(), 2);
}

#[test]
fn a_close_is_never_canceled() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let fate = Rc::new(Fate::default());
    let close = Request {
        kind: &CLOSE,
        ..request()
    };
    let key = driver.submit(&Entry::new(Opcode::CLOSE).fd(9), close, None);
    driver.ask_cancel(key);
    driver.cancel_on(9);
    driver.cancel_all();
    abandon(&mut driver, key, &fate);
    turn(&mut driver, EnterWait::No);
    assert_eq!(ring.0.borrow().order, [key.to_u64()]);
    ring.post(key.to_u64(), 0, 0);
    turn(&mut driver, EnterWait::No);
    assert_eq!(*fate.disposed.borrow(), [0]);
    assert_eq!(fate.dropped.get(), 1);
}

#[test]
fn canceling_on_a_descriptor_cancels_its_operations_and_no_others() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let on = |driver: &mut Driver<_>, fd| {
        driver.submit(&Entry::new(Opcode::RECV).fd(fd), request(), None)
    };
    let (a, b, c) = (on(&mut driver, 5), on(&mut driver, 6), on(&mut driver, 5));
    turn(&mut driver, EnterWait::No);
    assert!(driver.cancel_on(5));
    turn(&mut driver, EnterWait::No);
    let taken: Vec<u64> = ring.0.borrow().taken.keys().copied().collect();
    assert_eq!(taken, [b.to_u64()]);
    for key in [a, c] {
        let polled = driver.poll(key);
        let completion = Completion::new(-libc::ECANCELED, 0);
        assert_eq!(
            polled,
            Polled::Last {
                completion,
                asked: true
            }
        );
    }
}

/// Another thread may be waking the runtime just when the kernel is asked to cancel that poll.
#[test]
fn a_wake_poll_whose_cancel_failed_is_canceled_again() {
    let ring = FakeRing::new(8);
    let mut driver = Driver::new(ring.clone(), 7, None);
    turn(&mut driver, EnterWait::No);
    ring.0
        .borrow_mut()
        .misses
        .extend([-libc::EALREADY, -libc::ENOENT]);
    drop(driver.cancel_all());
    let turns = (0..10).take_while(|_| {
        turn(&mut driver, EnterWait::No);
        !driver.is_drained()
    });
    assert_eq!(turns.count(), 2, "one turn for each failed cancel");
    assert!(ring.0.borrow().taken.is_empty());
}

/// A runtime that never ran a turn has not armed the wake poll; one that has ends it.
#[test]
fn a_canceled_driver_is_drained_whether_or_not_it_had_a_turn() {
    for turns in 0..3 {
        let ring = FakeRing::new(8);
        let mut driver = Driver::new(ring.clone(), 7, None);
        let fate = Rc::new(Fate::default());
        let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
        for _ in 0..turns {
            turn(&mut driver, EnterWait::No);
        }
        abandon(&mut driver, key, &fate);
        drop(driver.cancel_all());
        for _ in 0..5 {
            turn(&mut driver, EnterWait::No);
        }
        assert!(driver.is_drained(), "after {turns} turns");
        assert!(ring.0.borrow().taken.is_empty());
        assert_eq!(fate.dropped.get(), 1);
    }
}

/// It lends no memory that could leak, and must not be dropped.
struct NeverDropped;

impl Payload for NeverDropped {
    fn dispose(&mut self, _: Completion) {}
}

impl Drop for NeverDropped {
    fn drop(&mut self) {
        panic!("O8: leaked, and not freed");
    }
}

#[test]
fn a_lost_ring_is_an_error_in_every_turn_and_frees_nothing() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    turn(&mut driver, EnterWait::No);
    drop(driver.abandon(key, Box::new(NeverDropped)).waker);
    ring.0.borrow_mut().lost = Some(libc::EBADR);
    for _ in 0..3 {
        assert!(driver.turn(EnterWait::No, &mut Reaped::default()).is_err());
    }
    assert!(driver.is_lost());
    assert_eq!(driver.leak(), ["test"]);
}

/// A source of random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// An operation as the test tracks it.
struct Followed {
    key: Key,
    fate: Rc<Fate>,
    bell: Arc<WakeCounter>,
    /// The results that the kernel has posted, and those that the future got.
    posted: Vec<i32>,
    given: Vec<i32>,
    has_future: bool,
    ended: bool,
    /// Its deadline.
    limit: Option<u64>,
    /// Canceled for another reason.
    asked: bool,
}

fn random_world(seed: u64) {
    let random = &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let ring = FakeRing::new(1 + random.below(5));
    let mut driver = ring.driver();
    let mut followed: Vec<Followed> = Vec::new();
    let mut value = 0;
    let steps = 300;
    for step in 0.. {
        // At the end, everything is released, and must complete.
        let ending = step >= steps;
        assert!(step < steps * 20, "the operations never end");
        if ending {
            for op in followed.iter_mut().filter(|op| op.has_future) {
                op.has_future = false;
                abandon(&mut driver, op.key, &op.fate);
            }
        }
        if ending && driver.len() == 0 {
            break;
        }
        match random.below(8) {
            0 | 1 if !ending => {
                let (bell, waker) = waker();
                let waker = (random.below(4) > 0).then_some(waker);
                let key = driver.submit(&Entry::new(Opcode::RECV).fd(3), request(), waker);
                let limit = ring.0.borrow().now + random.below(20_000_000) as u64;
                let limit = (random.below(2) == 0).then_some(limit);
                if let Some(limit) = limit {
                    driver.set_deadline(key, Instant::from_ns(limit));
                }
                followed.push(Followed {
                    key,
                    fate: Rc::default(),
                    bell,
                    posted: Vec::new(),
                    given: Vec::new(),
                    has_future: true,
                    ended: false,
                    limit,
                    asked: false,
                });
            }
            2 => {
                // The kernel completes one of its requests, in any order.
                let taken: Vec<u64> = ring.0.borrow().taken.keys().copied().collect();
                if let Some(user_data) = taken.get(random.below(taken.len().max(1))) {
                    value += 1;
                    let more = if random.below(3) == 0 { MORE } else { 0 };
                    ring.post(*user_data, value, more);
                    if let Some(op) = followed.iter_mut().find(|op| op.key.to_u64() == *user_data) {
                        op.posted.push(value);
                    }
                }
            }
            3 => {
                let n = random.below(followed.len().max(1));
                if let Some(op) = followed.get_mut(n).filter(|op| op.has_future) {
                    match driver.poll(op.key) {
                        Polled::Pending => {
                            let waker = Waker::from(op.bell.clone());
                            drop(driver.renew(op.key, waker, 0));
                        }
                        Polled::Item(item) => op.given.push(item.raw()),
                        Polled::Last { completion, .. } => {
                            op.given.push(completion.raw());
                            op.has_future = false;
                            op.ended = true;
                        }
                    }
                }
            }
            4 => {
                let n = random.below(followed.len().max(1));
                if let Some(op) = followed.get_mut(n).filter(|op| op.has_future) {
                    op.has_future = false;
                    abandon(&mut driver, op.key, &op.fate);
                }
            }
            5 => {
                let n = random.below(followed.len().max(1));
                if let Some(op) = followed.get_mut(n) {
                    driver.ask_cancel(op.key);
                    op.asked = true;
                }
                if random.below(10) == 0 {
                    driver.cancel_on(3);
                    followed.iter_mut().for_each(|op| op.asked = true);
                }
            }
            _ => {
                let mut world = ring.0.borrow_mut();
                match random.below(3) {
                    0 => {
                        let n = random.below(3);
                        world.takes.push_back(n);
                    }
                    1 => {
                        let missed = [-libc::EALREADY, -libc::ENOENT][random.below(2)];
                        world.misses.push_back(missed);
                    }
                    _ => world.now += random.below(3_000_000) as u64,
                }
                drop(world);
                let wait = if ending {
                    EnterWait::Forever
                } else {
                    EnterWait::No
                };
                let now = ring.0.borrow().now;
                turn(&mut driver, wait);
                for op in followed.iter().filter(|op| op.has_future && !op.asked) {
                    if let Some(row) = driver.rows.get(op.key)
                        && row.lifecycle.is_in_flight()
                    {
                        let is_late = op.limit.is_some_and(|limit| limit <= now);
                        assert_eq!(
                            row.lifecycle.asks() > 0,
                            is_late,
                            "canceled at its deadline"
                        );
                    }
                }
            }
        }
        for op in &followed {
            assert!(op.fate.dropped.get() <= 1, "the payload is dropped once");
            let kernel_has_it = ring.0.borrow().taken.contains_key(&op.key.to_u64());
            if kernel_has_it {
                assert_eq!(op.fate.dropped.get(), 0, "O1: {}", op.key.to_u64());
                assert!(!op.ended, "ended while in the kernel");
            }
        }
    }
    assert_eq!((driver.in_flight(), driver.orphans()), (0, 0));
    let counts = driver.counts();
    let world = ring.0.borrow();
    // A cancel request may be left over after its operation has completed by itself.
    let left_over = world.queue.iter().map(|(_, user_data, _)| *user_data);
    let left_over = left_over.chain(driver.backlog.iter().map(|(_, user_data, _)| *user_data));
    let left_over: Vec<u64> = left_over.collect();
    assert!(left_over.iter().all(|user_data| user_data & CANCEL != 0));
    assert_eq!(
        counts.submitted as usize,
        world.order.len() + left_over.len()
    );
    assert_eq!(counts.completed as usize, followed.len());
    // The requests were submitted in the order in which they were made.
    let order: Vec<u64> = world
        .order
        .iter()
        .copied()
        .filter(|user_data| user_data & CANCEL == 0)
        .collect();
    let made: Vec<u64> = followed.iter().map(|op| op.key.to_u64()).collect();
    assert_eq!(order, made);
    for op in &followed {
        let mut seen = op.given.clone();
        seen.extend(&*op.fate.disposed.borrow());
        if seen.last() == Some(&-libc::ECANCELED) {
            seen.pop();
        }
        assert_eq!(seen, op.posted, "each completion is found once, in order");
        assert_eq!(op.fate.dropped.get(), usize::from(!op.ended));
        assert!(op.bell.0.load(Ordering::Relaxed) <= op.posted.len() + 1);
    }
}

#[test]
fn deadlines_of_ended_operations_are_forgotten() {
    const MANY: usize = 10_000;
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let hour = Instant::from_ns(3_600_000_000_000);
    let mut parked = Vec::new();
    for n in 0..MANY {
        let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
        driver.set_deadline(key, hour);
        parked.push(key);
        turn(&mut driver, EnterWait::No);
        // Each operation takes a hundred turns, except for one in a hundred, which stays.
        if n >= 100 && n % 100 > 0 {
            let key = parked[n - 100];
            ring.post(key.to_u64(), 0, 0);
            turn(&mut driver, EnterWait::No);
            assert!(matches!(
                driver.poll(key),
                Polled::Last { asked: false, .. }
            ));
        }
        assert!(driver.deadlines.len() <= 2 * driver.in_flight() + 64);
    }
    let stay = driver.in_flight();
    ring.0.borrow_mut().now = hour.as_ns();
    turn(&mut driver, EnterWait::No);
    assert_eq!(driver.counts().cancels_asked as usize, stay);
    turn(&mut driver, EnterWait::No);
    assert_eq!((driver.deadlines.len(), driver.next_deadline()), (0, None));
}

#[test]
fn a_deadline_that_never_comes_is_not_stored() {
    let ring = FakeRing::new(8);
    let mut driver = ring.driver();
    let key = driver.submit(&Entry::new(Opcode::RECV), request(), None);
    driver.set_deadline(key, Instant::FAR_FUTURE);
    assert_eq!((driver.deadlines.len(), driver.next_deadline()), (0, None));
}

#[test]
fn a_random_kernel_loses_duplicates_or_frees_no_operation_too_early() {
    let one = std::env::var("GIMMAL_SEED").ok();
    let seeds = match one.as_deref().map(str::parse) {
        Some(Ok(seed)) => seed..seed + 1,
        _ => 0..quick_or_full(150, 1500),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| random_world(seed));
        if let Err(payload) = outcome {
            eprintln!("run again with GIMMAL_SEED={seed}");
            std::panic::resume_unwind(payload);
        }
    }
}
