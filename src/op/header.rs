//! The header of a message: what `sendmsg` and `recvmsg` are told, and where `recvmsg` writes what it knows.

use super::control::{ControlMessages, SCM_PIDFD};
use super::rw::BYTES_MAX;
use crate::buf::{IoBuf, IoBufMut};
use socket2::{SockAddr, SockAddrStorage};
use std::fmt;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// Header, vector and address: one allocation (O2), and one more for the ancillary data, if there is any. The kernel reads
/// the header when it receives for the first time, and writes it until the last completion.
pub(super) struct Header(Box<Parts>);

struct Parts {
    header: libc::msghdr,
    vector: libc::iovec,
    address: SockAddrStorage,
    control: Vec<u8>,
}

impl Header {
    pub(super) fn new() -> Header {
        Header(Box::new(Parts {
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

    /// The address and the ancillary data of a message that is to be sent.
    pub(super) fn set(&mut self, to: Option<&SockAddr>, control: &[u8]) {
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

    /// Makes room for an address, and for so many bytes of ancillary data.
    pub(super) fn make_room(&mut self, control_len: usize) {
        let parts = &mut *self.0;
        // Zeros, also where the kernel writes less: no address is shown that is of an earlier message.
        parts.address = SockAddrStorage::zeroed();
        parts.header.msg_namelen = parts.address.size_of();
        parts.control.clear();
        parts.control.resize(control_len, 0);
        parts.header.msg_controllen = control_len;
    }

    /// The header of a message that fills a buffer's capacity.
    pub(super) fn filling(&mut self, buf: &mut impl IoBufMut) -> *const libc::msghdr {
        let (start, len) = (buf.io_mut_ptr(), buf.io_capacity());
        self.of(start, len)
    }

    /// The header of a message that is in a buffer.
    pub(super) fn sending(&mut self, buf: &impl IoBuf) -> *const libc::msghdr {
        self.of(buf.io_ptr().cast_mut(), buf.io_len())
    }

    fn of(&mut self, start: *mut u8, len: usize) -> *const libc::msghdr {
        let parts: *mut Parts = &raw mut *self.0;
        // SAFETY: all are fields of one allocation that is there and ours; references to single ones end in the same line.
        unsafe {
            (*parts).vector.iov_base = start.cast();
            (*parts).vector.iov_len = len.min(BYTES_MAX);
            let header = &raw mut (*parts).header;
            (*header).msg_iov = &raw mut (*parts).vector;
            (*header).msg_iovlen = 1;
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

    /// Who sent it, or whom it is for. One of length zero is nobody.
    pub(super) fn address(&self) -> SockAddr {
        let parts = &*self.0;
        let len = parts.header.msg_namelen.min(parts.address.size_of());
        // SAFETY: a `sockaddr_storage` is plain bytes that may be copied, and `address` was written by `set` or, over zeros, by
        // the kernel, with an address of this length.
        unsafe { SockAddr::new(ptr::read(&raw const parts.address), len) }
    }

    /// The ancillary data that came.
    pub(super) fn control(&self) -> &[u8] {
        let parts = &*self.0;
        let len = parts.header.msg_controllen.min(parts.control.len());
        &parts.control[..len]
    }

    /// The flags that came: `MSG_CTRUNC` and so on.
    pub(super) fn flags(&self) -> i32 {
        self.0.header.msg_flags
    }

    /// The descriptors that came with a message: each is open and in nobody's hands but here.
    ///
    /// # Safety
    ///
    /// The kernel has written the ancillary data, and it was not asked for its descriptors before.
    pub(super) unsafe fn fds(&self) -> Vec<OwnedFd> {
        let mut fds = Vec::new();
        for (level, kind, data) in ControlMessages(self.control()) {
            if level != libc::SOL_SOCKET || ![libc::SCM_RIGHTS, SCM_PIDFD].contains(&kind) {
                continue;
            }
            let (numbers, _) = data.as_chunks::<4>();
            for number in numbers {
                // SAFETY: the kernel has made this descriptor for who receives, and the caller asks once.
                let fd = unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(*number)) };
                // That of the sender nobody has asked for here: it closes.
                if kind == libc::SCM_RIGHTS {
                    fds.push(fd);
                }
            }
        }
        fds
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").finish_non_exhaustive()
    }
}
