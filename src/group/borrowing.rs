//! What the compiler rejects, each next to code that it accepts and that differs in nothing else.
//!
//! These are documentation tests only: a signature change that let a rejected one compile would let a child access
//! freed memory (G4). Where no error code is given, the compiler has none: its message is "lifetime may not live long
//! enough".

/// A child can borrow what lives outside the group.
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
/// It cannot borrow a variable of the body, which is dropped before the child is.
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
/// Nor can it borrow one through a reference that it is given.
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
/// A variable that is moved into the child belongs to it.
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
/// What the body captures by value is a variable of the body, too.
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

/// What a group's children borrow must outlive the group's future.
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
/// It cannot be dropped before the future.
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
/// A task cannot run a group that borrows, because the task may outlive the function.
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

/// A child's value may leave the group.
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
/// Nor may the group.
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

/// A child's value may be stored outside.
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
/// Nor may the group.
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
/// Not by a child, either: the group outlives only its children.
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

/// One child may borrow something mutably.
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
/// Nor can the body read it while the child has it: awaiting the handle does not end the borrow.
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
/// Nor can the function that started the group.
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
