//! Finds out, for an error of an unknown type, whether it comes from a cancellation.
//!
//! A group and a timeout take errors of any type, including those that do not implement `Error` and those that borrow.
//! They know the usual types: `io::Error`, those of this crate, boxes of errors, and `anyhow::Error` (feature
//! `anyhow`). A user's own type is classified where it is known: in the conversions of
//! [`impl_from_errors!`](crate::impl_from_errors), and by `settle` of the two errors.

use super::{Canceled, CopyBidirectionalError, CopyError, JoinError, is_canceled};
use std::any::TypeId;
use std::error::Error;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Whether the error is a cancellation. `None` if its type is unknown.
#[cold]
pub(crate) fn is_cancellation<E>(error: &E) -> Option<bool> {
    ask(error).map(|found| is_canceled(found.0))
}

/// Whether an error of a known type is a cancellation. `None` if it is one of this crate's around one of unknown type.
pub(super) fn is_known_cancellation<E: Error + 'static>(error: &E) -> Option<bool> {
    match find(REGISTERED.load(Ordering::Acquire), TypeId::of::<E>()) {
        Some(_) => is_cancellation(error),
        None => Some(is_canceled(error)),
    }
}

/// A reference to an error whose real type may borrow: the lifetime of what it borrows is erased. It may only be
/// downcast, as may its chain of sources, and only to types that do not borrow.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(&'a (dyn Error + 'static));

impl<'a> Source<'a> {
    pub(super) fn new(error: &'a (dyn Error + 'static)) -> Source<'a> {
        Source(error)
    }
}

/// An error of this crate around an error of any type, or with any buffer. There are too many of these types to try each.
/// Those of timeouts and groups register when a value is made; those with buffers, which are made on hot paths, register
/// when a runtime is built.
pub(crate) trait Wraps {
    /// The type of the error inside.
    type Inner;

    /// Returns the error that this one comes from, if the inner type is known.
    fn known_source(&self) -> Option<Source<'_>>;
}

/// Returns the source of an error around one that does not borrow.
pub(super) fn source<W: Wraps<Inner: 'static>>(error: &W) -> Option<&(dyn Error + 'static)> {
    error.known_source().map(|found| found.0)
}

/// Returns the error, or what it comes from, if its type is known.
pub(super) fn ask<E>(error: &E) -> Option<Source<'_>> {
    is::<E, io::Error>(error)
        .or_else(|| is::<E, Canceled>(error))
        .or_else(|| is::<E, JoinError>(error))
        .or_else(|| is::<E, CopyError>(error))
        .or_else(|| is::<E, CopyBidirectionalError>(error))
        .or_else(|| is_box(error))
        .or_else(|| is_anyhow(error))
        .or_else(|| is_registered(error))
}

fn is<E, T: Error + 'static>(error: &E) -> Option<Source<'_>> {
    Some(Source(cast::<E, T>(error)?.0))
}

fn is_box<E>(error: &E) -> Option<Source<'_>> {
    match cast::<E, Box<dyn Error>>(error) {
        Some(Cast(error)) => Some(Source(&**error)),
        None => Some(Source(&**cast::<E, Box<dyn Error + Send + Sync>>(error)?.0)),
    }
}

#[cfg(feature = "anyhow")]
fn is_anyhow<E>(error: &E) -> Option<Source<'_>> {
    Some(Source(cast::<E, anyhow::Error>(error)?.0.as_ref()))
}

#[cfg(not(feature = "anyhow"))]
fn is_anyhow<E>(_: &E) -> Option<Source<'_>> {
    None
}

/// A reference that is only turned into a [`Source`]: it may borrow for a shorter time than its type shows.
struct Cast<'a, T>(&'a T);

/// Casts the error to `T`, if that is its type.
fn cast<E, T: 'static>(error: &E) -> Option<Cast<'_, T>> {
    // SAFETY: the types are the same except for lifetimes, which nothing relies on: the error becomes a `Source`.
    (typeid::of::<E>() == TypeId::of::<T>()).then(|| Cast(unsafe { &*ptr::from_ref(error).cast() }))
}

type Cause = unsafe fn(*const ()) -> Option<*const (dyn Error + 'static)>;

fn is_registered<E>(error: &E) -> Option<Source<'_>> {
    let cause = find(REGISTERED.load(Ordering::Acquire), typeid::of::<E>())?;
    // SAFETY: `cause` was registered for a type with this ID, and the error that it returns is inside `error`.
    unsafe { cause(ptr::from_ref(error).cast()).map(|error| Source(&*error)) }
}

