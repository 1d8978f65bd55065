//! A datagram socket as its operations see it, and the one datagram that it may have to keep.

use super::header::MessageHeader;
use crate::op::fifo_lock::{FifoLock, Position};
use crate::op::socket::describe;
use crate::op::stream::RecvHint;
use crate::op::{Entry, Opcode, Readiness, SharedFd};
use crate::sys::{Descriptor, with_context};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

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

/// A datagram socket shared by its owner and the operations on it (O5).
pub(crate) struct Datagrams {
    fd: SharedFd,
    /// The lock for receives. Sends to the connected peer have one of the same kind.
    inbound: FifoLock,
    outbound: FifoLock,
    /// Where sends to an address wait for the socket to close. They do not wait for one another.
    closing: FifoLock,
    has_kept: Cell<bool>,
    kept: RefCell<KeptDatagram>,
    recv_hint: RecvHint,
    /// How many bytes of ancillary data receives have room for.
    control_len: Cell<usize>,
    /// Unused headers, one for each kind of permit, kept for reuse.
    spare: [Cell<Option<MessageHeader>>; 3],
}

impl Datagrams {
    pub(crate) fn new(fd: SharedFd) -> Rc<Datagrams> {
        Rc::new(Datagrams {
            fd,
            inbound: FifoLock::default(),
            outbound: FifoLock::default(),
            closing: FifoLock::taken(),
            has_kept: Cell::new(false),
            kept: RefCell::default(),
            recv_hint: RecvHint::default(),
            control_len: Cell::new(0),
            spare: Default::default(),
        })
    }

    pub(crate) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    /// Makes later receives have room for this many bytes of ancillary data.
    pub(crate) fn make_room_for_control(&self, len: usize) {
        self.control_len.set(len.max(self.control_len.get()));
    }

    pub(super) fn recv_hint(&self) -> &RecvHint {
        &self.recv_hint
    }

    pub(super) fn control_len(&self) -> usize {
        self.control_len.get()
    }

    pub(super) fn entry(&self, opcode: Opcode) -> Entry {
        self.fd.entry(opcode)
    }

    /// Adds what was tried, and the peer, to an error. If the peer has no address, the socket's own address identifies
    /// it.
    #[cold]
    pub(super) fn with_context(
        &self,
        what: &str,
        to: Option<&SockAddr>,
        error: io::Error,
    ) -> io::Error {
        if error.raw_os_error().is_none() {
            return error;
        }
        let socket = SockRef::from(&self.fd);
        let named = |address: &SockAddr| address.len() > 0 && !address.is_unnamed();
        let peer = to.cloned().or_else(|| socket.peer_addr().ok());
        let what = match (peer.filter(named), socket.local_addr().ok().filter(named)) {
            (Some(peer), _) => format!("{what} {}", describe(&peer)),
            (None, Some(local)) => format!("{what} a peer of {}", describe(&local)),
            (None, None) => format!("{what} a socket without a name"),
        };
        with_context(error, what)
    }

    /// Adds what was to be sent, and to whom, to an error.
    #[cold]
    pub(super) fn send_failed(
        &self,
        len: usize,
        to: Option<&SockAddr>,
        error: io::Error,
    ) -> io::Error {
        let what = match len {
            1 => "send 1 byte to".to_owned(),
            _ => format!("send {len} bytes to"),
        };
        self.with_context(&what, to, error)
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
        Ok(self.fd.clone())
    }

    /// Returns the descriptor itself, if no operation is at work on it and no datagram is kept here.
    pub(crate) fn try_into_descriptor(self: Rc<Datagrams>) -> Result<Descriptor, Rc<Datagrams>> {
        if self.has_kept.get() || !self.fd.is_sole() {
            return Err(self);
        }
        let socket = Rc::try_unwrap(self)?;
        socket
            .fd
            .try_unwrap()
            .map_err(|_| unreachable!("it was its sole holder above"))
    }

    /// Closes the socket, as [`SharedFd::close`] does. Also stops the operations that wait for a lock: they would
    /// otherwise start once those ahead of them are stopped.
    pub(crate) async fn close(self: Rc<Datagrams>) -> io::Result<()> {
        let fd = self.fd.clone();
        self.inbound.close();
        self.outbound.close();
        self.closing.close();
        drop(self);
        fd.close().await
    }

