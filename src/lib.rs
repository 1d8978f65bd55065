//! An asynchronous runtime for Linux on io_uring, with one ring per thread.
//!
//! ```
//! use std::io;
//!
//! fn main() -> io::Result<()> {
//!     gimmal::run(async {
//!         let text = gimmal::fs::read_to_string("Cargo.toml").await?;
//!         let lines = gimmal::spawn(async move { text.lines().count() });
//!         assert!(lines.await? > 0);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The module [`questions`] answers what newcomers ask first; [`testing`] is about testing your own programs.
//!
//! [`run`] makes a runtime on this thread: one ring, and tables of tasks, operations and timers. [`spawn`] starts tasks,
//! which stay on the thread, so nothing they hold has to be `Send`. Blocking work goes to a thread pool with
//! [`task::spawn_blocking`].
//!
//! Buffers are lent to the kernel by value, and come back with the result or the error (see [`buf`]):
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # gimmal::run(async {
//! let file = gimmal::fs::File::open("Cargo.toml").await?;
//! let (n, buffer) = file.read_at(Vec::with_capacity(4096), 0).await?;
//! assert_eq!(n, buffer.len());
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Cancellation and groups
//!
//! Any wait can be canceled, and then its operation did not happen: see [`cancel`]. [`timeout()`] limits how long a
//! future may take. [`group()`] runs children that may borrow, and returns when all of them are gone, also from the
//! kernel.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # gimmal::run(async {
//! use gimmal::prelude::*;
//! use std::time::Duration;
//!
//! let names = ["Cargo.toml", "README.md"];
//! let files = gimmal::map(names, 8, async |name| gimmal::fs::read(name).await)
//!     .timeout(Duration::from_secs(5))
//!     .await?;
//! assert_eq!(files.len(), 2);
//! # Ok::<_, std::io::Error>(())
//! # })
//! # }
//! ```
//!
//! # Threads and processes
//!
//! A runtime belongs to the thread that made it. Its wakers may be used on any thread. A forked child process must not
//! use its parent's runtime, and gets an error or a panic if it tries; it can make its own.
//!
//! # Privileges, roots and namespaces
//!
//! Drop privileges and change the root, working directory, umask and namespaces before you build the thread's first
//! runtime. Requests that need a kernel thread, such as a write to a file or an open that creates one, run in workers
//! that belong to the ring's thread. Workers keep some of that thread's state as it was when they were created, which
//! may be long before the request (seen on 6.18):
//!
//! | changed in a runtime's thread | what its file requests do then |
//! |---|---|
//! | user, groups, capabilities: `setuid`, `capset` | All requests use the new ones, including those in workers. |
//! | root, working directory, umask: `chroot`, `chdir`, `umask` | All requests see them, unless the thread has its own (the next line). |
//! | `unshare` or `setns` with `CLONE_NEWNS` or `CLONE_FS`, and `chroot`, `chdir`, `umask` or a mount after it | **Some requests see the old state**: a file may be created outside the new root. |
//! | `unshare` with `CLONE_FILES` | **Descriptors are mixed up**: a worker opens files in the table that the thread has left. Never do that. |
//!
//! To change such state once the thread has had a runtime, make the change, then start a new thread and build a runtime
//! there; or make the change in a child process ([`pre_exec`](std::os::unix::process::CommandExt::pre_exec)). A new
//! runtime on the same thread is not enough, because workers end some time after their ring. Waiting is not enough
//! either: one of them stays.
//!
//! Threads of the pool ([`task::spawn_blocking`], host name lookups) are ordinary threads: a raw system call on the
//! runtime's thread changes nothing for pool threads that already exist. Open files and sockets stay open, whatever
//! changes. A seccomp filter does not see what goes through a ring.

