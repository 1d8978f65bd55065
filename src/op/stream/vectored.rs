//! Receiving into several buffers at once, and sending from several.

use super::shared::{Direction, Permit, on_stream};
use crate::buf::{BufResult, IoBufs, IoBufsMut};
use crate::op::file::{AtCursor, BYTES_MAX, Vectors, mend_cursor};
use crate::op::operation::{debug_fields, operation, yields_first};
use crate::op::{
    Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream, StreamKind,
};
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::task::Waker;

/// The operation of [`TcpStream::read_vectored`](crate::net::TcpStream::read_vectored) and its counterparts:
/// `readv(2)`.
///
/// If it is dropped in flight, the stream keeps the bytes that still arrive, and its next receive returns them first.
pub struct RecvVectored<B: IoBufsMut> {
    permit: Permit,
    bufs: B,
    vectors: Vectors,
}

impl<B: IoBufsMut> RecvVectored<B> {
    pub(crate) fn new(stream: Rc<Stream>, mut bufs: B) -> Op<RecvVectored<B>> {
        let vectors = Vectors::of_mut(&mut bufs);
        let check = vectors.need_room();
        let recv = RecvVectored {
            permit: Permit::new(stream, Direction::In),
            bufs,
            vectors,
        };
        Op::checked(recv, check)
    }

    /// Takes bytes that an abandoned receive has left: as many as there are and as fit.
    #[cold]
    fn take_kept(&self, waker: &Waker) -> Readiness {
        if yields_first(waker) {
            return Readiness::Wait;
        }
        let mut taken = 0;
        for vector in self.vectors.as_slice() {
            // SAFETY: the vector is of a buffer's capacity, which is writable and the operation's alone (L4, L5).
            let room: &mut [MaybeUninit<u8>] =
                unsafe { std::slice::from_raw_parts_mut(vector.iov_base.cast(), vector.iov_len) };
            // As many as one system call would return.
            let len = room.len().min(BYTES_MAX - taken as usize);
            let room = &mut room[..len];
            if room.is_empty() {
                continue;
            }
            // An error is returned on its own.
            if taken > 0 && !self.permit.stream().has_kept_bytes() {
                break;
            }
            let more = self.permit.stream().take_kept(room);
            if more.result().is_err() {
                return Readiness::Done(more);
            }
            taken += more.raw();
        }
        Readiness::Done(Completion::at_once(taken))
    }
}

// SAFETY: `IoBufsMut` promises that the memory of each buffer stays in place and untouched while the operation owns
// them; the array of vectors is a boxed allocation of its own. The operation holds the stream, which holds its
// descriptor (O5).
unsafe impl<B: IoBufsMut> Operation for RecvVectored<B> {
    operation!("readv" -> BufResult<usize, B>, lends bufs);
    const EINTR_HAD_NO_EFFECT: bool = true;
    on_stream!(in);

    fn entry(&mut self) -> Entry {
        let entry = self.permit.stream().entry(Opcode::READV);
        self.vectors.entry(entry, u64::MAX)
    }

    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.permit
            .stream()
            .at_cursor(Direction::In, self.vectors.requested())
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                // SAFETY: the kernel, or `take_kept`, has filled the buffers in order, each to its capacity, with `n`
                // bytes in all.
                unsafe { self.bufs.set_lens(n as usize) };
                Ok((n as usize, self.bufs))
            }
            Err(error) => {
                let error = self.permit.stream().with_context("receive from", error);
                self.fail(error)
            }
        }
    }

    /// The next receive returns the bytes.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
        let stream = self.permit.stream();
        match completion.result() {
            Ok(n) => {
                let mut left = n as usize;
                let mut bytes = Vec::with_capacity(left);
                for vector in self.vectors.as_slice() {
                    let len = vector.iov_len.min(left);
                    if len > 0 {
                        let start: *const u8 = vector.iov_base.cast();
                        // SAFETY: the buffers were filled in order with `n` bytes in all, so these were written.
                        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start, len) });
                    }
                    left -= len;
                }
                stream.take_back(&bytes, completion);
            }
            Err(_) if completion.was_interrupted() => {}
            Err(_) => stream.keep_error(completion.raw()),
        }
    }
}

/// The header for `sendmsg`: an allocation of its own (O2).
struct SendHeader(Box<libc::msghdr>);

/// The operation of [`TcpStream::write_vectored`](crate::net::TcpStream::write_vectored) and its counterparts:
/// `sendmsg(2)`, or `writev(2)` into a pipe.
pub struct SendVectored<B: IoBufs> {
    permit: Permit,
    bufs: B,
    vectors: Vectors,
    message: SendHeader,
}

impl<B: IoBufs> SendVectored<B> {
    pub(crate) fn new(stream: Rc<Stream>, bufs: B) -> Op<SendVectored<B>> {
        let vectors = Vectors::of(&bufs);
        let message = SendHeader::new(&vectors);
        Op::new(SendVectored {
            permit: Permit::new(stream, Direction::Out),
            bufs,
            vectors,
            message,
        })
    }
}

impl SendHeader {
    fn new(vectors: &Vectors) -> SendHeader {
        // SAFETY: a `msghdr` of zeros is one with null pointers and lengths of zero.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        let vectors = vectors.as_slice();
        header.msg_iov = vectors.as_ptr().cast_mut();
        header.msg_iovlen = vectors.len();
        SendHeader(Box::new(header))
    }
}

// SAFETY: `IoBufs` promises that the memory of each buffer stays in place and unwritten while the operation owns them;
// the array of vectors and the message are boxed allocations of their own. The operation holds the stream, which holds
// its descriptor (O5).
unsafe impl<B: IoBufs> Operation for SendVectored<B> {
    operation!("sendmsg" -> BufResult<usize, B>, lends bufs);
    const EINTR_HAD_NO_EFFECT: bool = true;
    on_stream!(out bufs);

    fn entry(&mut self) -> Entry {
        let stream = self.permit.stream();
        match stream.kind() {
            StreamKind::Tcp | StreamKind::Unix => stream
                .entry(Opcode::SENDMSG)
                .addr(&raw const *self.message.0)
                .len(1)
                .op_flags(libc::MSG_NOSIGNAL as u32)
                .try_direct(),
            StreamKind::Pipe => self.vectors.entry(stream.entry(Opcode::WRITEV), u64::MAX),
        }
    }

    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.permit
            .stream()
            .at_cursor(Direction::Out, self.vectors.requested())
    }
}

debug_fields!([B: IoBufsMut] RecvVectored<B> { permit });

debug_fields!([B: IoBufs] SendVectored<B> { permit });