    /// Whether the next receive has something kept to return.
    #[inline]
    pub(super) fn has_kept(&self) -> bool {
        self.has_kept.get()
    }

    /// Keeps a datagram that is no longer awaited, or an error of the socket that was not reported.
    pub(super) fn keep(&self, received: io::Result<Datagram>) {
        let mut kept = self.kept.borrow_mut();
        match received {
            Ok(datagram) => {
                let before = kept.datagram.replace(datagram);
                debug_assert!(before.is_none(), "a second datagram is kept");
            }
            Err(error) => _ = kept.error.get_or_insert(error),
        }
        self.has_kept.set(true);
    }

    /// Takes the kept datagram, or the kept error if there is no datagram.
    pub(super) fn take_kept(&self) -> Option<io::Result<Datagram>> {
        let mut kept = self.kept.borrow_mut();
        let datagram = kept.datagram.take().map(Ok);
        let taken = datagram.or_else(|| kept.error.take().map(Err));
        self.has_kept.set(kept.error.is_some());
        taken
    }

    /// Returns a copy of the kept datagram, without its descriptors.
    pub(super) fn peek_kept(&self) -> Option<Datagram> {
        let kept = self.kept.borrow();
        kept.datagram.as_ref().map(|datagram| Datagram {
            bytes: datagram.bytes.clone(),
            full_len: datagram.full_len,
            address: datagram.address.clone(),
            control: datagram.control.clone(),
            flags: datagram.flags,
            fds: Vec::new(),
        })
    }

    pub(super) fn lock(&self, kind: DatagramPermitKind) -> &FifoLock {
        match kind {
            DatagramPermitKind::In => &self.inbound,
            DatagramPermitKind::ToPeer => &self.outbound,
            DatagramPermitKind::ToAddress => &self.closing,
        }
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

/// The direction of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatagramPermitKind {
    In,
    /// To the connected peer: in order.
    ToPeer,
    /// To an address: not in order, because a receiver that takes nothing would hold up all the others.
    ToAddress,
}

/// The right to receive from a socket, or to send, until it is dropped; and the operation's header, if it took one.
/// When this is dropped, the kernel has finished with the header.
#[derive(Debug)]
pub(super) struct DatagramPermit {
    socket: Rc<Datagrams>,
    kind: DatagramPermitKind,
    position: Position,
    header: Option<MessageHeader>,
}

impl DatagramPermit {
    pub(super) fn new(socket: Rc<Datagrams>, kind: DatagramPermitKind) -> DatagramPermit {
        DatagramPermit {
            socket,
            kind,
            position: Position::Outside,
            header: None,
        }
    }

    pub(super) fn socket(&self) -> &Datagrams {
        &self.socket
    }

    pub(super) fn kind(&self) -> DatagramPermitKind {
        self.kind
    }

    /// Returns why an operation with this right must not be started now, or `None` if it may be.
    #[inline]
    pub(super) fn prepare(&mut self, waker: &Waker) -> Option<Readiness> {
        let lock = self.socket.lock(self.kind);
        match self.kind {
            DatagramPermitKind::In | DatagramPermitKind::ToPeer => {
                lock.prepare(&mut self.position, waker)
            }
            DatagramPermitKind::ToAddress => lock.check_open(),
        }
    }

    /// Makes an operation that waits for something else be polled again when the socket closes.
    pub(super) fn wait_for_close(&mut self, waker: &Waker) {
        self.socket.lock(self.kind).enter(&mut self.position, waker);
    }

    /// Returns a header to fill.
    pub(super) fn take_header(&mut self) -> &mut MessageHeader {
        let spare = || self.socket.spare[self.kind as usize].take();
        self.header
            .get_or_insert_with(|| spare().unwrap_or_default())
    }

    pub(super) fn header(&self) -> Option<&MessageHeader> {
        self.header.as_ref()
    }

    pub(super) fn header_mut(&mut self) -> Option<&mut MessageHeader> {
        self.header.as_mut()
    }
}

impl Drop for DatagramPermit {
    #[inline]
    fn drop(&mut self) {
        if let Some(header) = self.header.take() {
            self.socket.spare[self.kind as usize].set(Some(header));
        }
        self.socket.lock(self.kind).leave(self.position);
    }
}
