//! Accepting connections.
//!
//! A listening socket may be shared with other threads and processes. An accept that is left in the kernel takes
//! connections from them that nothing here may await. Even before that, it takes the only wake that the kernel spends
//! on a connection (an accept waits exclusively, also in the ring) while its own thread is busy. A poll takes neither.
//! So waiting for a connection is a poll, followed by an accept that does not wait. Only a multishot accept
//! ([`Accept::many`]) stays in the kernel.

use crate::op::operation::debug_fields;
use crate::op::{Collect, Completion, Entry, Opcode, Operation, SharedFd};
use crate::sys::Descriptor;
use socket2::{SockAddr, SockAddrStorage};
use std::io;

/// `IORING_ACCEPT_MULTISHOT` (5.19).
const MULTISHOT: u16 = 1 << 0;

/// `IORING_ACCEPT_DONTWAIT` (6.10).
const DONT_WAIT: u16 = 1 << 1;

/// A connection as the kernel returns it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) fd: SharedFd,
    /// The peer's address. `None` for connections from a multishot accept.
    pub(crate) peer: Option<SockAddr>,
    /// Whether another connection is waiting, if known: the kernel reports it for TCP since 6.10.
    pub(crate) has_more: Option<bool>,
}

/// The content of a completion.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A connection may be waiting.
    Ready,
    Connection(io::Result<Accepted>),
}

/// The storage for the peer's address: an allocation of its own (O2).
struct Address {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// Waits for a connection, or accepts one: `poll(2)`, `accept4(2)`.
pub(crate) struct Accept {
    listener: SharedFd,
    request: AcceptRequest,
}

enum AcceptRequest {
    Poll,
    One {
        /// `Some` until it is taken.
        address: Option<Box<Address>>,
        /// `DONT_WAIT`, if the kernel supports it.
        flags: u16,
    },
    /// Without an address, because the next connection would overwrite it.
    Many {
        ahead: u32,
    },
}

impl Accept {
    /// Waits until a connection may be waiting.
    pub(crate) fn poll(listener: SharedFd) -> Accept {
        let request = AcceptRequest::Poll;
        Accept { listener, request }
    }

    /// Accepts a waiting connection. Where the kernel does not support `DONT_WAIT`, the caller cancels the operation at
    /// once, which has the same effect.
    pub(crate) fn one(listener: SharedFd, knows_dont_wait: bool) -> Accept {
        let storage = SockAddrStorage::zeroed();
        let len = storage.size_of();
        let request = AcceptRequest::One {
            address: Some(Box::new(Address { storage, len })),
            flags: if knows_dont_wait { DONT_WAIT } else { 0 },
        };
        Accept { listener, request }
    }

    /// Accepts until it is stopped, or until `ahead` connections are waiting to be taken.
    pub(crate) fn many(listener: SharedFd, ahead: u32) -> Accept {
        let request = AcceptRequest::Many { ahead };
        Accept { listener, request }
    }

    /// Whether it only polls.
    pub(crate) fn is_poll(&self) -> bool {
        matches!(self.request, AcceptRequest::Poll)
    }

    fn take(&mut self, completion: Completion) -> io::Result<Accepted> {
        let fd = completion.result()?;
        // SAFETY: the completion of an accept hands over a new descriptor, and each is taken once: here, whether it is
        // waited for or not.
        let descriptor = unsafe { Descriptor::from_completion(fd) };
        let (address, reports_more) = match &mut self.request {
            AcceptRequest::One { address, flags } => (address.take(), *flags == DONT_WAIT),
            AcceptRequest::Poll | AcceptRequest::Many { .. } => (None, false),
        };
        let peer = address.map(|address| {
            let Address { storage, len } = *address;
            let len = len.min(storage.size_of());
            // SAFETY: the storage was zeroed, and the kernel has written an address of this length into it.
            unsafe { SockAddr::new(storage, len) }
        });
        let reports_more = reports_more && peer.as_ref().is_some_and(|peer| !peer.is_unix());
        Ok(Accepted {
            fd: SharedFd::new(descriptor),
            peer,
            has_more: reports_more.then(|| completion.socket_has_more()),
        })
    }
}

// SAFETY: the address is a boxed allocation of its own, which only the kernel touches until the last completion. The
// operation holds the listener's descriptor (O5). Every descriptor that it brings is taken by `take`, once; a poll
// brings none.
unsafe impl Operation for Accept {
    type Output = Arrived;
    const NAME: &'static str = "accept";
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(&self.listener)
    }

    fn entry(&mut self) -> Entry {
        let listener = &self.listener;
        let accept = |flags| {
            let entry = listener.entry(Opcode::ACCEPT).ioprio(flags);
            entry.op_flags(libc::SOCK_CLOEXEC as u32)
        };
        match &mut self.request {
            AcceptRequest::Poll => listener
                .entry(Opcode::POLL_ADD)
                .poll_events(libc::POLLIN as u32),
            AcceptRequest::Many { .. } => accept(MULTISHOT),
            AcceptRequest::One { address, flags } => {
                let Some(address) = address else {
                    unreachable!("it accepts once")
                };
                let address: *mut Address = &raw mut **address;
                // SAFETY: both are fields of one allocation that is there; no reference to them is made.
                let (storage, len) =
                    unsafe { (&raw mut (*address).storage, &raw mut (*address).len) };
                accept(*flags).addr(storage).addr2(len)
            }
        }
    }

    fn complete(mut self, completion: Completion) -> Arrived {
        self.collect(completion)
    }

    fn fail(self, error: io::Error) -> Arrived {
        Arrived::Connection(Err(error))
    }

    /// Closes the connection: the listener is gone, so nothing would answer it.
    fn dispose(&mut self, completion: Completion) {
        drop(self.collect(completion));
    }
}

// SAFETY: it takes the descriptor that the completion brings.
unsafe impl Collect for Accept {
    type Item = Arrived;

    fn max(&self) -> u32 {
        match self.request {
            AcceptRequest::Poll | AcceptRequest::One { .. } => 1,
            AcceptRequest::Many { ahead } => ahead,
        }
    }

    fn collect(&mut self, completion: Completion) -> Arrived {
        // After an interrupted poll, an accept is tried all the same.
        match self.request {
            AcceptRequest::Poll if completion.raw() >= 0 || completion.was_interrupted() => {
                Arrived::Ready
            }
            _ => Arrived::Connection(self.take(completion)),
        }
    }
}

debug_fields!(Accept { listener });