/// A registered type. It is never freed: there is at most about one per type.
struct RegisteredType {
    id: TypeId,
    cause: Cause,
    next: *const RegisteredType,
}

static REGISTERED: AtomicPtr<RegisteredType> = AtomicPtr::new(ptr::null_mut());

fn find(mut at: *const RegisteredType, id: TypeId) -> Option<Cause> {
    // SAFETY: the list has only leaked boxes, each published after it was written.
    while let Some(registered) = unsafe { at.as_ref() } {
        if registered.id == id {
            return Some(registered.cause);
        }
        at = registered.next;
    }
    None
}

/// Registers the type, so that errors of this type are asked for their cause from now on.
pub(crate) fn register_type<T: Wraps>() {
    register(typeid::of::<T>(), |error| {
        // SAFETY: it is called with a value that has the type ID of `T`: the same type except for lifetimes, and the
        // implementations of `Wraps`, which are generic over types with any lifetimes, do not rely on these.
        unsafe { (*error.cast::<T>()).known_source() }.map(|found| ptr::from_ref(found.0))
    });
}

#[inline(never)]
fn register(id: TypeId, cause: Cause) {
    let mut head = REGISTERED.load(Ordering::Acquire);
    if find(head, id).is_some() {
        return;
    }
    let new = Box::leak(Box::new(RegisteredType {
        id,
        cause,
        next: head,
    }));
    // Another thread may register the same type at the same time. A duplicate in the list does no harm.
    while let Err(changed) =
        REGISTERED.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire)
    {
        head = changed;
        new.next = changed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::IoBufMut;
    use crate::error::{BufError, GroupError, TimeoutError};
    use std::fmt;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Borrows<'a>(&'a str);

    impl fmt::Display for Borrows<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Borrows<'_> {}

    #[test]
    fn common_error_types_are_searched() {
        crate::buf::register_errors();
        assert_eq!(is_cancellation(&Canceled), Some(true));
        assert_eq!(is_cancellation(&io::Error::from(Canceled)), Some(true));
        assert_eq!(is_cancellation(&io::Error::other("full")), Some(false));
        let buffer = BufError::new(Canceled.into(), vec![1_u8]);
        assert_eq!(is_cancellation(&buffer), Some(true));
        let part = buffer.map_buf(|buffer| buffer.slice(..));
        assert_eq!(is_cancellation(&part), Some(true));
        let shared = part.map_buf(|_| Arc::<[u8]>::from([1]));
        assert_eq!(is_cancellation(&shared), Some(true));
        assert_eq!(
            is_cancellation(&Box::<dyn Error + Send + Sync>::from("full")),
            Some(false)
        );
        assert_eq!(
            is_cancellation(&Box::<dyn Error + Send + Sync>::from(Canceled)),
            Some(true)
        );
        let timeout = TimeoutError::<io::Error>::elapsed(None);
        assert_eq!(is_cancellation(&timeout), Some(false));
        let timeout = TimeoutError::<io::Error>::from(Canceled);
        assert_eq!(is_cancellation(&timeout), Some(true));
        let group = GroupError::<Canceled, [u8; 3]>::from(Canceled);
        assert_eq!(is_cancellation(&group), Some(true));
        let nested = TimeoutError::failed(group);
        assert_eq!(is_cancellation(&nested), Some(true));
        let nested = TimeoutError::failed(TimeoutError::<[u8; 5]>::elapsed(None));
        assert_eq!(is_cancellation(&nested), Some(false));
        #[cfg(feature = "anyhow")]
        assert_eq!(is_cancellation(&anyhow::Error::from(Canceled)), Some(true));
    }

    #[test]
    fn other_types_are_not_searched() {
        let text = String::from("short");
        assert_eq!(is_cancellation(&Borrows(&text)), None);
        assert_eq!(is_cancellation(&"canceled"), None);
        assert_eq!(is_cancellation(&text), None);
        let nested = TimeoutError::failed(TimeoutError::failed(&text));
        assert_eq!(is_cancellation(&nested), None);
    }

    /// A box with a borrowed error has the same type ID as one without.
    #[test]
    fn the_sources_of_a_box_that_borrows_are_searched() {
        let text = String::from("short");
        let error: Box<dyn Error + '_> = Box::new(Borrows(&text));
        assert_eq!(is_cancellation(&error), Some(false));
    }
}
