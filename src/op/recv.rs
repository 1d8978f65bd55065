//! Receiving bytes of a stream.

use super::rw::{BYTES_MAX, no_room};
use super::stream::{Direction, Pass};
use super::{Completion, Entry, Op, Opcode, Operation, Prepared, Stream, StreamKind};
use super::{was_interrupted, yields_first};
use crate::buf::{BufError, BufResult, IoBufMut};
use crate::runtime::{self, Core};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// `IORING_RECVSEND_POLL_FIRST`: waits for data before it tries, which spares an attempt that would find nothing.
const POLL_FIRST: u16 = 1;

/// Receives from a stream into a buffer: `recv(2)`, or `read(2)` from a pipe.
///
/// Dropped while the kernel has it, it hands what still comes to the stream, whose next receive gives that first.
pub struct Recv<B: IoBufMut> {
    pass: Pass,
    buf: B,
    /// Where bytes go. What is before it is initialised.
    part: Range<usize>,
    /// From here to the part are bytes of a loop that it belongs to.
    from: usize,
    flags: i32,
}

impl<B: IoBufMut> Recv<B> {
    /// Receives into the whole capacity.
    #[inline]
    pub(crate) fn new(stream: Rc<Stream>, buf: B) -> Op<Recv<B>> {
        let capacity = buf.io_capacity();
        Recv::part(stream, buf, 0..capacity, 0, 0)
    }

    /// Looks at what is there, and leaves it there.
    pub(crate) fn peek(stream: Rc<Stream>, buf: B) -> Op<Recv<B>> {
        let capacity = buf.io_capacity();
        Recv::part(stream, buf, 0..capacity, 0, libc::MSG_PEEK)
    }

    /// Receives into that part of the capacity; all of it, if it is not interrupted. From `from` on it holds bytes that
    /// belong to the same read, and count towards the length.
    fn part(
        stream: Rc<Stream>,
        buf: B,
        part: Range<usize>,
        from: usize,
        flags: i32,
    ) -> Op<Recv<B>> {
        assert!(part.end <= buf.io_capacity() && from <= part.start);
        let is_empty = part.is_empty();
        let recv = Recv {
            pass: Pass::new(stream, Direction::In),
            buf,
            part,
            from,
            flags,
        };
        match is_empty {
            true => Op::rejected(recv, no_room()),
            false => Op::new(recv),
        }
    }

    fn stream(&self) -> &Stream {
        self.pass.stream()
    }

    /// Bytes that a receive which nobody waited for has brought.
    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Prepared {
        if yields_first(waker) {
            return Prepared::Wait;
        }
        let start = self.buf.io_mut_ptr().wrapping_add(self.part.start).cast();
        // SAFETY: the part is within the capacity, which is writable and the operation's alone (L4, L5).
        let room: &mut [MaybeUninit<u8>] =
            unsafe { std::slice::from_raw_parts_mut(start, self.part.len()) };
        let is_peek = self.flags & libc::MSG_PEEK != 0;
        match self.pass.stream().take_kept(room, is_peek) {
            Err(error) => Prepared::Failed(error),
            Ok(n) if self.flags & libc::MSG_WAITALL != 0 && n < self.part.len() => {
                self.part.start += n;
                match self.stream().has_kept() {
                    // The connection was lost after them.
                    true => Prepared::Done(Completion::new(0, 0)),
                    false => Prepared::Start,
                }
            }
            Ok(n) => Prepared::Done(Completion::new(n as i32, 0)),
        }
    }

    /// The bytes of its loop, and `n` more.
    fn taken(&self, n: usize) -> &[u8] {
        let start = self.buf.io_ptr().wrapping_add(self.from);
        // SAFETY: what is before the part was initialised, and the kernel has written `n` bytes from its start (L3, L4).
        unsafe { std::slice::from_raw_parts(start, self.part.start - self.from + n) }
    }

    /// Its loop is dropped, and the kernel does not have it: what it has brought is for the next receive.
    fn give_back(&self) {
        self.stream().give_back(self.taken(0));
    }

    fn set_len(&mut self, len: usize) {
        // SAFETY: what is before the part was initialised, and as far as `len` is in the part, the kernel or `take_kept` has
        // written it.
        unsafe { self.buf.set_io_len(len) };
    }
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation;
// the part is within its capacity. The operation holds the stream, and that its descriptor (O5).
unsafe impl<B: IoBufMut> Operation for Recv<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "recv";

    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Prepared {
        if !self.pass.enter(waker) {
            return Prepared::Wait;
        }
        if self.stream().has_kept() {
            return self.take_kept(waker);
        }
        Prepared::Start
    }

