//! Sending and receiving datagrams, with addresses and ancillary data: `sendmsg(2)` and `recvmsg(2)`.

use super::datagram::{Datagram, Pass, Way};
use super::header::Header;
use super::rw::{BYTES_MAX, no_room};
use super::{Completion, Datagrams, Entry, Op, Opcode, Operation, PollAdd, Prepared};
use super::{was_interrupted, yields_first};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use socket2::SockAddr;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What came with a datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// Bytes in the buffer.
    pub(crate) len: usize,
    /// Bytes that were sent.
    pub(crate) full_len: usize,
    pub(crate) address: &'a SockAddr,
    pub(crate) control: &'a [u8],
    /// `MSG_CTRUNC` and so on.
    pub(crate) flags: i32,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What a receive gives beside the buffer: a length, a length and the sender, or all that is known.
pub trait FromMessage: Sized + 'static {
    /// Takes it out of what came.
    ///
    /// # Errors
    ///
    /// If it is not in there.
    fn from_message(message: Message<'_>) -> io::Result<Self>;
}

/// The number of bytes.
impl FromMessage for usize {
    fn from_message(message: Message<'_>) -> io::Result<usize> {
        Ok(message.len)
    }
}

/// The number of bytes, and who sent them.
impl FromMessage for (usize, SocketAddr) {
    fn from_message(message: Message<'_>) -> io::Result<(usize, SocketAddr)> {
        let from = message.address.as_socket();
        let from = from.ok_or_else(|| io::Error::other("the sender's address is not one of IP"))?;
        Ok((message.len, from))
    }
}

/// Receives a datagram: `recvmsg(2)`.
///
/// Dropped while the kernel has it, it hands what still comes to the socket, whose next receive gives that first.
pub struct RecvMessage<B: IoBufMut, T> {
    pass: Pass,
    buf: B,
    peeks: bool,
    /// What an earlier receive has brought.
    kept: Option<io::Result<Datagram>>,
    _gives: PhantomData<fn() -> T>,
}

impl<B: IoBufMut, T: FromMessage> RecvMessage<B, T> {
    /// Receives into the whole capacity.
    pub(crate) fn new(socket: Rc<Datagrams>, buf: B) -> Op<RecvMessage<B, T>> {
        RecvMessage::with(socket, buf, false)
    }

    /// Looks at what is there, and leaves it there.
    pub(crate) fn peek(socket: Rc<Datagrams>, buf: B) -> Op<RecvMessage<B, T>> {
        RecvMessage::with(socket, buf, true)
    }

    fn with(socket: Rc<Datagrams>, buf: B, peeks: bool) -> Op<RecvMessage<B, T>> {
        let is_empty = buf.io_capacity() == 0;
        let recv = RecvMessage {
            pass: Pass::new(socket, Way::In),
            buf,
            peeks,
            kept: None,
            _gives: PhantomData,
        };
        match is_empty {
            true => Op::rejected(recv, no_room()),
            false => Op::new(recv),
        }
    }

    /// What a receive brought which nobody waited for.
    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Prepared {
        if yields_first(waker) {
            return Prepared::Wait;
        }
        let socket = self.pass.socket();
        self.kept = match self.peeks {
            true => socket.peek_kept().map(Ok),
            false => None,
        };
        self.kept = self.kept.take().or_else(|| socket.take_kept());
        Prepared::Done(Completion::new(0, 0))
    }

    /// Fills the buffer with a datagram that was kept. What there is no room for is cut off, as the kernel does it.
    #[cold]
    fn fill(&mut self, kept: &Datagram) -> usize {
        let len = kept.bytes.len().min(self.buf.io_capacity());
        // SAFETY: so many bytes are within both, and the capacity is writable and the operation's alone (L4, L5).
        unsafe {
            self.buf
                .io_mut_ptr()
                .copy_from_nonoverlapping(kept.bytes.as_ptr(), len);
            self.buf.set_io_len(len);
        }
        len
    }

    fn give(self, received: io::Result<T>) -> BufResult<T, B> {
        match received {
            Ok(received) => Ok((received, self.buf)),
            Err(error) => Err(BufError::new(error, self.buf)),
        }
    }
}

