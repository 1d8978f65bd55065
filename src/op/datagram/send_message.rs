//! Sending datagrams, with addresses and ancillary data.

use super::control::fds_control;
use super::header::{Header, MessageHeader};
use super::shared::DatagramSocket;
use super::with_fds::WithFds;
use crate::buf::{BufResult, IoBuf, Lend, Part};
use crate::op::fd::{Lane, Permit};
use crate::op::operation::{debug_fields, operation};
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
    permit: Permit<DatagramSocket>,
    lent: Part<B>,
    /// It must wait before it is submitted: for its address, or for room, if there was none.
    must_wait: bool,
    wait: Option<SendWait>,
}

/// The wait until a datagram can be sent, which also returns the address if that had to be looked up. On the heap,
/// because most sends do not need it.
type SendWait = Pin<Box<dyn Future<Output = io::Result<Option<SockAddr>>>>>;

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
            permit: Permit::new(socket, Lane::Unordered),
            lent: Part::contents(buf),
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
            Some(_) => Lane::Unordered,
            None => Lane::Out,
        };
        let mut permit = Permit::new(socket, kind);
        if to.is_some() || !control.is_empty() {
            permit.take_header().set(to, control);
        }
        SendMessage {
            permit,
            lent: Part::contents(buf),
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
            None => match self.permit.shared().writable_fd(self.address().as_ref()) {
                Ok(fd) => Box::pin(async { PollAdd::writable(fd).await.map(|()| None) }),
                Err(error) => return Readiness::Failed(error),
            },
        };
        match wait.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Pending => {
                self.wait = Some(wait);
                self.permit.enter(waker);
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
        let header = self.permit.spare.as_ref();
        header
            .filter(|_| self.permit.lane() == Lane::Unordered)
            .map(MessageHeader::address)
    }
}

// SAFETY: the memory is lent by the contract of `Lend`; the header is an allocation of its own. The operation holds the
// socket, which holds its descriptor (O5).
unsafe impl<B: IoBuf> Operation for SendMessage<B> {
    operation!("sendmsg", lends lent -> BufResult<usize, B>);

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.permit.shared().fd())
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
        let (start, len) = (self.lent.addr(), self.lent.entry_len());
        let header = self.permit.spare.as_mut();
        let header = header.map(|header| header.message(start, len, false));
        let socket = self.permit.shared();
        match header {
            Some(header) => socket.entry(Opcode::SENDMSG).addr(header).len(1),
            None => socket.entry(Opcode::SEND).addr(start).len(len),
        }
        .op_flags((libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32)
        .try_direct()
    }

    fn should_retry(&mut self, completion: Completion) -> bool {
        self.must_wait = completion.raw() == -libc::EAGAIN;
        self.must_wait
    }

    fn complete(self, completion: Completion) -> Self::Output {
        let sent = completion.result().map_err(|error| {
            let (len, to) = (self.lent.bytes(), self.address());
            self.permit.shared().send_failed(len, to.as_ref(), error)
        });
        self.lent.give_back(sent)
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
            let socket = self.permit.shared();
            socket.keep(Err(socket.recv_failed(error)));
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
                self.lock(Lane::Out).check_free()?;
                socket.send_with_flags(buf, flags)
            }
        };
        sent.map_err(|error| self.send_failed(buf.len(), to, error))
    }
}

debug_fields!([B: IoBuf] SendMessage<B> { permit, must_wait });

/// The operation of [`UnixDatagram::send_with_fds`](crate::net::UnixDatagram::send_with_fds): `sendmsg(2)`, SCM_RIGHTS.
pub type SendMessageFds<B, F> = WithFds<SendMessage<B>, F>;

impl<B: IoBuf, F: AsFd + 'static> SendMessageFds<B, F> {
    /// Sends to that address or to the connected peer. Fails without sending if the address is invalid.
    pub(crate) fn new(
        socket: Rc<Datagrams>,
        buf: B,
        fds: Vec<F>,
        to: io::Result<Option<SockAddr>>,
    ) -> Op<SendMessageFds<B, F>> {
        let message = to.and_then(|to| Ok((to, fds_control(&fds)?)));
        let (to, control, check) = match message {
            Ok((to, control)) => (to, control, Ok(())),
            Err(error) => (None, Vec::new(), Err(error)),
        };
        let send = SendMessage::build(socket, buf, to.as_ref(), &control);
        Op::checked(WithFds { send, fds }, check)
    }
}
