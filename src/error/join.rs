//! The error of a task that ends without an output, or of a wait for it that was canceled.

use super::Canceled;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Error of a join: the task panicked, it was aborted, or the wait for it was canceled.
///
/// Only a canceled wait leaves the task as it was.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let task = gimmal::spawn(async { panic!("out of cheese") });
///     let error = task.await.unwrap_err();
///     assert!(error.is_panic());
///     assert_eq!(error.to_string(), "the task panicked: out of cheese");
///
///     let mut task = gimmal::spawn(gimmal::sleep(Duration::from_secs(3600)));
///     let joined = gimmal::timeout(Duration::from_millis(1), &mut task).await;
///     let error = joined.unwrap_err().into_inner();
///     assert!(error.is_some_and(|error| error.is_wait_canceled()));
///     // The task still sleeps.
///     task.abort();
///     assert!(task.await.unwrap_err().is_aborted());
///     Ok(())
/// })
/// # }
/// ```
pub struct JoinError(JoinErrorKind);

enum JoinErrorKind {
    /// The payload, in a mutex only because it is not `Sync` and the error must be. The mutex is never contended.
    Panicked(Mutex<Box<dyn Any + Send>>),
    Aborted,
    /// The task was dropped because its group was canceled.
    Dropped,
    Canceled,
    NoThread(io::Error),
}

impl JoinError {
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
        JoinError(JoinErrorKind::Panicked(Mutex::new(payload)))
    }

    pub(crate) fn canceled() -> JoinError {
        JoinError(JoinErrorKind::Canceled)
    }

    pub(crate) fn aborted() -> JoinError {
        JoinError(JoinErrorKind::Aborted)
    }

    pub(crate) fn dropped() -> JoinError {
        JoinError(JoinErrorKind::Dropped)
    }

    pub(crate) fn no_thread(error: io::Error) -> JoinError {
        JoinError(JoinErrorKind::NoThread(error))
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0, JoinErrorKind::Panicked(_))
    }

    /// Whether the task was aborted: its future was dropped before it was ready.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        matches!(self.0, JoinErrorKind::Aborted | JoinErrorKind::Dropped)
    }

    /// Whether the wait for the task was canceled. The task and its handle are as they were. A closure given to
    /// [`spawn_blocking`](crate::task::spawn_blocking) that had not started never runs.
    #[must_use]
    pub fn is_wait_canceled(&self) -> bool {
        matches!(self.0, JoinErrorKind::Canceled)
    }

    /// Returns the payload of the task's panic, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    ///
    /// The error itself, if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.0 {
            JoinErrorKind::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            other => Err(JoinError(other)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            JoinErrorKind::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "the task panicked: {}", panic_message(&**payload))
            }
            JoinErrorKind::Aborted => f.write_str("the task was aborted"),
            JoinErrorKind::Dropped => f.write_str("the task was canceled"),
            JoinErrorKind::Canceled => f.write_str("the wait for the task was canceled"),
            JoinErrorKind::NoThread(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            JoinErrorKind::Canceled | JoinErrorKind::Dropped => Some(&Canceled),
            JoinErrorKind::NoThread(error) => Some(error),
            JoinErrorKind::Panicked(_) | JoinErrorKind::Aborted => None,
        }
    }
}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        let kind = match &error.0 {
            JoinErrorKind::NoThread(error) => error.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Returns the panic's message, if the payload is a string.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "(a payload that is not a string)".to_owned()
    }
}
