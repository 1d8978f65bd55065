//! Files are closed in any case, even in a canceled scope (C13).

use crate::{SHORT, pipe, settle};
use common::{Baseline, block_on, descriptors, on_virtual_time, poll_once};
use gimmal::cancel::{Canceled, Scope};
use gimmal::prelude::*;
use gimmal::{is_canceled, spawn};
use std::rc::Rc;

#[test]
fn a_file_is_closed_in_a_canceled_scope() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        let (file, writer) = pipe();
        let open = descriptors();
        let scope = Scope::new();
        let closed = scope
            .run_any(async {
                scope.cancel();
                file.close().await
            })
            .await;
        closed.unwrap().unwrap();
        assert!(!scope.canceled_caught());
        assert_eq!(descriptors(), open - 1);
        drop(writer);
        let (file, _writer) = pipe();
        file.close()
            .timeout(std::time::Duration::ZERO)
            .await
            .unwrap();
    });
}

/// If the wait for a file's operations is canceled, the last of them closes the file.
#[test]
fn a_file_with_an_operation_in_flight_is_closed_in_a_canceled_scope() {
    if common::ran_in_own_process() {
        return;
    }
    block_on(async {
        for canceled_before in [true, false] {
            let baseline = Baseline::take();
            let (file, writer) = pipe();
            let file = Rc::new(file);
            let mut read = file.read(vec![9; 4]);
            assert!(poll_once(&mut read).await.is_pending());
            settle().await;
            let file = Rc::into_inner(file).unwrap();
            let scope = Scope::new();
            if canceled_before {
                scope.cancel();
            }
            let closed = scope
                .run_any(async {
                    let close = file.close();
                    scope.cancel();
                    close.await
                })
                .await;
            let error = closed.unwrap().unwrap_err();
            assert!(is_canceled(&error), "{error}");
            let read = read.await.unwrap_err();
            assert!(is_canceled(&read) && read.into_buf() == [9; 4]);
            drop(writer);
            baseline.returns("closing in a canceled scope").await;
        }
    });
}

#[test]
fn a_read_of_another_task_ends_and_the_file_is_closed() {
    on_virtual_time(async {
        let (file, _writer) = pipe();
        let shared = file.shared_fd();
        let read = file.read(vec![1; 4]);
        let reader = spawn(async move { read.await.unwrap_err() });
        drop(shared);
        settle().await;
        let scope = Scope::with_deadline(gimmal::time::Instant::now() + 1000 * SHORT);
        let closed: std::io::Result<()> = scope.run(file.close()).await;
        closed.unwrap();
        let error = reader.await.unwrap();
        assert!(is_canceled(&error) && error.into_buf() == [1; 4]);
        assert_ne!(Err::<(), _>(Canceled), Ok(()));
    });
}
