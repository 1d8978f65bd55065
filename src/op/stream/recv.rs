//! Receiving bytes from a stream.

use super::shared::StreamPermit;
use super::with_permit::{HoldsPermit, WithPermit};
use crate::buf::{
    BYTES_MAX, BufError, BufResult, IoBufMut, LendMut, Part, Vectored, as_room, need_room, truncate,
};
use crate::op::datagram::{Header, MessageHeader};
use crate::op::fd::Lane;
use crate::op::file::{AtCursor, mend_cursor};
use crate::op::operation::{debug_fields, operation};
use crate::op::{
    Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream, StreamKind, check_room,
    count_read,
};
use crate::runtime::poll_coop_budget;
use socket2::SockRef;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The operation of [`TcpStream::read`](crate::net::TcpStream::read) and its counterparts: `recv(2)`, or `read(2)` from
/// a pipe.
///
/// If it is dropped in flight, the stream keeps the bytes that still arrive, and its next receive returns them first.
pub type Recv<B> = StreamRecv<Part<B>>;

/// The operation of [`TcpStream::read_vectored`](crate::net::TcpStream::read_vectored) and its counterparts:
/// `recvmsg(2)`, or `readv(2)` from a pipe.
///
/// If it is dropped in flight, the stream keeps the bytes that still arrive, and its next receive returns them first.
pub type RecvVectored<B> = StreamRecv<Vectored<B>, MessageHeader>;

/// Receives into what it lends.
pub struct StreamRecv<L: LendMut, H: Header = ()> {
    permit: StreamPermit,
    pub(super) lent: L,
    pub(super) header: H,
    flags: i32,
}

impl<L: LendMut, H: Header> StreamRecv<L, H> {
    /// Receives into the whole capacity.
    #[inline]
    pub(crate) fn new(stream: Rc<Stream>, bufs: L::Bufs) -> Op<StreamRecv<L, H>> {
        StreamRecv::with_flags(stream, bufs, 0)
    }

    /// Copies the bytes that are there without consuming them.
    pub(crate) fn peek(stream: Rc<Stream>, bufs: L::Bufs) -> Op<StreamRecv<L, H>> {
        StreamRecv::with_flags(stream, bufs, libc::MSG_PEEK)
    }

    #[inline]
    fn with_flags(stream: Rc<Stream>, bufs: L::Bufs, flags: i32) -> Op<StreamRecv<L, H>> {
        let lent = L::room(bufs);
        let check = need_room(lent.bytes());
        let permit = StreamPermit::new(stream, Lane::In);
        Op::checked(StreamRecv::build(permit, lent, flags), check)
    }

    #[inline]
    pub(super) fn build(permit: StreamPermit, lent: L, flags: i32) -> StreamRecv<L, H> {
        StreamRecv {
            permit,
            lent,
            header: H::default(),
            flags,
        }
    }

    #[inline]
    pub(super) fn stream(&self) -> &Stream {
        self.permit.shared()
    }

    /// Prepares the receive, and calls `takes_kept` before it takes what an abandoned receive has left.
    #[inline]
    pub(super) fn prepare_with(
        &mut self,
        waker: &Waker,
        takes_kept: impl FnOnce(&Stream),
    ) -> Readiness {
        match self.permit.prepare(waker) {
            Some(not_yet) => not_yet,
            None if self.stream().has_kept() => self.take_kept(waker, takes_kept),
            None => Readiness::Start,
        }
    }

    /// Takes bytes that an abandoned receive has left: as many as there are and as fit.
    #[cold]
    fn take_kept(&mut self, waker: &Waker, takes_kept: impl FnOnce(&Stream)) -> Readiness {
        if poll_coop_budget(waker).is_pending() {
            return Readiness::Wait;
        }
        let stream = self.permit.shared();
        takes_kept(stream);
        let mut taken = 0;
        // SAFETY: the kernel does not have the operation, and the stream writes bytes.
        for room in unsafe { self.lent.rooms() } {
            if self.flags & libc::MSG_PEEK != 0 {
                return Readiness::Done(stream.peek_kept(room));
            }
            // As many as one system call would return. An error is returned on its own.
            let len = room.len().min(BYTES_MAX - taken as usize);
            if len == 0 || taken > 0 && !stream.has_kept_bytes() {
                continue;
            }
            let more = stream.take_kept(&mut room[..len]);
            if more.result().is_err() {
                return Readiness::Done(more);
            }
            taken += more.raw();
        }
        Readiness::Done(Completion::at_once(taken))
    }
}