impl<B: IoBufMut, T> RecvMessage<B, T> {
    /// What it has brought, for the socket to keep.
    ///
    /// # Safety
    ///
    /// The kernel has received a datagram of that length, and nobody else takes what came with it.
    unsafe fn brought(&self, header: &Header, full_len: usize) -> Datagram {
        let len = full_len.min(self.buf.io_capacity());
        // SAFETY: the kernel has written so many bytes from the start of the buffer (L3, L4).
        let bytes = unsafe { std::slice::from_raw_parts(self.buf.io_ptr(), len) };
        Datagram {
            bytes: bytes.to_vec(),
            full_len,
            address: header.address(),
            control: header.control().to_vec(),
            flags: header.flags(),
            // SAFETY: the caller says that nobody else takes them.
            descriptors: unsafe { header.descriptors() },
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        self.pass.socket().explain("receive from", None, error)
    }
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation; the
// header is an allocation of its own. The operation holds the socket, and that its descriptor (O5). Every descriptor that a
// message brings is taken by `complete` or by `keep`, which `dispose` calls.
unsafe impl<B: IoBufMut, T: FromMessage> Operation for RecvMessage<B, T> {
    type Output = BufResult<T, B>;
    const NAME: &'static str = "recvmsg";

    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Prepared {
        if !self.pass.enter(waker) {
            return Prepared::Wait;
        }
        if self.pass.socket().has_kept() {
            return self.take_kept(waker);
        }
        Prepared::Start
    }

    fn entry(&mut self) -> Entry {
        let socket = self.pass.socket();
        // It says how long the datagram was, even if there is less room.
        let mut flags = libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
        if self.peeks {
            flags |= libc::MSG_PEEK;
        }
        let entry = socket.entry(Opcode::RECVMSG).op_flags(flags as u32).len(1);
        let control_len = socket.control_len();
        let header = self.pass.take_header();
        header.make_room(control_len);
        entry.addr(header.filling(&mut self.buf))
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        match self.kept.take() {
            Some(Ok(kept)) => {
                let len = self.fill(&kept);
                let received = T::from_message(Message {
                    len,
                    full_len: kept.full_len,
                    address: &kept.address,
                    control: &kept.control,
                    flags: kept.flags,
                    descriptors: kept.descriptors,
                });
                return self.give(received);
            }
            Some(Err(error)) => return self.fail(error),
            None => {}
        }
        let full_len = match completion.result() {
            Ok(n) => n as usize,
            Err(error) => {
                let error = self.explain(error);
                return self.fail(error);
            }
        };
        let Some(header) = self.pass.header() else {
            unreachable!("what the kernel has answered has a header")
        };
        let len = full_len.min(self.buf.io_capacity());
        // SAFETY: the kernel has written so many bytes from the start of the buffer.
        unsafe { self.buf.set_io_len(len) };
        let received = T::from_message(Message {
            len,
            full_len,
            address: &header.address(),
            control: header.control(),
            flags: header.flags(),
            // SAFETY: its last completion has come, and it is completed once.
            descriptors: unsafe { header.descriptors() },
        });
        self.give(received)
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.buf))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        was_interrupted(completion)
    }

    /// The next receive gives it: the datagram, or the error, of which the kernel speaks once.
    fn dispose(&mut self, completion: Completion) {
        let brought = match (self.kept.take(), self.pass.header(), completion.result()) {
            (Some(kept), ..) => kept,
            // SAFETY: the completion is that of a receive, and it is disposed of once.
            (None, Some(header), Ok(n)) => Ok(unsafe { self.brought(header, n as usize) }),
            (None, _, Err(error)) if !was_interrupted(completion) => Err(self.explain(error)),
            (None, ..) => return,
        };
        // What was only looked at is still there; the descriptors that came were copies.
        if !(self.peeks && brought.is_ok()) {
            self.pass.socket().keep(brought);
        }
    }
}

/// Sends a datagram: `sendmsg(2)`, or `send(2)` if there is neither an address nor ancillary data.
///
/// The kernel is told not to wait, and who sends waits here for room: when a Unix socket has to wait, the kernel has taken the
/// bytes out of the request already, and when it tries once more it sends an empty datagram (seen on 6.18).
pub struct SendMessage<B: IoBuf> {
    pass: Pass,
    buf: B,
    has_address: bool,
    /// There was no room when it was tried.
    is_full: bool,
    /// Waits until there is.
    room: Option<Op<PollAdd>>,
}