// Compiles the README's code with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("questions.md")]
pub mod questions {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("gimmal is built on io_uring and runs on 64-bit Linux only");

pub mod buf;
pub mod cancel;
mod concurrent;
mod driver;
mod error;
pub mod fs;
pub mod group;
pub mod io;
pub mod net;
pub mod op;
pub mod runtime;
mod scope;
pub mod signal;
mod sys;
mod table;
mod tasks;
mod threading;
pub mod time;
mod timer;
mod wait_queue;

pub use buf::BufError;
pub use error::{Canceled, errno, is_canceled, is_timeout};
pub use group::{
    group, join, join_all, map, race, select, supervise, try_join, try_join_all, wait,
};
pub use runtime::builder::run;
pub use runtime::leaf::yield_now;
pub use runtime::task::spawn;
pub use runtime::{Handle, Runtime};
pub use time::{sleep, timeout};

/// Tasks, their handles, and blocking closures.
pub mod task {
    pub use crate::error::JoinError;
    pub use crate::runtime::leaf::{YieldNow, yield_now};
    pub use crate::runtime::pool::{BlockingHandle, spawn_abandonable, spawn_blocking};
    pub use crate::runtime::task::{
        AbortHandle, CancelOnDrop, JoinHandle, TaskBuilder as Builder, spawn,
    };
}

/// Implements the conversions that `?` needs to turn this crate's errors into your error type, which must implement
/// `From<std::io::Error>`. It converts from [`BufError`], [`io::CopyError`], [`io::CopyBidirectionalError`],
/// [`Canceled`], [`task::JoinError`], [`time::TimeoutError`], [`time::CutShort`] and [`group::GroupError`].
///
/// A timeout yields your own error, unless that is a cancellation; then it yields the timeout, with your error as its
/// source. A group yields its only failure. If it has several, it yields an [`std::io::Error`] with the kind of the
/// first one, which displays all of them and holds a `GroupError<Box<dyn Error + Send + Sync>>`.
///
/// No error is lost if your type is `Send + Sync` and implements [`Error`](std::error::Error) with a `source` that
/// tells failures from cancellations. A type that does not implement `Error` is held in its `Debug` form. A type that
/// is not `Send + Sync`, or has no `Debug` either, cannot be held: then a timeout comes without it, and a group with
/// several failures yields only the first.
///
/// ```
/// use std::io;
///
/// #[derive(Debug)]
/// enum MyError {
///     Io(io::Error),
/// }
///
/// impl From<io::Error> for MyError {
///     fn from(error: io::Error) -> MyError {
///         MyError::Io(error)
///     }
/// }
///
/// gimmal::impl_from_errors!(MyError);
///
/// fn main() -> Result<(), MyError> {
///     gimmal::run(async {
///         let file = gimmal::fs::File::open("Cargo.toml").await?;
///         let (_, buffer) = file.read_at(vec![0; 16], 0).await?;
///         let length = gimmal::spawn(async move { buffer.len() }).await?;
///         assert_eq!(length, 16);
///         Ok(())
///     })
/// }
/// ```
#[macro_export]
macro_rules! impl_from_errors {
    ($error:ty) => {
        // The names of parameters and imports could clash with those of the user's type.
        impl<__Buf> ::core::convert::From<$crate::BufError<__Buf>> for $error {
            fn from(error: $crate::BufError<__Buf>) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        impl ::core::convert::From<$crate::io::CopyError> for $error {
            fn from(error: $crate::io::CopyError) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        impl ::core::convert::From<$crate::io::CopyBidirectionalError> for $error {
            fn from(error: $crate::io::CopyBidirectionalError) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        impl ::core::convert::From<$crate::Canceled> for $error {
            fn from(error: $crate::Canceled) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        impl ::core::convert::From<$crate::task::JoinError> for $error {
            fn from(error: $crate::task::JoinError) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        impl<__Output> ::core::convert::From<$crate::time::CutShort<__Output>> for $error {
            fn from(error: $crate::time::CutShort<__Output>) -> $error {
                <$error>::from(::std::io::Error::from(error))
            }
        }

        const _: () = {
            use $crate::__probe::ProbeFallback as _;

            const HOLD: $crate::__probe::Hold<$error> = $crate::__probe::hold(
                <$crate::__probe::Probe<$error>>::HOLD,
                <$crate::__probe::Probe<$error>>::SHOW,
            );

            impl<__Inner, __Value>
                ::core::convert::From<$crate::group::GroupError<__Inner, __Value>> for $error
            where
                $error: ::core::convert::From<__Inner>,
            {
                fn from(error: $crate::group::GroupError<__Inner, __Value>) -> $error {
                    error.into_error(<$crate::__probe::Probe<$error>>::ASK, HOLD)
                }
            }

            impl<__Inner> ::core::convert::From<$crate::time::TimeoutError<__Inner>> for $error
            where
                $error: ::core::convert::From<__Inner>,
            {
                fn from(error: $crate::time::TimeoutError<__Inner>) -> $error {
                    error.into_error(<$crate::__probe::Probe<$error>>::ASK, HOLD)
                }
            }
        };
    };
}

#[doc(hidden)]
pub use error::probe as __probe;

/// Traits only.
pub mod prelude {
    pub use crate::buf::{IoBuf, IoBufMut, IoBufs, IoBufsMut};
    pub use crate::io::{AsyncRead, AsyncWrite};
    pub use crate::op::Operation;
    pub use crate::time::FutureExt;
}
