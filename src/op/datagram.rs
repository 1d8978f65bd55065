//! A socket of datagrams as its operations see it, and the one datagram that it may have to keep.

use super::fifo_lock::{FifoLock, Position};
use super::header::Header;
use super::peer::describe;
use super::recv_hint::RecvHint;
use super::{Entry, Opcode, Prepared, SharedFd};
use crate::sys::{Descriptor, with_context};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

/// A datagram that was received and is still to be given to somebody.
#[derive(Debug)]
pub(super) struct Datagram {
    /// As much of it as there was room for.
    pub(super) bytes: Vec<u8>,
    pub(super) full_len: usize,
    pub(super) address: SockAddr,
    pub(super) control: Vec<u8>,
    pub(super) flags: i32,
    pub(super) fds: Vec<OwnedFd>,
}

/// What operations brought that nobody waited for any more: the next receive gives it (C8). Receives go one by one, and one
/// goes to the kernel only when nothing is kept, so this is one datagram at most.
#[derive(Debug, Default)]
struct Kept {
    datagram: Option<Datagram>,
    /// The kernel says once that a peer has refused what was sent before.
    error: Option<io::Error>,
}

/// A socket of datagrams that several hold: its owner, and the operations that work on it (O5).
pub(crate) struct Datagrams {
    fd: SharedFd,
    /// Receives go through one by one, and so do sends to the peer that it is connected to.
    inbound: FifoLock,
    outbound: FifoLock,
    /// Where sends with addresses wait until it closes. They do not wait for one another.
    closing: FifoLock,
    has_kept: Cell<bool>,
    kept: RefCell<Kept>,
    arrival: RecvHint,
    /// Bytes of ancillary data that receives have room for.
    control_len: Cell<usize>,
    /// Headers that are not in use, one for each way: they are used again and again.
    spare: [Cell<Option<Header>>; 3],
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
            arrival: RecvHint::default(),
            control_len: Cell::new(0),
            spare: Default::default(),
        })
    }

    pub(crate) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    /// From now on receives have room for so many bytes of ancillary data.
    pub(crate) fn make_room_for_control(&self, len: usize) {
        self.control_len.set(len.max(self.control_len.get()));
    }

    pub(super) fn arrival(&self) -> &RecvHint {
        &self.arrival
    }

    pub(super) fn control_len(&self) -> usize {
        self.control_len.get()
    }

    pub(super) fn entry(&self, opcode: Opcode) -> Entry {
        self.fd.entry(opcode)
    }

    /// The same error, with what was tried, and with the peer. If there is none, the address of the socket itself says which
    /// one it was.
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

    /// What can be written when there is room for a datagram to that address, or to the peer.
    ///
    /// That a Unix socket can be written says nothing of who is not its peer. One that is connected to the receiver says it.
    pub(super) fn way_to(&self, to: Option<&SockAddr>) -> io::Result<SharedFd> {
        if let Some(to) = to.filter(|to| to.is_unix()) {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(|error| {
                with_context(error, format!("wait for room at {}", describe(to)))
            })?;
            // One that takes no connection is gone, which the next attempt says; or its peer is this socket, and then it is
            // this one that is full.
            if socket.connect(to).is_ok() {
                return Ok(SharedFd::from(OwnedFd::from(socket)));
            }
        }
        Ok(self.fd.clone())
    }

    /// The descriptor itself, if nothing is at work on it and no datagram of it is kept here.
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

    /// Closes it, as [`SharedFd::close`] does. What waits at a gate is stopped, too: it would begin when those are stopped
    /// that go before it.
    pub(crate) async fn close(self: Rc<Datagrams>) -> io::Result<()> {
        let fd = self.fd.clone();
        self.inbound.close();
        self.outbound.close();
        self.closing.close();
        drop(self);
        fd.close().await
    }

    /// Whether there is something that the next receive is to give.
    #[inline]
    pub(super) fn has_kept(&self) -> bool {
        self.has_kept.get()
    }

    /// A datagram that nobody waited for, or what is wrong with the socket, which nobody was told.
    pub(super) fn keep(&self, brought: io::Result<Datagram>) {
        let mut kept = self.kept.borrow_mut();
        match brought {
            Ok(datagram) => {
                let before = kept.datagram.replace(datagram);
                debug_assert!(before.is_none(), "a second datagram is kept");
            }
            Err(error) => _ = kept.error.get_or_insert(error),
        }
        self.has_kept.set(true);
    }

    /// The datagram that is kept, or the error if there is none.
    pub(super) fn take_kept(&self) -> Option<io::Result<Datagram>> {
        let mut kept = self.kept.borrow_mut();
        let datagram = kept.datagram.take().map(Ok);
        let taken = datagram.or_else(|| kept.error.take().map(Err));
        self.has_kept.set(kept.error.is_some());
        taken
    }

    /// A copy of the datagram that is kept, without its descriptors.
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

    fn gate(&self, way: Way) -> &FifoLock {
        match way {
            Way::In => &self.inbound,
            Way::ToPeer => &self.outbound,
            Way::ToAddress => &self.closing,
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

/// Which way datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    /// To the one peer: in order.
    ToPeer,
    /// To an address: a receiver that takes nothing would hold up all the others.
    ToAddress,
}

/// The right to receive from a socket, or to send, until it is dropped; and the header, if it takes one. By then
/// the kernel is done with that.
#[derive(Debug)]
pub(super) struct Permit {
    socket: Rc<Datagrams>,
    way: Way,
    spot: Position,
    header: Option<Header>,
}

impl Permit {
    pub(super) fn new(socket: Rc<Datagrams>, way: Way) -> Permit {
        Permit {
            socket,
            way,
            spot: Position::Outside,
            header: None,
        }
    }

    pub(super) fn socket(&self) -> &Datagrams {
        &self.socket
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Why an operation that has this right may not be started, if that is so.
    #[inline]
    pub(super) fn prepare(&mut self, waker: &Waker) -> Option<Prepared> {
        let gate = self.socket.gate(self.way);
        match self.way {
            Way::In | Way::ToPeer => gate.prepare(&mut self.spot, waker),
            Way::ToAddress => gate.check_open(),
        }
    }

    /// One that waits elsewhere asks again when the socket closes, too.
    pub(super) fn wait_for_close(&mut self, waker: &Waker) {
        self.socket.gate(self.way).enter(&mut self.spot, waker);
    }

    /// A header to fill.
    pub(super) fn take_header(&mut self) -> &mut Header {
        let spare = || self.socket.spare[self.way as usize].take();
        self.header
            .get_or_insert_with(|| spare().unwrap_or_else(Header::new))
    }

    pub(super) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    pub(super) fn header_mut(&mut self) -> Option<&mut Header> {
        self.header.as_mut()
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(header) = self.header.take() {
            self.socket.spare[self.way as usize].set(Some(header));
        }
        self.socket.gate(self.way).leave(self.spot);
    }
}