// SAFETY: the memory is lent by the contract of `LendMut`; a header is an allocation of its own. The operation holds the
// stream, which holds its descriptor (O5).
unsafe impl<L: LendMut, H: Header> Operation for StreamRecv<L, H> {
    operation!(if L::IS_VECTORED { "recvmsg" } else { "recv" }, lends lent -> BufResult<usize, L::Bufs>);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.stream().fd())
    }

    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Readiness {
        self.prepare_with(waker, |_| {})
    }

    #[inline]
    fn entry(&mut self) -> Entry {
        let (start, len) = (self.lent.addr_mut(), self.lent.entry_len());
        let stream = self.permit.shared();
        if stream.kind() == StreamKind::Pipe {
            let opcode = L::either(Opcode::READ, Opcode::READV);
            return stream.entry(opcode).offset(u64::MAX).addr(start).len(len);
        }
        let header = self.header.message(start, len, L::IS_VECTORED);
        let entry = match header.is_null() {
            true => stream.entry(Opcode::RECV).addr(start).len(len),
            false => stream.entry(Opcode::RECVMSG).addr(header).len(1),
        };
        stream
            .recv_hint()
            .prepare(entry.op_flags(self.flags as u32))
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.stream().at_cursor(false, self.lent.requested())
    }

    #[inline]
    fn complete(mut self, completion: Completion) -> Self::Output {
        let received = completion.result();
        match received {
            Ok(n) => {
                self.stream().recv_hint().note(completion);
                // SAFETY: the kernel, or `take_kept`, has written that many bytes, in order.
                unsafe { self.lent.set_filled(n as usize) };
                self.lent.give_back(received)
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
        let stream = self.permit.shared();
        let received = completion.result();
        // SAFETY: the kernel, or `take_kept`, has written that many bytes, in order.
        let bytes = unsafe {
            self.lent
                .received(*received.as_ref().unwrap_or(&0) as usize)
        };
        match received {
            Ok(_) if self.flags & libc::MSG_PEEK != 0 => {}
            Ok(_) => stream.take_back(&bytes, completion),
            Err(_) => {
                stream.keep(&bytes);
                if !completion.was_interrupted() {
                    stream.keep_error(completion.raw());
                }
            }
        }
    }
}

impl<L: LendMut, H: Header> HoldsPermit for StreamRecv<L, H> {
    fn permit(&mut self) -> &mut StreamPermit {
        &mut self.permit
    }
}

debug_fields!([L: LendMut, H: Header] StreamRecv<L, H> { permit, lent });

impl<B: IoBufMut> Recv<B> {
    /// Receives into that part of the capacity. The bytes before it were received earlier in the same loop.
    ///
    /// Does not use MSG_WAITALL: if the connection is lost after some bytes, the kernel would return their number and
    /// never report the loss, so truncated data would look like an end of stream (measured on 6.18). Receives of 64 KiB
    /// to 16 MiB cost the same without it.
    pub(in crate::op) fn part(
        permit: StreamPermit,
        buf: B,
        part: Range<usize>,
    ) -> Op<WithPermit<Recv<B>>> {
        WithPermit::new(StreamRecv::build(permit, Part::of_room(buf, part), 0))
    }
}

impl Stream {
    /// Receives what is there, without waiting: first what an abandoned receive has left.
    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        need_room(buf.len())?;
        self.lock(Lane::In).check_free()?;
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
        received.map_err(|error| self.with_context("receive from", error))
    }
}

/// Receives `len` bytes into the start of the buffer. If dropped, it loses none: the stream's next receive returns them.
pub(crate) async fn recv_exact<B: IoBufMut>(
    stream: Rc<Stream>,
    buf: B,
    len: usize,
) -> Result<B, BufError<B>> {
    let mut buf = check_room(buf, len).await?;
    let mut permit = StreamPermit::new(stream, Lane::In);
    let mut done = 0;
    while done < len {
        let (received, back) = LoopPart(Recv::part(permit, buf, done..len)).await;
        permit = back;
        buf = count_read(received, &mut done, len, "stream")?;
    }
    // Some buffers have kept the length that they had.
    truncate(&mut buf, len);
    Ok(buf)
}

/// A part of [`recv_exact`], which gives back the bytes of the earlier parts if it is dropped.
struct LoopPart<B: IoBufMut>(Op<WithPermit<Recv<B>>>);

impl<B: IoBufMut> Future for LoopPart<B> {
    type Output = (BufResult<usize, B>, StreamPermit);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// A receive in flight disposes of its bytes when it completes; a receive not in flight gives its bytes back now.
impl<B: IoBufMut> Drop for LoopPart<B> {
    fn drop(&mut self) {
        if let Some(WithPermit(recv)) = self.0.at_rest() {
            // SAFETY: nothing is claimed to have been written.
            let earlier = unsafe { recv.lent.received(0) };
            recv.permit.shared().give_back(&earlier);
        }
    }
}
