//! Receiving bytes from a stream.

use super::shared::{Direction, Permit, on_stream};
use super::with_permit::{HoldsPermit, WithPermit};
use crate::buf::{BufError, BufResult, IoBufMut, as_room, truncate};
use crate::op::file::{AtCursor, BYTES_MAX, mend_cursor, need_room};
use crate::op::operation::{debug_fields, operation, yields_first};
use crate::op::{
    Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream, StreamKind, check_room,
    count_read,
};
use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The operation of [`TcpStream::read`](crate::net::TcpStream::read) and its counterparts: `recv(2)`, or `read(2)` from
/// a pipe.
///
/// If it is dropped in flight, the stream keeps the bytes that still arrive, and its next receive returns them first.
pub struct Recv<B: IoBufMut> {
    permit: Permit,
    buf: B,
    /// Where the bytes go. The bytes before it were received earlier in the same loop.
    part: Range<usize>,
    flags: i32,
}

impl<B: IoBufMut> Recv<B> {
    /// Receives into the whole capacity.
    #[inline]
    pub(crate) fn new(stream: Rc<Stream>, buf: B) -> Op<Recv<B>> {
        Recv::whole(stream, buf, 0)
    }

    /// Copies the bytes that are there without consuming them.
    pub(crate) fn peek(stream: Rc<Stream>, buf: B) -> Op<Recv<B>> {
        Recv::whole(stream, buf, libc::MSG_PEEK)
    }

    #[inline]
    fn whole(stream: Rc<Stream>, buf: B, flags: i32) -> Op<Recv<B>> {
        let part = 0..buf.io_capacity();
        let check = need_room(part.len());
        let permit = Permit::new(stream, Direction::In);
        let recv = Recv {
            permit,
            buf,
            part,
            flags,
        };
        Op::checked(recv, check)
    }

    /// Receives into that part of the capacity. The bytes before it were received earlier in the same loop.
    ///
    /// Does not use MSG_WAITALL: if the connection is lost after some bytes, the kernel would return their number and
    /// never report the loss, so truncated data would look like an end of stream (measured on 6.18). Receives of 64 KiB
    /// to 16 MiB cost the same without it.
    pub(in crate::op) fn part(
        permit: Permit,
        buf: B,
        part: Range<usize>,
    ) -> Op<WithPermit<Recv<B>>> {
        assert!(part.end <= buf.io_capacity() && !part.is_empty());
        WithPermit::new(Recv {
            permit,
            buf,
            part,
            flags: 0,
        })
    }

    fn stream(&self) -> &Stream {
        self.permit.stream()
    }

    #[inline]
    fn requested(&self) -> usize {
        self.part.len().min(BYTES_MAX)
    }

    /// Takes bytes that an abandoned receive has left.
    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Readiness {
        if yields_first(waker) {
            return Readiness::Wait;
        }
        let start = self.buf.io_mut_ptr().wrapping_add(self.part.start).cast();
        // SAFETY: the part is within the capacity, which is writable and the operation's alone (L4, L5).
        let room: &mut [MaybeUninit<u8>] =
            unsafe { std::slice::from_raw_parts_mut(start, self.part.len()) };
        let stream = self.permit.stream();
        Readiness::Done(match self.flags & libc::MSG_PEEK != 0 {
            true => stream.peek_kept(room),
            false => stream.take_kept(room),
        })
    }

    /// Returns the bytes of its loop, including `n` new ones.
    fn received(&self, n: usize) -> &[u8] {
        // SAFETY: what is before the part was initialised, and `n` bytes from its start were written (L3, L4).
        unsafe { std::slice::from_raw_parts(self.buf.io_ptr(), self.part.start + n) }
    }

    fn set_len(&mut self, len: usize) {
        // SAFETY: what is before the part was initialised, and as far as `len` is in the part, the kernel or
        // `take_kept` has written it.
        unsafe { self.buf.set_io_len(len) };
    }
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation;
// the part is within its capacity. The operation holds the stream, which holds its descriptor (O5).
unsafe impl<B: IoBufMut> Operation for Recv<B> {
    operation!("recv" -> BufResult<usize, B>, lends buf);
    const EINTR_HAD_NO_EFFECT: bool = true;
    on_stream!(in);

