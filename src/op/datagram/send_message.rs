//! Sending datagrams, with addresses and ancillary data.

use super::control::fds_control;
use super::header::MessageHeader;
use super::shared::{DatagramPermit, DatagramPermitKind};
use crate::buf::{BufError, BufResult, IoBuf};
use crate::op::file::BYTES_MAX;
use crate::op::operation::{debug_fields, forward_operation, operation};
use crate::op::{
    Completion, Datagrams, Entry, Op, Opcode, Operation, PollAdd, Readiness, SharedFd,
};
use socket2::{SockAddr, SockRef};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The operation of [`UdpSocket::send_to`](crate::net::UdpSocket::send_to) and the other methods that send datagrams:
/// `sendmsg(2)`, or `send(2)` if there is neither an address nor ancillary data.
// The kernel is asked not to wait, and the operation waits for room by itself: when a send on a Unix socket has to
// wait, the kernel has already taken the bytes out of the request, and its next attempt sends an empty datagram (seen
// on 6.18).
pub struct SendMessage<B: IoBuf> {
    permit: DatagramPermit,
    buf: B,
    /// It must wait before it is submitted: for its address, or for room, if there was none.
    must_wait: bool,
    wait: Option<Wait>,
}

/// The wait until a datagram can be sent, which also returns the address if that had to be looked up. On the heap,
/// because most sends do not need it.
type Wait = Pin<Box<dyn Future<Output = io::Result<Option<SockAddr>>>>>;

impl<B: IoBuf> SendMessage<B> {
    /// Sends the bytes that the buffer holds, to that address or to the connected peer.
    pub(crate) fn new(
        socket: Rc<Datagrams>,
        buf: B,
        to: Option<&SockAddr>,
        control: &[u8],
    ) -> Op<SendMessage<B>> {
        Op::new(SendMessage::build(socket, buf, to, control))
    }

    /// Sends the bytes that the buffer holds, to an address that is still to be looked up.
    pub(crate) fn after_lookup(
        socket: Rc<Datagrams>,
        buf: B,
        address: impl Future<Output = io::Result<SockAddr>> + 'static,
    ) -> Op<SendMessage<B>> {
        Op::new(SendMessage {
            permit: DatagramPermit::new(socket, DatagramPermitKind::ToAddress),
            buf,
            must_wait: true,
            wait: Some(Box::pin(async { address.await.map(Some) })),
        })
    }

    fn build(
        socket: Rc<Datagrams>,
        buf: B,
        to: Option<&SockAddr>,
        control: &[u8],
    ) -> SendMessage<B> {
        let kind = match to {
            Some(_) => DatagramPermitKind::ToAddress,
            None => DatagramPermitKind::ToPeer,
        };
        let mut permit = DatagramPermit::new(socket, kind);
        if to.is_some() || !control.is_empty() {
            permit.take_header().set(to, control);
        }
        SendMessage {
            permit,
            buf,
            must_wait: false,
            wait: None,
        }
    }

    /// Fails without sending: the request is invalid.
    pub(crate) fn rejected(socket: Rc<Datagrams>, buf: B, error: io::Error) -> Op<SendMessage<B>> {
        let send = SendMessage::build(socket, buf, None, &[]);
        Op::rejected(send, error)
    }

