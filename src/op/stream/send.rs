//! Sending bytes on a stream.

use super::shared::{Direction, Permit, on_stream};
use super::with_permit::{HoldsPermit, WithPermit};
use crate::buf::{BufError, BufResult, IoBuf};
use crate::op::file::{AtCursor, BYTES_MAX};
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
pub struct Send<B: IoBuf> {
    permit: Permit,
    buf: B,
    part: Range<usize>,
    flags: i32,
}

impl<B: IoBuf> Send<B> {
    /// Sends the bytes that the buffer holds, or as many as one call takes.
    #[inline]
    pub(crate) fn new(stream: Rc<Stream>, buf: B) -> Op<Send<B>> {
        let part = 0..buf.io_len();
        let permit = Permit::new(stream, Direction::Out);
        Op::new(Send {
            permit,
            buf,
            part,
            flags: libc::MSG_NOSIGNAL,
        })
    }

    /// Sends that part of the bytes that the buffer holds: all of it, unless interrupted.
    fn part(permit: Permit, buf: B, part: Range<usize>) -> Op<WithPermit<Send<B>>> {
        assert!(part.end <= buf.io_len() && part.start <= part.end);
        WithPermit::new(Send {
            permit,
            buf,
            part,
            flags: libc::MSG_NOSIGNAL | libc::MSG_WAITALL,
        })
    }

    fn stream(&self) -> &Stream {
        self.permit.stream()
    }

    fn entry_of(&self, opcode: Opcode) -> Entry {
        self.stream()
            .entry(opcode)
            .addr(self.buf.io_ptr().wrapping_add(self.part.start))
            .len(self.requested() as u32)
    }

    #[inline]
    fn requested(&self) -> usize {
        self.part.len().min(BYTES_MAX)
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation; the
// part is within its length. The operation holds the stream, which holds its descriptor (O5).
unsafe impl<B: IoBuf> Operation for Send<B> {
    operation!("send" -> BufResult<usize, B>, lends buf);
    const EINTR_HAD_NO_EFFECT: bool = true;
    on_stream!(out buf);

    #[inline]
    fn entry(&mut self) -> Entry {
        match self.stream().kind() {
            StreamKind::Tcp | StreamKind::Unix => {
                let entry = self.entry_of(Opcode::SEND).op_flags(self.flags as u32);
                entry.try_direct()
            }
            StreamKind::Pipe => self.entry_of(Opcode::WRITE).offset(u64::MAX),
        }
    }

    #[inline]
    fn at_cursor(&self) -> Option<AtCursor<'_>> {
        self.permit
            .stream()
            .at_cursor(Direction::Out, self.requested())
    }
}

impl<B: IoBuf> HoldsPermit for Send<B> {
    fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }
}

impl Stream {
    /// Sends as much as there is room for, without waiting.
    pub(crate) fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.lock(Direction::Out).check_free()?;
        let sent = match self.kind() {
            StreamKind::Tcp | StreamKind::Unix => {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                SockRef::from(self.fd()).send_with_flags(buf, flags)
            }
            StreamKind::Pipe => self.fd().descriptor().write_now(buf),
        };
        sent.map_err(|error| self.tried("send to", error))
    }
}

/// Sends all the bytes that the buffer holds; other sends come before or after them.
pub(crate) async fn send_all<B: IoBuf>(stream: Rc<Stream>, mut buf: B) -> Result<B, BufError<B>> {
    let len = buf.io_len();
    if len == 0 {
        return proceed_with(buf).await;
    }
    let mut permit = Permit::new(stream, Direction::Out);
    let mut done = 0;
    while done < len {
        let (sent, back) = Send::part(permit, buf, done..len).await;
        permit = back;
        buf = count_written(sent, &mut done)?;
    }
    Ok(buf)
}

debug_fields!([B: IoBuf] Send<B> { permit, part });

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
        let len = buf.io_len();
        Op::new(SendZeroCopy(Send {
            permit: Permit::new(stream, Direction::Out),
            buf,
            part: 0..len,
            flags: libc::MSG_NOSIGNAL,
        }))
    }
}

// SAFETY: as of `Send`. The kernel reads the buffer until the notification, which is the last completion; the first one
// is the result. Where the first fails before anything was lent it may be the only one.
unsafe impl<B: IoBuf> Operation for SendZeroCopy<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "send_zc";

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.0.permit.stream().fd())
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        self.0.prepare(waker)
    }

    fn entry(&mut self) -> Entry {
        let flags = self.0.flags as u32;
        self.0.entry_of(Opcode::SEND_ZC).op_flags(flags)
    }

    /// The kernel does not report how much may still be locked: it returns ENOMEM before it sends anything.
    fn should_retry(&mut self, completion: Completion) -> bool {
        let part = &mut self.0.part;
        let can_be_less = part.len() >= LOCKED_MIN;
        let again = completion.raw() == -libc::ENOMEM && can_be_less;
        if again {
            part.end -= part.len() / 2;
        }
        again
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Err(error) if completion.raw() == -libc::ENOMEM => {
                let what = format!(
                    "send {} without a copy (they count against RLIMIT_MEMLOCK, here {}: raise it with ulimit -l, or \
                     use write) to",
                    counted(self.0.buf.io_len(), "byte"),
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
