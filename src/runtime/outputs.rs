//! What the compiler refuses, each beside what it takes: the two differ in nothing else.
//!
//! An output is kept without its type, and is found by the type that its handle has. So a handle has that type to the letter:
//! not one that the output could also pass for, which is another type where outputs are compared by type.

/// The handle of a task.
///
/// ```
/// # use gimmal::task::JoinHandle;
/// fn wider(handle: JoinHandle<for<'a> fn(&'a u8) -> u8>) -> JoinHandle<for<'a> fn(&'a u8) -> u8> {
///     handle
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use gimmal::task::JoinHandle;
/// fn wider(handle: JoinHandle<for<'a> fn(&'a u8) -> u8>) -> JoinHandle<fn(&'static u8) -> u8> {
///     handle
/// }
/// ```
///
/// The other way round neither.
///
/// ```compile_fail,E0308
/// # use gimmal::task::JoinHandle;
/// fn narrower(handle: JoinHandle<fn(&'static u8) -> u8>) -> JoinHandle<for<'a> fn(&'a u8) -> u8> {
///     handle
/// }
/// ```
struct OfATask;

/// The handle of a closure that blocks.
///
/// ```
/// # use gimmal::task::BlockingHandle;
/// fn wider(handle: BlockingHandle<for<'a> fn(&'a u8) -> u8>) -> BlockingHandle<for<'a> fn(&'a u8) -> u8> {
///     handle
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use gimmal::task::BlockingHandle;
/// fn wider(handle: BlockingHandle<for<'a> fn(&'a u8) -> u8>) -> BlockingHandle<fn(&'static u8) -> u8> {
///     handle
/// }
/// ```
struct OfAClosure;

/// The handle of a child of a group.
///
/// ```
/// # use gimmal::group::Child;
/// fn shorter<'a>(handle: Child<'a, &'a str>) -> Child<'a, &'a str> {
///     handle
/// }
/// ```
///
/// ```compile_fail
/// # use gimmal::group::Child;
/// fn shorter<'a>(handle: Child<'a, &'static str>) -> Child<'a, &'a str> {
///     handle
/// }
/// ```
struct OfAChild;

/// The handle of a supervised child.
///
/// ```
/// # use gimmal::group::Supervised;
/// fn shorter<'a>(handle: Supervised<'a, &'a str>) -> Supervised<'a, &'a str> {
///     handle
/// }
/// ```
///
/// ```compile_fail
/// # use gimmal::group::Supervised;
/// fn shorter<'a>(handle: Supervised<'a, &'static str>) -> Supervised<'a, &'a str> {
///     handle
/// }
/// ```
struct OfASupervisedChild;
