//! Sending bytes on a stream.

use super::shared::StreamPermit;
use super::with_permit::{HoldsPermit, WithPermit};
use crate::buf::{BufError, BufResult, IoBuf, Lend, Part, Vectored};
use crate::op::datagram::{Header, MessageHeader};
use crate::op::fd::Lane;
use crate::op::file::{AtCursor, mend_cursor};
use crate::op::operation::{debug_fields, operation};
use crate::op::{
    Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream, StreamKind,
    count_written,
};
use crate::runtime::proceed_with;
use crate::sys::{counted, limit};
use socket2::SockRef;
use std::fmt;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::Waker;

/// The operation of [`TcpStream::write`](crate::net::TcpStream::write) and its counterparts: `send(2)`, or `write(2)`
/// into a pipe. If the peer is gone, returns an error, without SIGPIPE.
pub type Send<B> = StreamSend<Part<B>>;

/// The operation of [`TcpStream::write_vectored`](crate::net::TcpStream::write_vectored) and its counterparts:
/// `sendmsg(2)`, or `writev(2)` into a pipe.
pub type SendVectored<B> = StreamSend<Vectored<B>, MessageHeader>;

/// Sends what it lends, or as much of it as one call takes.
pub struct StreamSend<L: Lend, H: Header = ()> {
    permit: StreamPermit,
    pub(super) lent: L,
    pub(super) header: H,
    flags: i32,
}

impl<L: Lend, H: Header> StreamSend<L, H> {
    /// Sends all the bytes that the buffers contain.
    #[inline]
    pub(crate) fn new(stream: Rc<Stream>, bufs: L::Bufs) -> Op<StreamSend<L, H>> {
        Op::new(StreamSend::build(stream, bufs))
    }

    #[inline]
    pub(super) fn build(stream: Rc<Stream>, bufs: L::Bufs) -> StreamSend<L, H> {
        StreamSend {
            permit: StreamPermit::new(stream, Lane::Out),
            lent: L::contents(bufs),
            header: H::default(),
            flags: libc::MSG_NOSIGNAL,
        }
    }

    fn stream(&self) -> &Stream {
        self.permit.shared()
    }
}

// SAFETY: the memory is lent by the contract of `Lend`; a header is an allocation of its own. The operation holds the
// stream, which holds its descriptor (O5).
unsafe impl<L: Lend, H: Header> Operation for StreamSend<L, H> {
    operation!(if L::IS_VECTORED { "sendmsg" } else { "send" }, lends lent -> BufResult<usize, L::Bufs>);
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
        self.permit.prepare(waker).unwrap_or(Readiness::Start)
    }

    #[inline]
    fn entry(&mut self) -> Entry {
        let (start, len) = (self.lent.addr(), self.lent.entry_len());
        let stream = self.permit.shared();
        if stream.kind() == StreamKind::Pipe {
            let opcode = L::either(Opcode::WRITE, Opcode::WRITEV);
            return stream.entry(opcode).offset(u64::MAX).addr(start).len(len);
        }
        let header = self.header.message(start, len, L::IS_VECTORED);
        match header.is_null() {
            true => stream.entry(Opcode::SEND).addr(start).len(len),
            false => stream.entry(Opcode::SENDMSG).addr(header).len(1),
        }
        .op_flags(self.flags as u32)
        .try_direct()
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.stream().at_cursor(true, self.lent.requested())
    }

    #[inline]
    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Err(error) => {
                let error = self.stream().with_context("send to", error);
                self.fail(error)
            }
            sent => self.lent.give_back(sent),
        }
    }

    /// What an abandoned send has sent is unknown.
    fn dispose(&mut self, completion: Completion) {
        mend_cursor(self, completion);
    }
}

impl<L: Lend, H: Header> HoldsPermit for StreamSend<L, H> {
    fn permit(&mut self) -> &mut StreamPermit {
        &mut self.permit
    }
}

debug_fields!([L: Lend, H: Header] StreamSend<L, H> { permit, lent });

