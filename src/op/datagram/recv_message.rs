//! Receiving datagrams, with addresses and ancillary data.

use super::header::{Header, MessageHeader};
use super::message::fds_room;
use super::shared::{Datagram, DatagramSocket};
use crate::buf::{BufError, BufResult, IoBufMut, Lend, LendMut, Part, as_room, fill, need_room};
use crate::op::fd::{Lane, Permit};
use crate::op::operation::{debug_fields, operation};
use crate::op::{
    Completion, Datagrams, Entry, FromMessage, Message, Op, Opcode, Operation, Readiness, SharedFd,
};
use crate::runtime::poll_coop_budget;
use socket2::SockRef;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::Waker;

/// The operation of [`UdpSocket::recv_from`](crate::net::UdpSocket::recv_from) and the other methods that receive
/// datagrams: `recvmsg(2)`.
///
/// If it is dropped in flight, the socket keeps the datagram that still arrives, and its next receive returns it first.
pub struct RecvMessage<B: IoBufMut, T> {
    permit: Permit<DatagramSocket>,
    lent: Part<B>,
    peeks: bool,
    fds_max: usize,
    /// What an earlier, abandoned receive has left.
    kept: Option<io::Result<Datagram>>,
    _output: PhantomData<fn() -> T>,
}

impl<B: IoBufMut, T: FromMessage> RecvMessage<B, T> {
    /// Receives into the whole capacity.
    pub(crate) fn new(socket: Rc<Datagrams>, buf: B) -> Op<RecvMessage<B, T>> {
        RecvMessage::with(socket, buf, false, 0)
    }

    /// Also receives descriptors, up to this many.
    pub(crate) fn with_fds(socket: Rc<Datagrams>, buf: B, fds_max: usize) -> Op<RecvMessage<B, T>> {
        // All later receives have room for them too, so that one that is dropped can keep them.
        socket.make_room_for_control(fds_room(fds_max));
        RecvMessage::with(socket, buf, false, fds_max)
    }

    /// Copies the datagram that is there without consuming it.
    pub(crate) fn peek(socket: Rc<Datagrams>, buf: B) -> Op<RecvMessage<B, T>> {
        RecvMessage::with(socket, buf, true, 0)
    }

    fn with(socket: Rc<Datagrams>, buf: B, peeks: bool, fds_max: usize) -> Op<RecvMessage<B, T>> {
        let check = need_room(buf.io_capacity());
        let recv = RecvMessage {
            permit: Permit::new(socket, Lane::In),
            lent: Part::room(buf),
            peeks,
            fds_max,
            kept: None,
            _output: PhantomData,
        };
        Op::checked(recv, check)
    }

    /// Takes what an abandoned receive has left.
    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Readiness {
        if poll_coop_budget(waker).is_pending() {
            return Readiness::Wait;
        }
        let socket = self.permit.shared();
        self.kept = match self.peeks {
            true => socket.peek_kept().map(Ok),
            false => None,
        };
        self.kept = self.kept.take().or_else(|| socket.take_kept());
        Readiness::Done(Completion::at_once(0))
    }
}

impl<B: IoBufMut, T> RecvMessage<B, T> {
    /// Returns what was received, for the socket to keep.
    ///
    /// # Safety
    ///
    /// The kernel has received a datagram of that length, and nothing else takes the descriptors that came with it.
    unsafe fn datagram(lent: &mut Part<B>, header: &MessageHeader, full_len: usize) -> Datagram {
        let len = full_len.min(lent.bytes());
        Datagram {
            // SAFETY: the kernel has written this many bytes from the start of the buffer.
            bytes: unsafe { lent.received(len) }.into_owned(),
            full_len,
            address: header.address(),
            control: header.control().to_vec(),
            flags: header.flags(),
            // SAFETY: the caller promises that nothing else takes them.
            fds: unsafe { header.fds() },
        }
    }
}

impl Datagrams {
    /// Receives a datagram that is there, without waiting: first what an abandoned receive has left.
    pub(crate) fn try_recv<T: FromMessage>(&self, buf: &mut [u8]) -> io::Result<T> {
        need_room(buf.len())?;
        self.lock(Lane::In).check_free()?;
        let (len, address) = if self.has_kept()
            && let Some(kept) = self.take_kept()
        {
            let kept = kept?;
            let len = kept.bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&kept.bytes[..len]);
            (len, kept.address)
        } else {
            // SAFETY: this writes bytes only.
            let room = unsafe { as_room(buf) };
            let socket = SockRef::from(self.fd());
            let received = socket.recv_from_with_flags(room, libc::MSG_DONTWAIT);
            received.map_err(|error| self.recv_failed(error))?
        };
        T::from_message(Message {
            len,
            full_len: len,
            address: &address,
            control: &[],
            flags: 0,
            fds: Vec::new(),
            fds_max: 0,
        })
    }
}

