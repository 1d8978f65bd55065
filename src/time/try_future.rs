//! The futures that a timeout takes: those of a `Result`.

/// A future whose output is a `Result`: what [`timeout`](crate::time::timeout()) takes. Each such future implements it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::time::TimeoutError;
/// use std::io;
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let watch = async {
///         loop {
///             gimmal::fs::read("Cargo.toml").await?;
///             gimmal::yield_now().await;
///         }
///     };
///     let watched: Result<u8, TimeoutError<io::Error>> = gimmal::timeout(Duration::from_millis(1), watch).await;
///     assert!(watched.unwrap_err().is_elapsed());
///     Ok(())
/// })
/// # }
/// ```
///
/// For other outputs, use [`timeout_any`](crate::time::timeout_any):
///
/// ```compile_fail,E0277
/// # use std::time::Duration;
/// let waits = std::future::pending::<u8>();
/// drop(gimmal::timeout(Duration::from_secs(1), waits));
/// ```
pub trait TryFuture: Future {}

impl<F: Future> TryFuture for F where AnyResult: Fits<F::Output> {}

/// Fits a `Result` of any types, and nothing else. With one implementation, the compiler infers that the output of an
/// endless loop with a `?` is a `Result`; as a trait, it can say what to do about other outputs. A bound on the output
/// itself would not allow the first, and `Future<Output = Result<T, E>>` not the second.
struct AnyResult;

#[diagnostic::on_unimplemented(
    message = "a timeout takes a future of a `Result`, and the output of this one is `{O}`",
    label = "the output of this future is `{O}`, not a `Result`",
    note = "for an output that is not a `Result`, use `timeout_any`"
)]
trait Fits<O> {}

impl<T, E> Fits<Result<T, E>> for AnyResult {}
