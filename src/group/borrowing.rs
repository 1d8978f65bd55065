//! What the compiler refuses, each beside what it takes: the two differ in nothing else.
//!
//! These are tests of the documentation, and nothing else: a change of a signature that let one of them through would let a
//! child reach freed memory (G4). Where no code of an error is named the compiler has none: it says "lifetime may not live
//! long enough".

/// A child borrows what lives outside of the group.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let words = String::from("outside");
/// group(async |g| {
///     drop(g.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// It cannot borrow a variable of the body, which is gone before it is.
///
/// ```compile_fail,E0373
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// group(async |g| {
///     let words = String::from("outside");
///     drop(g.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Nor by a reference that it is given.
///
/// ```compile_fail,E0597
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// group(async |g| {
///     let words = String::from("outside");
///     let words = &words;
///     drop(g.spawn(async move { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Moved into the child it is its own.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// group(async |g| {
///     let words = String::from("outside");
///     drop(g.spawn(async move { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// What the body has captured by value is a variable of the body, too.
///
/// ```compile_fail,E0373
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let words = String::from("outside");
/// group(async move |g| {
///     drop(g.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// The same holds for supervisors.
///
/// ```compile_fail,E0373
/// # use gimmal::supervise;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// supervise(async |s| {
///     let words = String::from("outside");
///     drop(s.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
struct OfTheBody;

/// What a group's children borrow outlives its future.
///
/// ```
/// # use gimmal::group;
/// let words = String::from("outside");
/// let future = group(async |g| {
///     drop(g.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// });
/// drop(future);
/// drop(words);
/// ```
///
/// It cannot be dropped before that.
///
/// ```compile_fail,E0505
/// # use gimmal::group;
/// let words = String::from("outside");
/// let future = group(async |g| {
///     drop(g.spawn(async { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// });
/// drop(words);
/// drop(future);
/// ```
///
/// A task of the runtime takes no group that borrows, for it may outlive the function.
///
/// ```compile_fail,E0597
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let words = String::from("outside");
/// let words = &words;
/// drop(gimmal::spawn(gimmal::group(async move |g| {
///     drop(g.spawn(async move { assert_eq!(words.len(), 7) }));
///     Ok::<_, std::io::Error>(())
/// })));
/// # Ok(())
/// # })
/// # }
/// ```
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let words = "for ever";
/// drop(gimmal::spawn(gimmal::group(async move |g| {
///     drop(g.spawn(async move { assert_eq!(words.len(), 8) }));
///     Ok::<_, std::io::Error>(())
/// })));
/// # Ok(())
/// # })
/// # }
/// ```
struct Outlived;

/// What a child gives may leave the group.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let kept = group(async |g| {
///     let child = g.spawn(async { Ok(1) });
///     Ok::<_, std::io::Error>(child.await)
/// })
/// .await?;
/// # let _ = kept;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Its handle may not.
///
/// ```compile_fail
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let kept = group(async |g| {
///     let child = g.spawn(async { Ok(1) });
///     Ok::<_, std::io::Error>(child)
/// })
/// .await?;
/// # let _ = kept;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Neither may the group.
///
/// ```compile_fail
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let kept = group(async |g| {
///     drop(g.spawn(async { Ok(1) }));
///     Ok::<_, std::io::Error>(g)
/// })
/// .await?;
/// # let _ = kept;
/// # Ok(())
/// # })
/// # }
/// ```
struct Returned;

/// What a child gives may be stored outside.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut kept = None;
/// group(async |g| {
///     let child = g.spawn(async { Ok(1) });
///     kept = Some(child.await);
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Its handle may not.
///
/// ```compile_fail
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut kept = None;
/// group(async |g| {
///     let child = g.spawn(async { Ok(1) });
///     kept = Some(child);
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Neither may the group.
///
/// ```compile_fail
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut kept = None;
/// group(async |g| {
///     drop(g.spawn(async { Ok(1) }));
///     kept = Some(g);
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Not by a child, either: the group outlives its children, and nothing else.
///
/// ```compile_fail
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let kept = std::cell::Cell::new(None);
/// group(async |g| {
///     drop(g.spawn(async {
///         kept.set(Some(g.spawn(async { Ok(1) })));
///     }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let kept = std::cell::Cell::new(None);
/// group(async |g| {
///     drop(g.spawn(async {
///         kept.set(Some(g.spawn(async { Ok(1) }).await));
///     }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
struct Stored;

/// One child may have something to itself.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut count = 0;
/// group(async |g| {
///     drop(g.spawn(async { count += 1 }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// assert_eq!(count, 1);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Two cannot.
///
/// ```compile_fail,E0499
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut count = 0;
/// group(async |g| {
///     drop(g.spawn(async { count += 1 }));
///     drop(g.spawn(async { count += 1 }));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// assert_eq!(count, 1);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Nor can the body look at it meanwhile: that a handle was awaited does not end the borrow.
///
/// ```compile_fail,E0502
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut count = 0;
/// group(async |g| {
///     g.spawn(async { count += 1 }).await?;
///     assert_eq!(count, 1);
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Nor who started the group.
///
/// ```compile_fail,E0506
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// let mut count = 0;
/// let future = group(async |g| {
///     drop(g.spawn(async { count += 1 }));
///     Ok::<_, std::io::Error>(())
/// });
/// count = 5;
/// future.await?;
/// assert!(count > 0);
/// # Ok(())
/// # })
/// # }
/// ```
struct Mutable;

/// A group, and the handles of its children, stay on their thread.
///
/// ```
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// group(async |g| {
///     let cancel = || g.cancel();
///     cancel();
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use gimmal::group;
/// # fn main() -> std::io::Result<()> {
/// # gimmal::run(async {
/// group(async |g| {
///     let cancel = || g.cancel();
///     std::thread::scope(|threads| drop(threads.spawn(cancel)));
///     Ok::<_, std::io::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # })
/// # }
/// ```
struct OnItsThread;
