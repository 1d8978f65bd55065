//! The contract for memory lent to the kernel: which types may be lent, how a part is lent, and how it comes back.
//!
//! A buffer goes into an operation by value and comes back by value, with the result or inside the error
//! ([`BufError`]). In between, only the kernel uses it. Nothing here makes a system call, grows a buffer or knows about
//! operations; the callers are the operations and the types that users call.
//!
//! | lent for | one buffer | several at once |
//! |---|---|---|
//! | the kernel to read (write, send) | [`IoBuf`] | [`IoBufs`] |
//! | the kernel to fill (read, receive) | [`IoBufMut`] | [`IoBufsMut`] |
//!
//! A read fills the whole capacity **from the start** and sets the length to the number of bytes read, so a `Vec` can
//! be reused as it is. To append, or to fill a part, lend a part: [`slice`](IoBufMut::slice).
//!
//! An implementation of these traits promises the following, cited by number in the safety comments:
//!
//! - **L1** *Address.* While the value is only moved, its memory stays in place, and its length and capacity stay the
//!   same.
//! - **L2** *Life.* The memory stays allocated until the value is dropped, or forever if it is forgotten.
//! - **L3** *Bytes.* From `io_ptr`, which is never null, `io_len` bytes of one allocation are initialized and readable,
//!   and no safe code can write them without having the value.
//! - **L4** *Room.* `io_mut_ptr` is the same address as `io_ptr`; from there, `io_capacity` bytes of one allocation, at
//!   least `io_len`, are writable.
//! - **L5** *Alone.* No safe code can read or write those bytes without having the value.
//! - **L6** *Length.* `set_io_len(n)` sets the length to `n`, or leaves it if it is greater. It moves and changes no
//!   byte.
//! - **L7** *Several.* Each visit of several buffers reaches the same ones in the same order, each once, all owned by
//!   the value.

mod aligned;
mod io_buf;
mod io_bufs;
mod lend;
mod slice;

pub use crate::error::{BufError, BufResult};
pub use aligned::AlignedBuf;
pub use io_buf::{IoBuf, IoBufMut};
pub(crate) use io_buf::{as_room, fill, repeat, truncate};
pub use io_bufs::{IoBufs, IoBufsMut};
pub(crate) use lend::{BYTES_MAX, Lend, LendMut, Part, Vectored, need_room, no_room};
pub use slice::Slice;

use crate::error::register_type;
use bytes::{Bytes, BytesMut};
use std::rc::Rc;
use std::sync::Arc;

/// Registers the errors that return the usual buffers, so that groups and timeouts can ask whether they are
/// cancellations.
pub(crate) fn register_errors() {
    register_type::<BufError<Vec<u8>>>();
    register_type::<BufError<Box<[u8]>>>();
    register_type::<BufError<BytesMut>>();
    register_type::<BufError<Bytes>>();
    register_type::<BufError<String>>();
    register_type::<BufError<&'static str>>();
    register_type::<BufError<&'static [u8]>>();
    register_type::<BufError<Rc<[u8]>>>();
    register_type::<BufError<Arc<[u8]>>>();
    register_type::<BufError<AlignedBuf>>();
    register_type::<BufError<Slice<Vec<u8>>>>();
    register_type::<BufError<Slice<Box<[u8]>>>>();
    register_type::<BufError<Slice<BytesMut>>>();
}
