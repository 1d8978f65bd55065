//! Descriptors sent with bytes over a Unix socket (`unix(7)`, SCM_RIGHTS).

use super::shared::{Direction, PassedFds, Permit, on_stream};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use crate::op::datagram::MessageHeader;
use crate::op::datagram::fds_control;
use crate::op::datagram::{fds_cut, fds_room};
use crate::op::file::need_room;
use crate::op::operation::{debug_fields, operation, yields_first};
use crate::op::{Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;

/// The operation of [`UnixStream::send_with_fds`](crate::net::UnixStream::send_with_fds): `sendmsg(2)`, with the
/// descriptors attached to the first byte.
pub struct SendFds<B: IoBuf, F: AsFd + 'static> {
    permit: Permit,
    buf: B,
    /// Kept open until the operation is finished (O5).
    fds: Vec<F>,
    header: MessageHeader,
}

impl<B: IoBuf, F: AsFd + 'static> SendFds<B, F> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, fds: Vec<F>) -> Op<SendFds<B, F>> {
        let control = match fds_control(&fds) {
            Ok(control) if !control.is_empty() && buf.io_len() == 0 => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors go with bytes, and the buffer holds none",
            )),
            control => control,
        };
        let mut send = SendFds {
            permit: Permit::new(stream, Direction::Out),
            buf,
            fds,
            header: MessageHeader::new(),
        };
        match control {
            Ok(control) => {
                send.header.set(None, &control);
                Op::new(send)
            }
            Err(error) => Op::rejected(send, error),
        }
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation; the
// header is an allocation of its own. The operation holds the stream, which holds its descriptor (O5).
unsafe impl<B: IoBuf, F: AsFd + 'static> Operation for SendFds<B, F> {
    type Output = BufResult<usize, (B, Vec<F>)>;
    const NAME: &'static str = "sendmsg";
    const EINTR_HAD_NO_EFFECT: bool = true;

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.permit.stream().fd())
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        self.permit.prepare(waker).unwrap_or(Readiness::Start)
    }

    fn entry(&mut self) -> Entry {
        self.permit
            .stream()
            .entry(Opcode::SENDMSG)
            .addr(self.header.for_send(&self.buf))
            .len(1)
            .op_flags(libc::MSG_NOSIGNAL as u32)
            .try_direct()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, (self.buf, self.fds))),
            Err(error) => {
                let error = self.permit.stream().with_context("send to", error);
                self.fail(error)
            }
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, (self.buf, self.fds)))
    }

    /// What an abandoned send has sent is unknown.
    fn dispose(&mut self, _: Completion) {}
}

/// The operation of [`UnixStream::recv_with_fds`](crate::net::UnixStream::recv_with_fds): `recvmsg(2)`.
///
/// If it is dropped in flight, the stream keeps the bytes and descriptors that still arrive, and its next receive
/// returns them first.
pub struct RecvFds<B: IoBufMut> {
    permit: Permit,
    buf: B,
    /// How many descriptors it accepts at most.
    max: usize,
    header: MessageHeader,
    /// The descriptors kept from an abandoned receive.
    kept: PassedFds,
}

impl<B: IoBufMut> RecvFds<B> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, max: usize) -> Op<RecvFds<B>> {
        let check = need_room(buf.io_capacity());
        let recv = RecvFds {
            permit: Permit::new(stream, Direction::In),
            buf,
            max,
            header: MessageHeader::new(),
            kept: PassedFds::default(),
        };
        Op::checked(recv, check)
    }

    /// Takes the descriptors of the completion and those that were kept.
    ///
    /// # Safety
    ///
    /// The completion has arrived, and this is called once for it.
    unsafe fn take_passed(&mut self) -> PassedFds {
        let mut passed = mem::take(&mut self.kept);
        // SAFETY: the caller promises it. If the kernel was not needed, there is no ancillary data.
        passed.fds.extend(unsafe { self.header.fds() });
        passed.is_cut |= self.header.flags() & libc::MSG_CTRUNC != 0;
        passed
    }

    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Readiness {
        if yields_first(waker) {
            return Readiness::Wait;
        }
        let start = self.buf.io_mut_ptr().cast();
        // SAFETY: the capacity is writable and the operation's alone (L4, L5).
        let room = unsafe { std::slice::from_raw_parts_mut(start, self.buf.io_capacity()) };
        // Before the last of their bytes is taken, which closes them.
        self.kept = self.permit.stream().take_passed();
        Readiness::Done(self.permit.stream().take_kept(room))
    }
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation.
// The header is an allocation of its own. The operation holds the stream, which holds its descriptor (O5). Each
// descriptor that a completion brings is taken once: by `complete` or by `dispose`.
unsafe impl<B: IoBufMut> Operation for RecvFds<B> {
    operation!("recvmsg" -> BufResult<(usize, Vec<OwnedFd>), B>, lends buf);
    const EINTR_HAD_NO_EFFECT: bool = true;
    on_stream!(in);

    fn entry(&mut self) -> Entry {
        self.header.make_room(fds_room(self.max));
        let header = self.header.for_receive(&mut self.buf);
        let stream = self.permit.stream();
        let entry = stream
            .entry(Opcode::RECVMSG)
            .addr(header)
            .len(1)
            .op_flags(libc::MSG_CMSG_CLOEXEC as u32);
        stream.recv_hint().prepare(entry)
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let n = match completion.result() {
            Ok(n) => n as usize,
            Err(error) => {
                let error = self.permit.stream().with_context("receive from", error);
                return self.fail(error);
            }
        };
        self.permit.stream().recv_hint().note(completion);
        // SAFETY: it is completed once.
        let passed = unsafe { self.take_passed() };
        // SAFETY: the kernel, or `take_kept`, has written this many bytes from the start.
        unsafe { self.buf.set_io_len(n) };
        match passed.is_cut || passed.fds.len() > self.max {
            true => Err(BufError::new(fds_cut(self.max), self.buf).with_transferred(n)),
            false => Ok(((n, passed.fds), self.buf)),
        }
    }

    /// The next receive returns the bytes and the descriptors.
    fn dispose(&mut self, completion: Completion) {
        match completion.result() {
            Ok(n) => {
                // SAFETY: it is disposed of once, and not completed then.
                let passed = unsafe { self.take_passed() };
                // SAFETY: the kernel, or `take_kept`, has written this many bytes from the start.
                let bytes = unsafe { std::slice::from_raw_parts(self.buf.io_ptr(), n as usize) };
                self.permit.stream().keep_passed(passed);
                self.permit.stream().take_back(bytes, completion);
            }
            Err(_) if completion.was_interrupted() => {}
            Err(_) => self.permit.stream().keep_error(completion.raw()),
        }
    }
}

debug_fields!([B: IoBuf, F: AsFd + 'static] SendFds<B, F> { permit });

debug_fields!([B: IoBufMut] RecvFds<B> { permit, max });