    #[cold]
    fn wait(&mut self, waker: &Waker) -> Readiness {
        let mut wait = match self.wait.take() {
            Some(wait) => wait,
            None => match self.permit.socket().writable_fd(self.address().as_ref()) {
                Ok(fd) => Box::pin(async { PollAdd::writable(fd).await.map(|()| None) }),
                Err(error) => return Readiness::Failed(error),
            },
        };
        match wait.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Pending => {
                self.wait = Some(wait);
                self.permit.wait_for_close(waker);
                Readiness::Wait
            }
            Poll::Ready(Err(error)) => Readiness::Failed(error),
            Poll::Ready(Ok(found)) => {
                if found.is_some() {
                    self.permit.take_header().set(found.as_ref(), &[]);
                }
                self.must_wait = false;
                Readiness::Start
            }
        }
    }

    fn address(&self) -> Option<SockAddr> {
        let header = self.permit.header();
        header
            .filter(|_| self.permit.kind() == DatagramPermitKind::ToAddress)
            .map(MessageHeader::address)
    }

    fn with_context(&self, error: io::Error) -> io::Error {
        let (len, to) = (self.buf.io_len(), self.address());
        self.permit.socket().send_failed(len, to.as_ref(), error)
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation; the
// header is an allocation of its own. The operation holds the socket, which holds its descriptor (O5).
unsafe impl<B: IoBuf> Operation for SendMessage<B> {
    operation!("sendmsg" -> BufResult<usize, B>, lends buf);

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.permit.socket().fd())
    }

    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Readiness {
        if let Some(not_yet) = self.permit.prepare(waker) {
            return not_yet;
        }
        match self.must_wait {
            true => self.wait(waker),
            false => Readiness::Start,
        }
    }

    fn entry(&mut self) -> Entry {
        let opcode = match self.permit.header() {
            Some(_) => Opcode::SENDMSG,
            None => Opcode::SEND,
        };
        let entry = self.permit.socket().entry(opcode);
        let entry = match self.permit.header_mut() {
            Some(header) => entry.addr(header.for_send(&self.buf)).len(1),
            None => entry
                .addr(self.buf.io_ptr())
                .len(self.buf.io_len().min(BYTES_MAX) as u32),
        };
        entry
            .op_flags((libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32)
            .try_direct()
    }

    fn should_retry(&mut self, completion: Completion) -> bool {
        self.must_wait = completion.raw() == -libc::EAGAIN;
        self.must_wait
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, self.buf)),
            Err(error) => {
                let error = self.with_context(error);
                self.fail(error)
            }
        }
    }

    fn had_no_effect(&self, completion: Completion) -> bool {
        completion.was_interrupted() || completion.raw() == -libc::EAGAIN
    }

    /// Whether an abandoned send was sent is unknown. But the kernel reports a rejection of an earlier datagram only
    /// once, to the next operation, so that error is kept.
    fn dispose(&mut self, completion: Completion) {
        if completion.raw() == -libc::ECONNREFUSED
            && let Err(error) = completion.result()
        {
            let error = self
                .permit
                .socket()
                .with_context("receive from", None, error);
            self.permit.socket().keep(Err(error));
        }
    }
}

impl Datagrams {
    /// Sends a datagram to that address or to the connected peer, without waiting.
    pub(crate) fn try_send(&self, buf: &[u8], to: Option<&SockAddr>) -> io::Result<usize> {
        let socket = SockRef::from(self.fd());
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = match to {
            Some(to) => socket.send_to_with_flags(buf, to, flags),
            None => {
                self.lock(DatagramPermitKind::ToPeer).check_free()?;
                socket.send_with_flags(buf, flags)
            }
        };
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => error,
            _ => self.send_failed(buf.len(), to, error),
        })
    }
}

/// The operation of [`UnixDatagram::send_with_fds`](crate::net::UnixDatagram::send_with_fds): `sendmsg(2)`, SCM_RIGHTS.
pub struct SendMessageFds<B: IoBuf, F: AsFd + 'static> {
    send: SendMessage<B>,
    /// Kept open until the kernel has taken them over (O5).
    fds: Vec<F>,
}

impl<B: IoBuf, F: AsFd + 'static> SendMessageFds<B, F> {
    pub(crate) fn new(
        socket: Rc<Datagrams>,
        buf: B,
        fds: Vec<F>,
        to: Option<&SockAddr>,
    ) -> Op<SendMessageFds<B, F>> {
        match fds_control(&fds) {
            Ok(control) => {
                let send = SendMessage::build(socket, buf, to, &control);
                Op::new(SendMessageFds { send, fds })
            }
            Err(error) => SendMessageFds::rejected(socket, buf, fds, error),
        }
    }

    /// Fails without sending: the request is invalid.
    pub(crate) fn rejected(
        socket: Rc<Datagrams>,
        buf: B,
        fds: Vec<F>,
        error: io::Error,
    ) -> Op<SendMessageFds<B, F>> {
        let send = SendMessage::build(socket, buf, None, &[]);
        Op::rejected(SendMessageFds { send, fds }, error)
    }
}

// SAFETY: as of `SendMessage`. The descriptors stay open while the operation holds their payload.
unsafe impl<B: IoBuf, F: AsFd + 'static> Operation for SendMessageFds<B, F> {
    type Output = BufResult<usize, (B, Vec<F>)>;
    const NAME: &'static str = "sendmsg";
    forward_operation!(send);

    fn complete(self, completion: Completion) -> Self::Output {
        match self.send.complete(completion) {
            Ok((n, buf)) => Ok((n, (buf, self.fds))),
            Err(error) => Err(error.map_buf(|buf| (buf, self.fds))),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, (self.send.buf, self.fds)))
    }
}

debug_fields!([B: IoBuf] SendMessage<B> { permit, must_wait });

debug_fields!([B: IoBuf, F: AsFd + 'static] SendMessageFds<B, F> { send });