impl<B: IoBuf> SendMessage<B> {
    /// Sends what the buffer holds, to that address or to the peer that the socket is connected to.
    pub(crate) fn new(
        socket: Rc<Datagrams>,
        buf: B,
        to: Option<&SockAddr>,
        control: &[u8],
    ) -> Op<SendMessage<B>> {
        let mut pass = Pass::new(socket, Way::Out);
        if to.is_some() || !control.is_empty() {
            pass.take_header().set(to, control);
        }
        Op::new(SendMessage {
            pass,
            buf,
            has_address: to.is_some(),
            is_full: false,
            room: None,
        })
    }

    /// Sends nothing: what was asked for cannot be.
    pub(crate) fn rejected(socket: Rc<Datagrams>, buf: B, error: io::Error) -> Op<SendMessage<B>> {
        let send = SendMessage {
            pass: Pass::new(socket, Way::Out),
            buf,
            has_address: false,
            is_full: false,
            room: None,
        };
        Op::rejected(send, error)
    }

    #[cold]
    fn wait_for_room(&mut self, waker: &Waker) -> Prepared {
        let mut room = match self.room.take() {
            Some(room) => room,
            None => match self.pass.socket().way_to(self.address().as_ref()) {
                Ok(fd) => PollAdd::writable(fd),
                Err(error) => return Prepared::Failed(error),
            },
        };
        match Pin::new(&mut room).poll(&mut Context::from_waker(waker)) {
            Poll::Pending => {
                self.room = Some(room);
                Prepared::Wait
            }
            Poll::Ready(Err(error)) => Prepared::Failed(error),
            Poll::Ready(Ok(())) => {
                self.is_full = false;
                Prepared::Start
            }
        }
    }

    fn address(&self) -> Option<SockAddr> {
        let header = self.pass.header().filter(|_| self.has_address);
        header.map(Header::address)
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let to = self.address();
        let what = format!("send {} bytes to", self.buf.io_len());
        self.pass.socket().explain(&what, to.as_ref(), error)
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation; the header
// is an allocation of its own. The operation holds the socket, and that its descriptor (O5).
unsafe impl<B: IoBuf> Operation for SendMessage<B> {
    type Output = BufResult<usize, B>;
    const NAME: &'static str = "sendmsg";

    /// Datagrams to the one peer go in order. Those with addresses do not wait for one another: a receiver that takes nothing
    /// would hold up all the others.
    #[inline]
    fn prepare(&mut self, waker: &Waker) -> Prepared {
        if !(self.has_address || self.pass.enter(waker)) {
            return Prepared::Wait;
        }
        match self.is_full {
            true => self.wait_for_room(waker),
            false => Prepared::Start,
        }
    }

    fn entry(&mut self) -> Entry {
        let fd = self.pass.socket().fd().clone();
        let entry = match self.pass.header_mut() {
            Some(header) => fd
                .entry(Opcode::SENDMSG)
                .addr(header.sending(&self.buf))
                .len(1),
            None => fd
                .entry(Opcode::SEND)
                .addr(self.buf.io_ptr())
                .len(self.buf.io_len().min(BYTES_MAX) as u32),
        };
        entry.op_flags((libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32)
    }

    fn start_again(&mut self, completion: Completion) -> bool {
        self.is_full = completion.raw() == -libc::EAGAIN;
        self.is_full
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, self.buf)),
            Err(error) => {
                let error = self.explain(error);
                self.fail(error)
            }
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.buf))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        was_interrupted(completion) || completion.raw() == -libc::EAGAIN
    }

    /// Whether it was sent nobody will know. But that the peer has refused what was sent before the kernel says once, to
    /// whoever comes first.
    fn dispose(&mut self, completion: Completion) {
        if completion.raw() == -libc::ECONNREFUSED
            && let Err(error) = completion.result()
        {
            let error = self.pass.socket().explain("receive from", None, error);
            self.pass.socket().keep(Err(error));
        }
    }
}

impl<B: IoBufMut, T> fmt::Debug for RecvMessage<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvMessage")
            .field("socket", &self.pass.socket())
            .finish_non_exhaustive()
    }
}

impl<B: IoBuf> fmt::Debug for SendMessage<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessage")
            .field("socket", &self.pass.socket())
            .finish_non_exhaustive()
    }
}
