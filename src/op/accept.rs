//! Accepting connections.

use super::{Collect, Completion, Entry, Opcode, Operation, SharedFd};
use crate::sys::Descriptor;
use socket2::{SockAddr, SockAddrStorage};
use std::fmt;
use std::io;

/// `IORING_ACCEPT_MULTISHOT` (5.19).
const MULTISHOT: u16 = 1;

/// Connections that are taken out of the kernel's queue before anybody asks for them.
const COLLECT_MAX: u32 = 64;

/// A connection as the kernel hands it over.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) fd: SharedFd,
    /// Who is at the other end. Not there if connections are accepted one after the other by one request.
    pub(crate) peer: Option<SockAddr>,
}

/// Where the kernel writes the address of the peer: an allocation of its own (O2).
struct Address {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// Accepts a connection, or one after the other: `accept4(2)`.
pub(crate) struct Accept {
    listener: SharedFd,
    /// Not there if it is multishot: the next connection would overwrite it.
    address: Option<Box<Address>>,
}

impl Accept {
    /// Accepts one.
    pub(crate) fn one(listener: SharedFd) -> Accept {
        let storage = SockAddrStorage::zeroed();
        let len = storage.size_of();
        Accept {
            listener,
            address: Some(Box::new(Address { storage, len })),
        }
    }

    /// Accepts until it is stopped.
    pub(crate) fn many(listener: SharedFd) -> Accept {
        Accept {
            listener,
            address: None,
        }
    }

    fn take(&mut self, completion: Completion) -> io::Result<Accepted> {
        let fd = completion.result()?;
        // SAFETY: the completion of an accept hands over a new descriptor, and each is taken once: here, whether it is
        // waited for or not.
        let descriptor = unsafe { Descriptor::from_completion(fd) };
        let peer = self.address.take().map(|address| {
            let Address { storage, len } = *address;
            let len = len.min(storage.size_of());
            // SAFETY: the storage was zeroed, and the kernel has written an address of this length into it.
            unsafe { SockAddr::new(storage, len) }
        });
        Ok(Accepted {
            fd: SharedFd::new(descriptor),
            peer,
        })
    }
}

// SAFETY: the address is a boxed allocation of its own, which only the kernel touches until the last completion. The
// operation holds the listener's descriptor (O5). Every descriptor that it brings is taken by `take`, once.
unsafe impl Operation for Accept {
    type Output = io::Result<Accepted>;
    const NAME: &'static str = "accept";

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(&self.listener)
    }

    fn entry(&mut self) -> Entry {
        let entry = self
            .listener
            .entry(Opcode::ACCEPT)
            .op_flags(libc::SOCK_CLOEXEC as u32);
        match &mut self.address {
            None => entry.ioprio(MULTISHOT),
            Some(address) => {
                let address: *mut Address = &raw mut **address;
                // SAFETY: both are fields of one allocation that is there; no reference to them is made.
                let (storage, len) =
                    unsafe { (&raw mut (*address).storage, &raw mut (*address).len) };
                entry.addr(storage).addr2(len)
            }
        }
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        self.take(completion)
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(error)
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        completion.was_interrupted()
    }

    /// The listener is gone, and with it who would have answered this connection.
    fn dispose(&mut self, completion: Completion) {
        drop(self.take(completion));
    }
}

// SAFETY: it takes the descriptor that the completion brings.
unsafe impl Collect for Accept {
    type Item = io::Result<Accepted>;

    const MAX: u32 = COLLECT_MAX;

    fn collect(&mut self, completion: Completion) -> Self::Item {
        self.take(completion)
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
