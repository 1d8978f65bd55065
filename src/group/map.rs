//! `map`: calls an async closure for each item of a list, with limited concurrency.

use super::group::run_group;
use crate::error::Canceled;
use crate::error::GroupError;
use crate::tasks::Origin;
use std::cell::RefCell;
use std::panic::Location;

/// Calls an async closure for each item, at most `limit` calls at once (and at least one), and returns the results in
/// the order of the items.
///
/// Each call is a child of a [`group`](crate::group()): the first failure cancels the others and becomes the error, and
/// the remaining items are not started. Items are taken from the iterator only when a call can start, so the iterator
/// may be endless until a call fails. Closure and items may borrow.
///
/// ```
/// use gimmal::fs;
///
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let paths = vec!["Cargo.toml", "README.md", "CHANGELOG.md"];
///     let lengths = gimmal::map(&paths, 2, async |path| Ok::<_, std::io::Error>(fs::read(path).await?.len())).await?;
///     assert_eq!(lengths.len(), 3);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// [`GroupError`], as for a group: the first failure, with all others; or canceled, if an outer scope cut a call short
/// or was canceled before every item was started.
///
/// # Panics
///
/// Resumes the first panic of a call or of the iterator, after all calls have ended.
///
/// # Cancel safety
///
/// After a cancel, a drop or an error, results already produced are lost: store what you must keep outside the closure.
/// A cancel waits until the calls that were started have ended; dropping it drops the calls.
// Test: tests/combinators.rs
#[track_caller]
pub fn map<I, T, E, F>(
    items: I,
    limit: usize,
    call: F,
) -> impl Future<Output = Result<Vec<T>, GroupError<E>>>
where
    I: IntoIterator,
    F: AsyncFn(I::Item) -> Result<T, E>,
{
    let location = Location::caller();
    async move {
        let results = RefCell::new(Vec::new());
        let (results_ref, call) = (&results, &call);
        let mut begun_all = false;
        let all = &mut begun_all;
        let children = run_group(
            async move |group| {
                group.set_limit(limit);
                let mut items = items.into_iter();
                for index in 0.. {
                    let canceled = group.wait_for_slot().await.is_err() || group.is_canceled();
                    let Some(item) = items.next() else { break };
                    if canceled {
                        // Canceled before every item was started.
                        return Ok(());
                    }
                    let child = async move {
                        let result = call(item).await?;
                        results_ref.borrow_mut()[index] = Some(result);
                        Ok(())
                    };
                    results_ref.borrow_mut().push(None);
                    drop(group.adopt(
                        child,
                        Origin {
                            name: None,
                            location,
                        },
                    ));
                }
                *all = true;
                Ok(())
            },
            location,
        );
        children.await?;
        let results: Vec<Option<T>> = results.into_inner();
        if begun_all && results.iter().all(Option::is_some) {
            Ok(results.into_iter().flatten().collect())
        } else {
            Err(Canceled.into())
        }
    }
}