impl<B: IoBuf> Send<B> {
    /// Sends that part of the bytes that the buffer holds: all of it, unless interrupted.
    #[inline]
    fn part(permit: StreamPermit, buf: B, part: Range<usize>) -> Op<WithPermit<Send<B>>> {
        WithPermit::new(StreamSend {
            permit,
            lent: Part::of_contents(buf, part),
            header: (),
            flags: libc::MSG_NOSIGNAL | libc::MSG_WAITALL,
        })
    }
}

impl Stream {
    /// Sends as much as there is room for, without waiting.
    pub(crate) fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.lock(Lane::Out).check_free()?;
        let sent = match self.kind() {
            StreamKind::Tcp | StreamKind::Unix => {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                SockRef::from(self.fd()).send_with_flags(buf, flags)
            }
            StreamKind::Pipe => self.fd().descriptor().write_now(buf),
        };
        sent.map_err(|error| self.with_context("send to", error))
    }
}

/// Sends all the bytes that the buffer holds; other sends come before or after them.
pub(crate) async fn send_all<B: IoBuf>(stream: Rc<Stream>, mut buf: B) -> Result<B, BufError<B>> {
    let len = buf.io_len();
    if len == 0 {
        return proceed_with(buf).await;
    }
    // The permit goes from part to part. A closure for `write_in_loop` would have to hold it, and moves more.
    let mut permit = StreamPermit::new(stream, Lane::Out);
    let mut done = 0;
    while done < len {
        let (sent, back) = Send::part(permit, buf, done..len).await;
        permit = back;
        buf = count_written(sent, &mut done)?;
    }
    Ok(buf)
}

/// The operation of [`TcpStream::write_zero_copy`](crate::net::TcpStream::write_zero_copy): `IORING_OP_SEND_ZC` (Linux
/// 6.0). Completes when the kernel has finished with the buffer, which on TCP is when the peer has acknowledged the
/// bytes.
///
/// The buffer's pages count against `RLIMIT_MEMLOCK`. If not all of the bytes fit, fewer are sent.
pub struct SendZeroCopy<B: IoBuf>(Send<B>);

/// Below this size, fewer bytes do not lock fewer pages: the kernel counts the pages within the bytes, plus two.
const LOCKED_MIN: usize = 4096;

impl<B: IoBuf> SendZeroCopy<B> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B) -> Op<SendZeroCopy<B>> {
        Op::new(SendZeroCopy(StreamSend::build(stream, buf)))
    }
}

// SAFETY: as of `Send`. The kernel reads the buffer until the notification, which is the last completion; the first one
// is the result. Where the first fails before anything was lent it may be the only one.
unsafe impl<B: IoBuf> Operation for SendZeroCopy<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "send_zc";

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        self.0.shared_fd()
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        self.0.prepare(waker)
    }

    fn entry(&mut self) -> Entry {
        let entry = self.0.stream().entry(Opcode::SEND_ZC);
        let entry = entry.addr(self.0.lent.addr()).len(self.0.lent.entry_len());
        entry.op_flags(self.0.flags as u32)
    }

    /// The kernel does not report how much may still be locked: it returns ENOMEM before it sends anything.
    fn should_retry(&mut self, completion: Completion) -> bool {
        let can_be_less = self.0.lent.bytes() >= LOCKED_MIN;
        let again = completion.raw() == -libc::ENOMEM && can_be_less;
        if again {
            self.0.lent.halve();
        }
        again
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Err(error) if completion.raw() == -libc::ENOMEM => {
                let what = format!(
                    "send {} without a copy (they count against RLIMIT_MEMLOCK, here {}: raise it with ulimit -l, or \
                     use write) to",
                    counted(self.0.lent.buf().io_len(), "byte"),
                    limit(libc::RLIMIT_MEMLOCK, "bytes"),
                );
                let error = self.0.stream().with_context(&what, error);
                self.fail(error)
            }
            _ => self.0.complete(completion),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        self.0.fail(error)
    }

    fn had_no_effect(&self, completion: Completion) -> bool {
        completion.was_interrupted() || completion.raw() == -libc::ENOMEM
    }

    fn dispose(&mut self, _: Completion) {}
}

impl<B: IoBuf> fmt::Debug for SendZeroCopy<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendZeroCopy").field(&self.0).finish()
    }
}
