//! The errors of waits: cancellations, timeouts, and those that return a buffer or wrap the errors of others.

mod ask;
mod buf;
mod canceled;
mod copy;
mod copy_bidirectional;
mod cut_short;
mod errno;
mod group;
mod join;
pub mod probe;
mod timeout;

pub(crate) use ask::{is_cancellation, register_type};
pub use buf::{BufError, BufResult};
pub use canceled::{Canceled, Elapsed, is_canceled, is_timeout};
use canceled::{ElapsedOver, chain, fmt_elapsed};
pub use copy::CopyError;
pub use copy_bidirectional::{CopyBidirectionalError, CopyDirection};
pub use cut_short::CutShort;
pub use errno::errno;
pub(crate) use group::Failures;
pub use group::GroupError;
pub use join::JoinError;
pub(crate) use join::panic_message;
pub use timeout::TimeoutError;
