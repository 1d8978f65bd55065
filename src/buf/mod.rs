//! The contract for memory lent to the kernel: what may be lent, how a part is lent, how it comes back.
//!
//! A buffer goes into an operation by value and comes back by value, beside the result or inside the error
//! ([`BufError`]). Meanwhile only the kernel uses it. Nothing here makes a system call, grows a buffer or knows an
//! operation; the families of operations and the types that users call are what calls it.
//!
//! | lent for | one buffer | several at once |
//! |---|---|---|
//! | the kernel to read (write, send) | [`IoBuf`] | [`IoBufs`] |
//! | the kernel to fill (read, receive) | [`IoBufMut`] | [`IoBufsMut`] |
//!
//! A read fills the whole capacity **from the start** and sets the length to what it brought, so a `Vec` can be used
//! again as it is. To append, or to fill a part, lend a part: [`slice`](IoBufMut::slice).
//!
//! What whoever implements a trait promises, cited by number in the safety notes:
//!
//! - **L1** *Address.* While the value is only moved, its memory stays where it is, and length and capacity stay what
//!   they are.
//! - **L2** *Life.* The memory stays allocated until the value is dropped; if the value is forgotten, for ever.
//! - **L3** *Bytes.* From `io_ptr`, never null, `io_len` bytes of one allocation are initialised and readable, and no
//!   safe code can write them without having the value.
//! - **L4** *Room.* `io_mut_ptr` names the address that `io_ptr` names; from there `io_capacity` bytes of one
//!   allocation, at least `io_len`, are writable.
//! - **L5** *Alone.* No safe code can read or write those bytes without having the value.
//! - **L6** *Length.* `set_io_len(n)` leaves a length of `n`, or the length that was if that is greater. It moves and
//!   changes no byte.
//! - **L7** *Several.* Each visit of several buffers meets the same ones in the same order, each once, all owned by the
//!   value.

mod aligned;
mod error;
mod io_buf;
mod io_bufs;
mod slice;

pub use aligned::AlignedBuf;
pub use error::{BufError, BufResult};
pub use io_buf::{IoBuf, IoBufMut};
pub(crate) use io_buf::{fill, repeat, truncate};
pub use io_bufs::{IoBufs, IoBufsMut};
pub use slice::Slice;
