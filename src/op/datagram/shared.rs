//! A datagram socket as its operations see it, and the one datagram that it may have to keep.

use super::header::MessageHeader;
use crate::op::SharedFd;
use crate::op::fd::{Lane, Ordered, OrderedFd, Permit};
use crate::op::fifo_lock::FifoLock;
use crate::op::socket::{describe, with_peer};
use crate::sys::{counted, with_context};
use socket2::{Domain, SockAddr, Socket, Type};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A datagram that was received but not yet returned.
#[derive(Debug)]
pub(super) struct Datagram {
    /// The part of it that fitted in the buffer.
    pub(super) bytes: Vec<u8>,
    pub(super) full_len: usize,
    pub(super) address: SockAddr,
    pub(super) control: Vec<u8>,
    pub(super) flags: i32,
    pub(super) fds: Vec<OwnedFd>,
}

/// What abandoned operations received: the next receive returns it (C8). Receives run one by one, and none is submitted
/// while something is kept, so there is at most one datagram.
#[derive(Debug, Default)]
struct KeptDatagram {
    datagram: Option<Datagram>,
    /// The kernel reports only once that a peer refused an earlier datagram.
    error: Option<io::Error>,
}

/// What a datagram socket has beside its order. Sends to an address are not in order: a receiver that takes nothing would
/// hold up those to all the others.
#[derive(Default)]
pub(crate) struct DatagramSocket {
    kept: RefCell<KeptDatagram>,
    /// How many bytes of ancillary data receives have room for.
    control_len: Cell<usize>,
    /// Unused headers, one for each lane.
    spare: [Cell<Option<MessageHeader>>; 3],
}

impl Ordered for DatagramSocket {
    type Locks = [FifoLock; 3];
    /// The operation's header, if it took one. When the permit is dropped, the kernel has finished with it.
    type Spare = Option<MessageHeader>;

    #[inline]
    fn reuse(&self, lane: Lane, spare: Option<MessageHeader>) {
        if spare.is_some() {
            self.spare[lane as usize].set(spare);
        }
    }
}

/// A datagram socket shared by its owner and the operations on it (O5).
pub(crate) type Datagrams = OrderedFd<DatagramSocket>;

impl Datagrams {
    pub(crate) fn new(fd: SharedFd) -> Rc<Datagrams> {
        // The last one is never granted: waiting for it ends when the socket closes.
        let locks = [FifoLock::default(), FifoLock::default(), FifoLock::taken()];
        OrderedFd::share(fd, locks, DatagramSocket::default())
    }

    /// Makes later receives have room for this many bytes of ancillary data.
    pub(crate) fn make_room_for_control(&self, len: usize) {
        self.own.control_len.set(len.max(self.control_len()));
    }

    pub(super) fn control_len(&self) -> usize {
        self.own.control_len.get()
    }

    /// Adds the peer to the error of a receive.
    #[cold]
    pub(super) fn recv_failed(&self, error: io::Error) -> io::Error {
        with_peer(error, "receive from", self.fd(), None)
    }

    /// Adds what was to be sent, and to whom, to an error.
    #[cold]
    pub(super) fn send_failed(
        &self,
        len: usize,
        to: Option<&SockAddr>,
        error: io::Error,
    ) -> io::Error {
        let what = format!("send {} to", counted(len, "byte"));
        with_peer(error, &what, self.fd(), to)
    }

    /// Returns a descriptor that is writable when there is room for a datagram to that address, or to the peer.
    ///
    /// Whether a Unix socket is writable depends only on its own peer. So for any other receiver, this returns a socket
    /// that is connected to that receiver.
    pub(super) fn writable_fd(&self, to: Option<&SockAddr>) -> io::Result<SharedFd> {
        if let Some(to) = to.filter(|to| to.is_unix()) {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(|error| {
                with_context(error, format!("wait for room at {}", describe(to)))
            })?;
            // If it refuses a connection, either it is gone, which the next attempt reports, or its peer is this
            // socket, and then it is this socket that is full.
            if socket.connect(to).is_ok() {
                return Ok(SharedFd::from(OwnedFd::from(socket)));
            }
        }
        Ok(self.fd().clone())
    }

    /// Keeps a datagram that is no longer awaited, or an error of the socket that was not reported.
    pub(super) fn keep(&self, received: io::Result<Datagram>) {
        let mut kept = self.own.kept.borrow_mut();
        match received {
            Ok(datagram) => {
                let before = kept.datagram.replace(datagram);
                debug_assert!(before.is_none(), "a second datagram is kept");
            }
            Err(error) => _ = kept.error.get_or_insert(error),
        }
        self.set_kept(true);
    }

    /// Takes the kept datagram, or the kept error if there is no datagram.
    pub(super) fn take_kept(&self) -> Option<io::Result<Datagram>> {
        let mut kept = self.own.kept.borrow_mut();
        let datagram = kept.datagram.take().map(Ok);
        let taken = datagram.or_else(|| kept.error.take().map(Err));
        self.set_kept(kept.error.is_some());
        taken
    }

    /// Returns a copy of the kept datagram, without its descriptors.
    pub(super) fn peek_kept(&self) -> Option<Datagram> {
        let kept = self.own.kept.borrow();
        kept.datagram.as_ref().map(|datagram| Datagram {
            bytes: datagram.bytes.clone(),
            full_len: datagram.full_len,
            address: datagram.address.clone(),
            control: datagram.control.clone(),
            flags: datagram.flags,
            fds: Vec::new(),
        })
    }
}

impl Permit<DatagramSocket> {
    /// Returns a header to fill.
    pub(super) fn take_header(&mut self) -> &mut MessageHeader {
        if self.spare.is_none() {
            let spare = self.shared().own.spare[self.lane() as usize].take();
            self.spare = Some(spare.unwrap_or_default());
        }
        let Some(header) = &mut self.spare else {
            unreachable!("it was put there above")
        };
        header
    }
}
