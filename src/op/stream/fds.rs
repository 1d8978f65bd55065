//! Descriptors sent with bytes over a Unix socket (`unix(7)`, SCM_RIGHTS).

use super::recv::StreamRecv;
use super::send::StreamSend;
use super::shared::{PassedFds, StreamPermit};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut, Lend, LendMut, Part, need_room};
use crate::op::datagram::{MessageHeader, WithFds, fds_control, fds_cut, fds_room};
use crate::op::fd::Lane;
use crate::op::operation::debug_fields;
use crate::op::{Completion, Entry, Op, Operation, Readiness, SharedFd, Stream};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;

/// The operation of [`UnixStream::send_with_fds`](crate::net::UnixStream::send_with_fds): `sendmsg(2)`, with the
/// descriptors attached to the first byte.
pub type SendFds<B, F> = WithFds<StreamSend<Part<B>, MessageHeader>, F>;

impl<B: IoBuf, F: AsFd + 'static> SendFds<B, F> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, fds: Vec<F>) -> Op<SendFds<B, F>> {
        let is_empty = buf.io_len() == 0;
        let mut send: StreamSend<Part<B>, MessageHeader> = StreamSend::build(stream, buf);
        let check = match fds_control(&fds) {
            Ok(control) if is_empty && !control.is_empty() => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors go with bytes, and the buffer holds none",
            )),
            control => control.map(|control| send.header.set(None, &control)),
        };
        Op::checked(WithFds { send, fds }, check)
    }
}

/// The operation of [`UnixStream::recv_with_fds`](crate::net::UnixStream::recv_with_fds): `recvmsg(2)`.
///
/// If it is dropped in flight, the stream keeps the bytes and descriptors that still arrive, and its next receive
/// returns them first.
pub struct RecvFds<B: IoBufMut> {
    recv: StreamRecv<Part<B>, MessageHeader>,
    /// How many descriptors it accepts at most.
    max: usize,
    /// The descriptors kept from an abandoned receive.
    kept: PassedFds,
}

impl<B: IoBufMut> RecvFds<B> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, max: usize) -> Op<RecvFds<B>> {
        let permit = StreamPermit::new(stream, Lane::In);
        let recv = StreamRecv::build(permit, Part::room(buf), libc::MSG_CMSG_CLOEXEC);
        let check = need_room(recv.lent.bytes());
        let kept = PassedFds::default();
        Op::checked(RecvFds { recv, max, kept }, check)
    }

    /// Takes the descriptors of the completion and those that were kept.
    ///
    /// # Safety
    ///
    /// The completion has arrived, and this is called once for it.
    unsafe fn take_passed(&mut self) -> PassedFds {
        let mut passed = mem::take(&mut self.kept);
        // SAFETY: the caller promises it. If the kernel was not needed, there is no ancillary data.
        passed.fds.extend(unsafe { self.recv.header.fds() });
        passed.is_cut |= self.recv.header.flags() & libc::MSG_CTRUNC != 0;
        passed
    }
}

// SAFETY: the receive keeps the promises about memory. Each descriptor that a completion brings is taken once: by
// `complete` or by `dispose`.
unsafe impl<B: IoBufMut> Operation for RecvFds<B> {
    type Output = BufResult<(usize, Vec<OwnedFd>), B>;
    const NAME: &'static str = "recvmsg";
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        self.recv.shared_fd()
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        // Before the last of their bytes is taken, which closes them.
        let take_passed = |stream: &Stream| self.kept = stream.take_passed();
        self.recv.prepare_with(waker, take_passed)
    }

    fn entry(&mut self) -> Entry {
        self.recv.header.make_room(fds_room(self.max));
        self.recv.entry()
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        // SAFETY: it is completed once.
        let passed = unsafe { self.take_passed() };
        let (n, buf) = self.recv.complete(completion)?;
        match passed.is_cut || passed.fds.len() > self.max {
            true => Err(BufError::new(fds_cut(self.max), buf).with_transferred(n)),
            false => Ok(((n, passed.fds), buf)),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.recv.lent.into_bufs()))
    }

    /// The next receive returns the bytes and the descriptors.
    fn dispose(&mut self, completion: Completion) {
        if completion.result().is_ok() {
            // SAFETY: it is disposed of once, and not completed then.
            let passed = unsafe { self.take_passed() };
            self.recv.stream().keep_passed(passed);
        }
        self.recv.dispose(completion);
    }
}

debug_fields!([B: IoBufMut] RecvFds<B> { recv, max });
