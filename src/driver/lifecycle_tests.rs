//! Every sequence of up to eight events, checked against the table in `lifecycle.rs`.
//!
//! The events come from outside: the kernel posts (with or without MORE), a future polls or is dropped, a cancel is
//! requested, a cancel fails, a shutdown cancels. Which of them can happen at a given time is known from outside alone:
//! the kernel posts nothing after the last completion, and a dropped future is never polled.

use super::*;
use common::quick_or_full;
use std::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Last,
    More,
    Poll,
    Drop,
    Cancel,
    Missed,
    Shutdown,
}

const EVENTS: [Event; 7] = [
    Event::Last,
    Event::More,
    Event::Poll,
    Event::Drop,
    Event::Cancel,
    Event::Missed,
    Event::Shutdown,
];

/// The state known from outside, and the counts.
#[derive(Clone, Default, Debug)]
struct World {
    posted: i32,
    handed_out: Vec<i32>,
    disposed: Vec<i32>,
    kernel_done: bool,
    future_gone: bool,
    row_free: bool,
    asks: u32,
    waker_kept: bool,
}

const MORE: u32 = 1 << 1;

/// Applies the events; returns false if the last one cannot happen at that point.
fn play(events: &[Event], live_payloads: &Cell<i32>) -> bool {
    struct Payload<'a>(&'a Cell<i32>);
    impl Drop for Payload<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let payload = || {
        live_payloads.set(live_payloads.get() + 1);
        Payload(live_payloads)
    };
    live_payloads.set(0);
    let mut world = World {
        waker_kept: true,
        ..World::default()
    };
    let mut lifecycle: Lifecycle<(), Payload> = Lifecycle::new(Some(()));
    for event in events {
        if world.row_free {
            return false;
        }
        match event {
            Event::Last | Event::More => {
                if world.kernel_done {
                    return false;
                }
                let more = *event == Event::More;
                world.posted += 1;
                world.kernel_done = !more;
                let completion = Completion::new(world.posted, if more { MORE } else { 0 });
                match lifecycle.complete(completion, COLLECT_MAX) {
                    OnComplete::Wake { wake, ask_cancel } => {
                        assert!(!world.future_gone, "only a future is woken");
                        assert_eq!(wake.is_some(), world.waker_kept, "a waker is used once");
                        assert!(!ask_cancel, "far from the limit");
                        world.waker_kept = false;
                    }
                    OnComplete::Dispose { last } => {
                        assert!(world.future_gone);
                        assert_eq!(last, !more);
                        let out = lifecycle.take_payload().expect("an orphan has its payload");
                        assert!(lifecycle.take_payload().is_none(), "and only once");
                        world.disposed.push(world.posted);
                        if last {
                            drop(out);
                            world.row_free = true;
                        } else {
                            lifecycle.return_payload(out);
                        }
                    }
                }
            }
            Event::Poll => {
                if world.future_gone {
                    return false;
                }
                match lifecycle.poll() {
                    Polled::Pending => {
                        assert!(
                            !world.kernel_done,
                            "a completed operation returns its result"
                        );
                        assert_eq!(world.handed_out.len() as i32, world.posted);
                        let replaced = lifecycle.renew(());
                        assert_eq!(replaced.is_some(), world.waker_kept);
                        world.waker_kept = true;
                    }
                    Polled::Item(item) => world.handed_out.push(item.raw()),
                    Polled::Last { completion, asked } => {
                        assert!(world.kernel_done);
                        assert_eq!(asked, world.asks > 0);
                        world.handed_out.push(completion.raw());
                        world.row_free = true;
                        world.future_gone = true;
                    }
                }
            }
            Event::Drop => {
                if world.future_gone {
                    return false;
                }
                world.future_gone = true;
                let (duty, waker) = lifecycle.abandon(payload());
                assert_eq!(waker.is_some(), world.waker_kept);
                world.waker_kept = false;
                let collected = match duty {
                    OnDrop::Orphaned {
                        ask_cancel,
                        collected,
                    } => {
                        assert!(!world.kernel_done);
                        assert_eq!(
                            ask_cancel,
                            world.asks == 0,
                            "canceled once, by the first request"
                        );
                        world.asks += u32::from(ask_cancel);
                        assert_eq!(live_payloads.get(), 1, "O1: the row keeps the payload");
                        collected
                    }
                    OnDrop::Ended {
                        payload,
                        mut collected,
                        last,
                    } => {
                        assert!(world.kernel_done);
                        collected.get_or_insert_default().push_back(last);
                        drop(payload);
                        world.row_free = true;
                        collected
                    }
                };
                for item in collected.into_iter().flat_map(|items| *items) {
                    world.disposed.push(item.raw());
                }
            }
            Event::Cancel | Event::Shutdown => {
                let ask = lifecycle.ask_cancel();
                assert_eq!(ask, !world.kernel_done && world.asks == 0);
                world.asks += u32::from(ask);
            }
            Event::Missed => {
                if world.asks == 0 {
                    return false;
                }
                let retries = lifecycle.cancel_missed();
                assert_eq!(retries.is_some(), !world.kernel_done);
                if let Some(before) = retries {
                    assert_eq!(u32::from(before), world.asks);
                    world.asks += 1;
                }
            }
        }
        // O3, and nothing lost: each completion is returned or disposed of, in order, once.
        let mut seen = world.handed_out.clone();
        seen.extend(&world.disposed);
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        if world.row_free {
            assert!(
                world.kernel_done,
                "O1: the row outlives its operation in the kernel"
            );
            assert_eq!(
                seen.len() as i32,
                world.posted,
                "every completion was returned or disposed of"
            );
            assert_eq!(live_payloads.get(), 0);
        } else {
            assert_eq!(live_payloads.get(), i32::from(world.future_gone), "O1");
            assert_eq!(lifecycle.is_in_flight(), !world.kernel_done);
            assert_eq!(lifecycle.is_orphan(), world.future_gone);
        }
    }
    true
}

#[test]
fn every_short_sequence_of_events_follows_the_table() {
    let (events_max, sequences_min) = quick_or_full((6, 33_000), (8, 400_000));
    fn deeper(events: &mut Vec<Event>, max: usize, live: &Cell<i32>, tried: &mut u32) {
        for event in EVENTS {
            events.push(event);
            if play(events, live) {
                *tried += 1;
                if events.len() < max {
                    deeper(events, max, live, tried);
                }
            }
            events.pop();
        }
    }
    let mut tried = 0;
    deeper(&mut Vec::new(), events_max, &Cell::new(0), &mut tried);
    println!("{tried} sequences");
    assert!(tried > sequences_min, "only {tried} sequences were tried");
}

#[test]
fn collected_completions_are_bounded() {
    let mut lifecycle: Lifecycle<(), ()> = Lifecycle::new(Some(()));
    let mut asked = 0;
    for n in 0..COLLECT_MAX as usize + 10 {
        match lifecycle.complete(Completion::new(n as i32, MORE), COLLECT_MAX) {
            OnComplete::Wake { ask_cancel, .. } => asked += usize::from(ask_cancel),
            OnComplete::Dispose { .. } => panic!("the future exists"),
        }
    }
    assert_eq!(asked, 1);
    for n in 0..COLLECT_MAX as usize + 10 {
        assert_eq!(
            lifecycle.poll(),
            Polled::Item(Completion::new(n as i32, MORE))
        );
    }
}
