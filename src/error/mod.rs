//! Errors that hold what others said: those of timeouts, of groups and of copies.

mod copy;
mod cut_short;
mod errno;
mod group;
mod timeout;

pub use copy::CopyError;
pub use cut_short::CutShort;
pub use errno::errno;
pub use group::GroupError;
pub use timeout::TimeoutError;

use crate::buf::BufError;
use crate::runtime::join::JoinError;
use crate::scope::Canceled;
use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

/// The usual errors that a future ends with. An error of any other type is inside, but what it comes from is not found
/// through this one.
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
    fn wrapped<E: fmt::Debug + fmt::Display + 'static>(
        inner: &dyn Any,
    ) -> Option<&(dyn Error + 'static)> {
        is::<TimeoutError<E>>(inner)
            .or_else(|| is::<TimeoutError<TimeoutError<E>>>(inner))
            .or_else(|| is::<GroupError<E>>(inner))
    }
    is::<io::Error>(inner)
        .or_else(|| is::<CopyError>(inner))
        .or_else(|| is::<Canceled>(inner))
        .or_else(|| is::<JoinError>(inner))
        .or_else(|| is::<BufError<Vec<u8>>>(inner))
        .or_else(|| is::<BufError<Box<[u8]>>>(inner))
        .or_else(|| is::<BufError<BytesMut>>(inner))
        .or_else(|| is::<BufError<Bytes>>(inner))
        .or_else(|| is::<BufError<String>>(inner))
        .or_else(|| is::<BufError<&'static str>>(inner))
        .or_else(|| is::<BufError<&'static [u8]>>(inner))
        .or_else(|| wrapped::<io::Error>(inner))
        .or_else(|| wrapped::<CopyError>(inner))
        .or_else(|| wrapped::<Canceled>(inner))
        .or_else(|| wrapped::<JoinError>(inner))
        .or_else(|| wrapped::<BufError<Vec<u8>>>(inner))
        .or_else(|| boxed(inner))
}
