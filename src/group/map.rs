//! The same for each item of a list, so many at once.

use super::group::run_group;
use crate::error::GroupError;
use crate::scope::Canceled;
use std::cell::RefCell;
use std::panic::Location;

/// Calls an async closure for each item, at most `limit` at once (and one at least), and gives the results in the order of
/// the items.
///
/// Each call is a child of a [`group`](crate::group()): the first that fails cancels the others and is the error, and items
/// that were not begun by then are left. Items are taken from the iterator only when there is room, so it may be endless
/// until one fails. Closure and items may borrow.
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
/// [`GroupError`], as a group's: the first failure, with all others; or canceled, if a scope outside cut a call short or
/// there was no time for every item.
///
/// # Panics
///
/// With the first panic of a call or of the iterator, after all calls have ended.
///
/// # Cancel safety
///
/// In a canceled scope it waits until the calls that were begun have ended. Dropped, it drops them. Either way, and after an
/// error, the results that were there are lost: keep what must not be in the closure's surroundings (`tests/combinators.rs`).
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
    run_map(items, limit, call, Location::caller())
}

async fn run_map<I, T, E, F>(
    items: I,
    limit: usize,
    call: F,
    location: &'static Location<'static>,
) -> Result<Vec<T>, GroupError<E>>
where
    I: IntoIterator,
    F: AsyncFn(I::Item) -> Result<T, E>,
{
    let results = RefCell::new(Vec::new());
    let (results_ref, call) = (&results, &call);
    let mut begun_all = false;
    let all = &mut begun_all;
    let children = run_group(
        async move |group| {
            group.limit(limit);
            let mut items = items.into_iter();
            for index in 0.. {
                let canceled = group.room().await.is_err() || group.is_canceled();
                let Some(item) = items.next() else { break };
                if canceled {
                    // Not for every item was there time.
                    return Ok(());
                }
                let child = async move {
                    let result = call(item).await?;
                    results_ref.borrow_mut()[index] = Some(result);
                    Ok(())
                };
                results_ref.borrow_mut().push(None);
                drop(group.spawn_as(None, child, location));
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
