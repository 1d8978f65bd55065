//! Errors that hold what others said: those of timeouts and of groups.

mod group;
mod timeout;

pub use group::GroupError;
pub use timeout::TimeoutError;

use crate::runtime::join::JoinError;
use crate::scope::Canceled;
use std::any::Any;
use std::error::Error;
use std::io;

/// The usual errors that a future ends with.
pub(crate) fn as_error(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
    fn is<T: Error + 'static>(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
        inner.downcast_ref::<T>().map(|error| error as _)
    }
    fn boxed(inner: &dyn Any) -> Option<&(dyn Error + 'static)> {
        if let Some(error) = inner.downcast_ref::<Box<dyn Error>>() {
            return Some(&**error);
        }
        let error = inner.downcast_ref::<Box<dyn Error + Send + Sync>>();
        error.map(|error| &**error as _)
    }
    is::<io::Error>(inner)
        .or_else(|| is::<Canceled>(inner))
        .or_else(|| is::<JoinError>(inner))
        .or_else(|| is::<TimeoutError<io::Error>>(inner))
        .or_else(|| is::<TimeoutError<Canceled>>(inner))
        .or_else(|| is::<GroupError<io::Error>>(inner))
        .or_else(|| is::<GroupError<Canceled>>(inner))
        .or_else(|| boxed(inner))
}
