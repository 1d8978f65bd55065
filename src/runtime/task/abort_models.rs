//! Models of requests from other threads to a task. A task that misses one waits for good, which the checker reports as a
//! deadlock.

use super::*;
use crate::threading::{Event, check, event_waker, thread};

/// Polls the task as its runtime does, until it has seen all of these requests.
fn run(state: &AbortState, woken: &Event, wanted: u8) {
    let mut seen = state.take();
    while seen & wanted != wanted {
        woken.wait();
        seen |= state.take();
    }
}

#[test]
fn a_task_is_canceled_and_aborted_from_two_threads() {
    check(4, || {
        let (woken, waker) = event_waker();
        let state = AbortState::new(0, waker);
        for request in [CANCEL, ABORT] {
            let handle = AbortHandle(state.clone());
            thread::spawn(move || handle.0.request(request));
        }
        run(&state, &woken, CANCEL | ABORT);
    });
}

/// The second handle was made while the task ran, so its state passes requests on to that of the wrapped task.
#[test]
fn a_request_is_made_while_the_state_passes_requests_on() {
    check(4, || {
        let (woken, waker) = event_waker();
        let state = AbortState::new(0, waker.clone());
        let second = AbortState::new(0, waker);
        for (state, request) in [(state.clone(), CANCEL), (second.clone(), ABORT)] {
            thread::spawn(move || state.request(request));
        }
        second.forward(&state);
        run(&state, &woken, CANCEL | ABORT);
    });
}

/// As above: the state that passes requests on ends long before the task.
#[test]
fn a_task_has_not_ended_when_a_handle_of_it_passes_on() {
    check(4, || {
        let (_, waker) = event_waker();
        let task = Ending(AbortState::new(0, waker.clone()));
        let unwrapped = Ending(AbortState::new(0, waker));
        let handle = AbortHandle(unwrapped.0.clone());
        let asking = thread::spawn(move || {
            assert!(!handle.is_finished(), "the task has not ended");
            handle
        });
        unwrapped.0.forward(&task.0);
        drop(unwrapped);
        let handle = asking.join().unwrap();
        assert!(!handle.is_finished());
        drop(task);
        assert!(handle.is_finished());
    });
}