// SAFETY: the memory is lent by the contract of `LendMut`; the header is an allocation of its own. The operation holds
// the socket, which holds its descriptor (O5). Every descriptor that a message brings is taken by `complete` or by
// `dispose`.
unsafe impl<B: IoBufMut, T: FromMessage> Operation for RecvMessage<B, T> {
    operation!("recvmsg", lends lent -> BufResult<T, B>);
    const EINTR_HAD_NO_EFFECT: bool = true;

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
        if self.permit.shared().has_kept() {
            return self.take_kept(waker);
        }
        Readiness::Start
    }

    fn entry(&mut self) -> Entry {
        let socket = self.permit.shared();
        // MSG_TRUNC returns the datagram's full length, even if the buffer is shorter.
        let mut flags = libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
        if self.peeks {
            flags |= libc::MSG_PEEK;
        }
        let entry = socket.entry(Opcode::RECVMSG).op_flags(flags as u32).len(1);
        let entry = socket.recv_hint().prepare(entry);
        let control_len = socket.control_len();
        let header = self.permit.take_header();
        header.make_room(control_len);
        entry.addr(header.message(self.lent.addr_mut(), self.lent.entry_len(), false))
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let fds_max = self.fds_max;
        if let Some(kept) = self.kept.take() {
            let kept = match kept {
                Ok(kept) => kept,
                Err(error) => return self.fail(error),
            };
            let mut buf = self.lent.into_bufs();
            // Bytes that do not fit are cut off, as the kernel does.
            let len = fill(&mut buf, &kept.bytes);
            let received = T::from_message(Message {
                len,
                full_len: kept.full_len,
                address: &kept.address,
                control: &kept.control,
                flags: kept.flags,
                fds: kept.fds,
                fds_max,
            });
            return with_buf(buf, len, received);
        }
        let full_len = match completion.result() {
            Ok(n) => n as usize,
            Err(error) => {
                let error = self.permit.shared().recv_failed(error);
                return self.fail(error);
            }
        };
        self.permit.shared().recv_hint().note(completion);
        let len = full_len.min(self.lent.bytes());
        let Some(header) = self.permit.spare.as_ref() else {
            unreachable!("what the kernel has answered has a header")
        };
        let received = T::from_message(Message {
            len,
            full_len,
            address: &header.address(),
            control: header.control(),
            flags: header.flags(),
            // SAFETY: its last completion has come, and it is completed once.
            fds: unsafe { header.fds() },
            fds_max,
        });
        // SAFETY: the kernel has written this many bytes from the start of the buffer.
        unsafe { self.lent.set_filled(len) };
        with_buf(self.lent.into_bufs(), len, received)
    }

    /// The next receive returns the datagram, or the error, which the kernel reports only once.
    fn dispose(&mut self, completion: Completion) {
        let received = match (
            self.kept.take(),
            self.permit.spare.as_ref(),
            completion.result(),
        ) {
            (Some(kept), ..) => kept,
            (None, Some(header), Ok(n)) => {
                // SAFETY: the completion is that of a receive, and it is disposed of once.
                Ok(unsafe { Self::datagram(&mut self.lent, header, n as usize) })
            }
            (None, _, Err(error)) if !completion.was_interrupted() => {
                Err(self.permit.shared().recv_failed(error))
            }
            (None, ..) => return,
        };
        // A peek leaves the datagram in the socket; descriptors that came with it were copies.
        if !(self.peeks && received.is_ok()) {
            self.permit.shared().keep(received);
        }
    }
}

debug_fields!([B: IoBufMut, T] RecvMessage<B, T> { permit, peeks });

/// Returns the buffer with `len` bytes and the value made from the message.
fn with_buf<B, T>(buf: B, len: usize, received: io::Result<T>) -> BufResult<T, B> {
    match received {
        Ok(received) => Ok((received, buf)),
        Err(error) => Err(BufError::new(error, buf).with_transferred(len)),
    }
}
