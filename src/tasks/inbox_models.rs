//! Models of the inbox: a runtime that falls asleep, and threads that post to it. A message that does not arrive leaves
//! the runtime asleep for good, which the checker reports as a deadlock.

use super::*;
use crate::threading::{Arc, Event, check, thread};
use loom::sync::atomic::AtomicBool as Flag;

/// The runtime's eventfd.
struct Eventfd(Arc<Event>);

impl Interrupt for Eventfd {
    fn interrupt(&self) {
        self.0.set();
    }

    fn descriptor(&self) -> i32 {
        -1
    }
}

/// Returns the inbox of a runtime with ID 1, and what its wait listens to.
fn inbox() -> (Arc<Inbox>, Arc<Event>) {
    let inbox = Inbox::new();
    let interrupted = Arc::new(Event::default());
    let interrupt = Box::new(Eventfd(interrupted.clone()));
    assert!(inbox.interrupt.set(interrupt).is_ok());
    inbox.open(1);
    (Arc::new(inbox), interrupted)
}

/// Takes messages as the turns of a runtime do, until `take` returns that it has them all.
fn run(inbox: &Inbox, interrupted: &Event, mut take: impl FnMut(&mut Posted) -> bool) {
    let mut mail = Posted::new();
    loop {
        if inbox.has_remote_wakes() {
            inbox.take(&mut mail);
            if take(&mut mail) {
                return;
            }
            mail.everyone = false;
            mail.wake_ids.clear();
            mail.waits.clear();
        }
        if inbox.park() {
            interrupted.wait();
            inbox.wake_up();
        }
    }
}

fn wake_id(task: usize) -> WakeId {
    WakeId::new(0, Key::new(task as u32, 1))
}

/// Tasks that wait for an event each. Only the inbox orders an event before the poll of its task.
fn post_events(events: &Arc<[Flag; 4]>, inbox: &Arc<Inbox>, tasks: std::ops::Range<usize>) {
    let (events, inbox) = (events.clone(), inbox.clone());
    thread::spawn(move || {
        for task in tasks {
            events[task].store(true, Ordering::Relaxed);
            inbox.post(wake_id(task));
        }
    });
}

/// The sender sets `pending` and reads `asleep`; the runtime sets `asleep` and reads `pending`.
fn every_event_is_seen(first: std::ops::Range<usize>, second: std::ops::Range<usize>) {
    let events = Arc::new([(); 4].map(|()| Flag::new(false)));
    let mut rest: Vec<usize> = first.clone().chain(second.clone()).collect();
    let (inbox, interrupted) = inbox();
    post_events(&events, &inbox, first);
    post_events(&events, &inbox, second);
    run(&inbox, &interrupted, |mail| {
        if mail.everyone {
            rest.retain(|task| !events[*task].load(Ordering::Relaxed));
        }
        for id in &mail.wake_ids {
            let task = id.index() as usize;
            assert!(
                events[task].load(Ordering::Relaxed),
                "a wake without its event"
            );
            rest.retain(|other| *other != task);
        }
        rest.is_empty()
    });
}

#[test]
fn posts_of_two_threads_meet_a_runtime_that_falls_asleep() {
    check(2, || every_event_is_seen(0..1, 1..2));
}

/// A full inbox forgets the wake IDs that it has, and wakes every task.
#[test]
fn an_inbox_is_filled_while_its_runtime_takes_messages() {
    check(2, || every_event_is_seen(0..2, 2..4));
}

/// The owner of a returned wait is compared under the lock, because the runtime may end meanwhile, and another get its
/// inbox, which has a row with the same key.
#[test]
fn a_wait_is_returned_while_its_runtime_ends_and_the_next_begins() {
    check(3, || {
        let (inbox, interrupted) = inbox();
        let (of_first, of_second) = (Key::new(1, 1), Key::new(2, 1));
        let returns = [(1, of_first), (2, of_second)].map(|(owner, wait)| {
            let inbox = inbox.clone();
            move || inbox.post_wait(owner, wait)
        });
        let [first, second] = returns;
        thread::spawn(first);
        inbox.close();
        inbox.open(2);
        thread::spawn(second);
        run(&inbox, &interrupted, |mail| {
            assert_eq!(mail.waits, [of_second]);
            true
        });
    });
}