    #[inline]
    fn entry(&mut self) -> Entry {
        let start = self.buf.io_mut_ptr().wrapping_add(self.part.start);
        let len = self.part.len().min(BYTES_MAX) as u32;
        let stream = self.stream();
        match stream.kind() {
            StreamKind::Socket => stream
                .entry(Opcode::RECV)
                .op_flags(self.flags as u32)
                .ioprio(poll_first(stream)),
            StreamKind::Pipe => stream.entry(Opcode::READ).offset(u64::MAX),
        }
        .addr(start)
        .len(len)
    }

    #[inline]
    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                let n = n as usize;
                assert!(n <= self.part.len(), "the kernel read more than was lent");
                self.stream().set_drained(!completion.socket_has_more());
                self.set_len(self.part.start + n);
                Ok((self.part.start - self.from + n, self.buf))
            }
            Err(error) => {
                let error = self.stream().explain("receive from", error);
                self.fail(error)
            }
        }
    }

    fn fail(mut self, error: io::Error) -> Self::Output {
        let done = self.part.start - self.from;
        if done > 0 {
            self.set_len(self.part.start);
        }
        Err(BufError::new(error, self.buf).with_done(done))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        was_interrupted(completion)
    }

    /// The next receive gives the bytes, and those that its loop had already.
    fn dispose(&mut self, completion: Completion) {
        if self.flags & libc::MSG_PEEK != 0 {
            return;
        }
        match completion.result() {
            Ok(n) => self.stream().keep(self.taken(n as usize)),
            Err(error) => {
                self.stream().keep(self.taken(0));
                if !was_interrupted(completion) {
                    let error = self.stream().explain("receive from", error);
                    self.stream().keep_error(error);
                }
            }
        }
    }
}

/// Whether the receive is to wait for data before it tries: an attempt that finds nothing costs as much as one that finds
/// something. The kernels that say whether a socket has more are those that know the flag (5.19); one that has SEND_ZC (6.0)
/// is among them.
#[inline]
pub(super) fn poll_first(stream: &Stream) -> u16 {
    let knows = |core: &Core| core.supports(Opcode::SEND_ZC);
    match stream.is_drained() && runtime::with(knows) {
        true => POLL_FIRST,
        false => 0,
    }
}

impl<B: IoBufMut> fmt::Debug for Recv<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv")
            .field("stream", &self.stream())
            .field("len", &self.part.len())
            .finish_non_exhaustive()
    }
}

/// Receives so many bytes. Dropped, it loses none: the stream gives them to its next receive.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct RecvExact<B: IoBufMut> {
    stream: Rc<Stream>,
    len: usize,
    done: usize,
    /// Not there once it is ready.
    op: Option<Op<Recv<B>>>,
    /// The buffer of one that asks for no byte.
    nothing: Option<B>,
}

impl<B: IoBufMut> RecvExact<B> {
    /// Receives `len` bytes into the start of a buffer that has room for them.
    pub(crate) fn new(stream: Rc<Stream>, mut buf: B, len: usize) -> RecvExact<B> {
        let (mut op, mut nothing) = (None, None);
        if len > 0 {
            let recv = Recv::part(stream.clone(), buf, 0..len, 0, libc::MSG_WAITALL);
            op = Some(recv);
        } else {
            // SAFETY: nothing needs to be initialised for a length of zero.
            unsafe { buf.set_io_len(0) };
            nothing = Some(buf);
        }
        RecvExact {
            stream,
            len,
            done: 0,
            op,
            nothing,
        }
    }
}

/// Nothing in it is pinned (O2).
impl<B: IoBufMut> Unpin for RecvExact<B> {}

impl<B: IoBufMut> Future for RecvExact<B> {
    type Output = Result<B, BufError<B>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(buf) = self.nothing.take() {
            return Poll::Ready(Ok(buf));
        }
        loop {
            let Some(op) = &mut self.op else {
                panic!("a read was polled after it was ready")
            };
            let received = std::task::ready!(Pin::new(op).poll(context));
            self.op = None;
            let buf = match received {
                Ok((done, buf)) if done == self.len => return Poll::Ready(Ok(buf)),
                Ok((done, buf)) if done == self.done => {
                    let left = self.len - done;
                    let what = format!("the stream ended {left} bytes early");
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, what);
                    return Poll::Ready(Err(BufError::new(error, buf).with_done(done)));
                }
                Ok((done, buf)) => {
                    self.done = done;
                    buf
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.done = error.done();
                    error.into_buf()
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            let part = self.done..self.len;
            let stream = self.stream.clone();
            self.op = Some(Recv::part(stream, buf, part, 0, libc::MSG_WAITALL));
        }
    }
}

/// What the kernel has is disposed of when that is done with it; what it does not have goes back now.
impl<B: IoBufMut> Drop for RecvExact<B> {
    fn drop(&mut self) {
        if let Some(recv) = self.op.as_mut().and_then(Op::at_rest) {
            recv.give_back();
        }
    }
}

impl<B: IoBufMut> fmt::Debug for RecvExact<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvExact")
            .field("len", &self.len)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
