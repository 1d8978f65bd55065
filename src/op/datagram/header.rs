//! The header of a message: the input of `sendmsg` and `recvmsg`, and where `recvmsg` writes its results.

use super::control::{ControlMessages, SCM_PIDFD};
use socket2::{SockAddr, SockAddrStorage};
use std::fmt;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// The header, its vector and its address: one allocation (O2), and a second one for ancillary data, if there is any.
/// The kernel reads the header when a receive first runs, and may write it until the last completion.
pub struct MessageHeader(Box<Parts>);

struct Parts {
    header: libc::msghdr,
    vector: libc::iovec,
    address: SockAddrStorage,
    control: Vec<u8>,
}

/// What an operation has as its header: nothing, or a header.
pub trait Header: Default + 'static {
    /// Returns the header for what the operation lends: `len` bytes from `start`, or as many vectors. Null if there is
    /// none.
    fn message(&mut self, start: *const u8, len: u32, is_vectored: bool) -> *const libc::msghdr;
}

impl Header for () {
    #[inline]
    fn message(&mut self, _: *const u8, _: u32, _: bool) -> *const libc::msghdr {
        ptr::null()
    }
}

impl Header for MessageHeader {
    fn message(&mut self, start: *const u8, len: u32, is_vectored: bool) -> *const libc::msghdr {
        let parts: *mut Parts = &raw mut *self.0;
        let (start, len) = (start.cast_mut(), len as usize);
        // SAFETY: all are fields of one allocation that is there and ours; references to single ones end in the same
        // line.
        unsafe {
            (*parts).vector.iov_base = start.cast();
            (*parts).vector.iov_len = len;
            let header = &raw mut (*parts).header;
            ((*header).msg_iov, (*header).msg_iovlen) = match is_vectored {
                true => (start.cast(), len),
                false => (&raw mut (*parts).vector, 1),
            };
            (*header).msg_name = match (*header).msg_namelen {
                0 => ptr::null_mut(),
                _ => (&raw mut (*parts).address).cast(),
            };
            let control = &mut (*parts).control;
            (*header).msg_control = match control.len() {
                0 => ptr::null_mut(),
                _ => control.as_mut_ptr().cast(),
            };
            (*header).msg_flags = 0;
            header
        }
    }
}

impl Default for MessageHeader {
    fn default() -> MessageHeader {
        MessageHeader(Box::new(Parts {
            // SAFETY: a `msghdr` of zeros is one with null pointers and lengths of zero.
            header: unsafe { mem::zeroed() },
            vector: libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            },
            address: SockAddrStorage::zeroed(),
            control: Vec::new(),
        }))
    }
}

impl MessageHeader {
    /// Sets the address and the ancillary data of a message to send.
    pub(in crate::op) fn set(&mut self, to: Option<&SockAddr>, control: &[u8]) {
        let parts = &mut *self.0;
        parts.header.msg_namelen = 0;
        if let Some(to) = to {
            parts.address = to.clone().as_storage();
            parts.header.msg_namelen = to.len();
        }
        parts.control.clear();
        parts.control.extend_from_slice(control);
        parts.header.msg_controllen = control.len();
    }

    /// Makes room for an address, and for this many bytes of ancillary data.
    pub(in crate::op) fn make_room(&mut self, control_len: usize) {
        let parts = &mut *self.0;
        // Zeroed, because the kernel may write less: the address of an earlier message must never show.
        parts.address = SockAddrStorage::zeroed();
        parts.header.msg_namelen = parts.address.size_of();
        parts.control.clear();
        parts.control.resize(control_len, 0);
        parts.header.msg_controllen = control_len;
    }

    /// Returns the sender's or the receiver's address. A length of zero means that there is none.
    pub(super) fn address(&self) -> SockAddr {
        let parts = &*self.0;
        let len = parts.header.msg_namelen.min(parts.address.size_of());
        // SAFETY: a `sockaddr_storage` is plain bytes that may be copied, and `address` was written by `set` or, over
        // zeros, by the kernel, with an address of this length.
        unsafe { SockAddr::new(ptr::read(&raw const parts.address), len) }
    }

    /// Returns the received ancillary data.
    pub(super) fn control(&self) -> &[u8] {
        let parts = &*self.0;
        let len = parts.header.msg_controllen.min(parts.control.len());
        &parts.control[..len]
    }

    /// Returns the received flags: `MSG_CTRUNC` and so on.
    pub(in crate::op) fn flags(&self) -> i32 {
        self.0.header.msg_flags
    }

    /// Takes the descriptors received with a message: each is open and owned by nothing else.
    ///
    /// # Safety
    ///
    /// The kernel has written the ancillary data, and this was not called for it before.
    pub(in crate::op) unsafe fn fds(&self) -> Vec<OwnedFd> {
        let mut fds = Vec::new();
        for (level, kind, data) in ControlMessages(self.control()) {
            if level != libc::SOL_SOCKET || ![libc::SCM_RIGHTS, SCM_PIDFD].contains(&kind) {
                continue;
            }
            let (numbers, _) = data.as_chunks::<4>();
            for number in numbers {
                // SAFETY: the kernel has created this descriptor for the receiver, and the caller calls this once.
                let fd = unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(*number)) };
                // A descriptor of the sending process was not requested here: it closes.
                if kind == libc::SCM_RIGHTS {
                    fds.push(fd);
                }
            }
        }
        fds
    }
}

impl fmt::Debug for MessageHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageHeader").finish_non_exhaustive()
    }
}
