//! Code that must not compile, each beside code that must, with no other difference.
//!
//! An output is stored type-erased, and downcast to the type in its handle. So a handle must be invariant in that type:
//! a subtype or supertype has another `TypeId`.

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
/// Nor the other way round.
///
/// ```compile_fail,E0308
/// # use gimmal::task::JoinHandle;
/// fn narrower(handle: JoinHandle<fn(&'static u8) -> u8>) -> JoinHandle<for<'a> fn(&'a u8) -> u8> {
///     handle
/// }
/// ```
struct OfATask;

/// The handle of a blocking closure.
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
