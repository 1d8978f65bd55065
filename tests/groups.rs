//! Groups: nothing outlives them, failures cancel the rest, children borrow.

#![expect(clippy::unwrap_used, reason = "a test fails there")]

use gimmal::{Canceled, group, sleep};
use std::cell::Cell;
use std::io;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_failure_cancels_the_rest_and_is_the_first() {
    gimmal::run(async {
        let woken = Cell::new(0);
        let error = group(async |g| {
            for _ in 0..3 {
                let woken = &woken;
                drop(g.spawn(async move {
                    let slept = sleep(LONG).await;
                    woken.set(woken.get() + 1);
                    slept?;
                    Ok::<_, io::Error>(())
                }));
            }
            let child = g.spawn(async { Err::<(), _>(io::Error::other("first")) });
            assert_eq!(child.await, Err(Canceled));
            sleep(LONG).await?;
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(woken.get(), 3);
        assert_eq!(error.first().unwrap().to_string(), "first");
        assert_eq!(error.echoes().len(), 4);
        assert!(error.rest().is_empty());
        Ok::<_, io::Error>(())
    })
    .unwrap();
}

#[test]
fn many_children_all_run() {
    gimmal::run(async {
        let sum = Cell::new(0u64);
        group(async |g| {
            for n in 0..10_000u64 {
                let sum = &sum;
                drop(g.spawn(async move {
                    gimmal::yield_now().await;
                    sum.set(sum.get() + n);
                }));
            }
            Ok::<_, io::Error>(())
        })
        .await?;
        assert_eq!(sum.get(), 10_000 * 9_999 / 2);
        Ok::<_, io::Error>(())
    })
    .unwrap();
}
