//! Models of a cancel from other threads. A scope that misses it waits for good, which the checker reports as a deadlock.

use super::*;
use crate::threading::{Event, check, event_waker, thread};
use std::sync::Arc;

/// The scope's future is polled by one task, and then by another, whose waker replaces the first while the scope may be
/// canceled.
#[test]
fn a_scope_is_canceled_while_its_future_gets_another_waker() {
    check(3, || {
        let remote = Arc::new(Remote::new(false, None));
        for reason in ["first", "second"] {
            let remote = remote.clone();
            thread::spawn(move || remote.cancel(Some(reason.to_owned())));
        }
        let (_, before) = event_waker();
        let (woken, after) = event_waker();
        let mut known = None;
        let mut canceled = remote.watch(&mut known, &before);
        while !canceled {
            canceled = remote.watch(&mut known, &after);
            if !canceled {
                Event::wait(&woken);
            }
        }
        assert!(remote.is_canceled());
        assert!(remote.reason().is_some(), "canceled before it has a reason");
        remote.forget_waker();
    });
}
