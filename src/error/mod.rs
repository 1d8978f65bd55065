//! Errors that wrap other errors: those of timeouts, groups and copies.

mod ask;
mod copy;
mod cut_short;
mod errno;
mod group;
pub mod own;
mod timeout;

pub(crate) use ask::is_cancellation;
pub use copy::CopyError;
pub use cut_short::CutShort;
pub use errno::errno;
pub(crate) use group::Failures;
pub use group::GroupError;
pub use timeout::TimeoutError;