    #[inline]
    fn entry(&mut self) -> Entry {
        let start = self.buf.io_mut_ptr().wrapping_add(self.part.start);
        let len = self.requested() as u32;
        let stream = self.stream();
        match stream.kind() {
            StreamKind::Tcp | StreamKind::Unix => {
                let entry = stream.entry(Opcode::RECV).op_flags(self.flags as u32);
                stream.recv_hint().prepare(entry)
            }
            StreamKind::Pipe => stream.entry(Opcode::READ).offset(u64::MAX),
        }
        .addr(start)
        .len(len)
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.permit
            .stream()
            .at_cursor(Direction::In, self.requested())
    }

    #[inline]
    fn complete(mut self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => {
                let n = n as usize;
                assert!(n <= self.part.len(), "the kernel read more than was lent");
                self.stream().recv_hint().note(completion);
                self.set_len(self.part.start + n);
                Ok((n, self.buf))
            }
            Err(error) => {
                let error = self.stream().with_context("receive from", error);
                self.fail(error)
            }
        }
    }

    /// The next receive returns the bytes, including those its loop had already. A peek consumes none; but the kernel
    /// reports only once why a connection was lost, even if to a peek.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
        match completion.result() {
            Ok(_) if self.flags & libc::MSG_PEEK != 0 => {}
            Ok(n) => self
                .stream()
                .take_back(self.received(n as usize), completion),
            Err(_) => {
                self.stream().keep(self.received(0));
                if !completion.was_interrupted() {
                    self.stream().keep_error(completion.raw());
                }
            }
        }
    }
}

impl<B: IoBufMut> HoldsPermit for Recv<B> {
    fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }
}

debug_fields!([B: IoBufMut] Recv<B> { permit, part });

impl Stream {
    /// Receives what is there, without waiting: first what an abandoned receive has left.
    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        need_room(buf.len())?;
        self.lock(Direction::In).check_free()?;
        let received = match self.kind() {
            _ if self.has_kept() => {
                // SAFETY: this writes bytes only.
                let room = unsafe { as_room(buf) };
                self.take_kept(room).result().map(|n| n as usize)
            }
            StreamKind::Tcp | StreamKind::Unix => {
                // SAFETY: as above.
                let room = unsafe { as_room(buf) };
                SockRef::from(self.fd()).recv_with_flags(room, libc::MSG_DONTWAIT)
            }
            StreamKind::Pipe => self.fd().descriptor().read_now(buf),
        };
        received.map_err(|error| self.tried("receive from", error))
    }
}

/// Receives `len` bytes into the start of the buffer. If dropped, it loses none: the stream's next receive returns them.
pub(crate) async fn recv_exact<B: IoBufMut>(
    stream: Rc<Stream>,
    buf: B,
    len: usize,
) -> Result<B, BufError<B>> {
    let mut buf = check_room(buf, len).await?;
    let mut permit = Permit::new(stream, Direction::In);
    let mut done = 0;
    while done < len {
        let (received, back) = Part(Recv::part(permit, buf, done..len)).await;
        permit = back;
        buf = count_read(received, &mut done, len, "stream")?;
    }
    if len == 0 {
        truncate(&mut buf, 0);
    }
    Ok(buf)
}

/// A part of [`recv_exact`], which gives back the bytes of the earlier parts if it is dropped.
struct Part<B: IoBufMut>(Op<WithPermit<Recv<B>>>);

impl<B: IoBufMut> Future for Part<B> {
    type Output = (BufResult<usize, B>, Permit);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// A receive in flight disposes of its bytes when it completes; a receive not in flight gives its bytes back now.
impl<B: IoBufMut> Drop for Part<B> {
    fn drop(&mut self) {
        if let Some(WithPermit(recv)) = self.0.at_rest() {
            recv.stream().give_back(recv.received(0));
        }
    }
}
