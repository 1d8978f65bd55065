//! Entries served by direct calls: plain system calls on the thread of the event loop, for every ring.
//!
//! [`attempt`] makes a call that does not block, in place of a request that would be alone in the ring. [`serve`] also
//! makes calls that wait for a disk, where the kernel can create no thread to serve the entry.
//!
//! The ring hands requests that would block to kernel worker threads: writes to files, most opens, everything on tmpfs
//! or in `/proc`. Where the kernel cannot create any (RLIMIT_NPROC, the `pids.max` of a cgroup), such entries are
//! served here, on the event loop's thread, which they hold up: requests on files, and on paths that lead to files. A
//! file never waits for another party; anything that may, such as a FIFO or a device, is left alone.

use super::entry::{Completion, Entry, Fd, Opcode};
use super::os::poll_now;
use super::ring::Attempt;
use libc::{MSG_DONTWAIT, MSG_NOSIGNAL};
use std::io;
use std::mem;
use std::ptr;
use std::thread;

/// A system call: its number and arguments, of which it takes as many as it has.
type Call = (libc::c_long, [u64; 6]);

/// A vector that stands for the one buffer of a READ or WRITE.
type Vector = libc::iovec;

/// Serves the entry by a call that does not block.
#[inline]
pub(super) fn attempt(entry: &Entry) -> Attempt {
    let is_read = matches!(entry.opcode, Opcode::READ | Opcode::READV);
    // The calls cannot express these fields.
    let is_plain = entry.ioprio == 0
        && (is_read || entry.offset == 0)
        && entry.second == 0
        && !entry.in_worker
        && entry.buf_group.is_none();
    if !is_plain {
        return Attempt::Unserved;
    }
    let Fd::Plain(fd) = entry.fd;
    let (len, flags) = (entry.len as usize, entry.op_flags as i32 | MSG_DONTWAIT);
    // As in the ring: no signal if the peer is gone.
    let send_flags = flags | MSG_NOSIGNAL;
    let address = ptr::with_exposed_provenance_mut::<libc::c_void>(entry.addr as usize);
    // An offset of -1 means the cursor for this call, too; it then waits for other threads that read or write at
    // that cursor. Kernels 5.9 and 5.10 returned 0 if nothing was cached; since then, 0 is the end of the file
    // (tried on 6.18, also with holes).
    let read = |vectors: *const libc::iovec, count: usize| {
        let (offset, flags) = (entry.offset as libc::off_t, entry.op_flags as i32);
        // SAFETY: there are `count` vectors, of writable memory: that of the entry, as below.
        unsafe { libc::preadv2(fd, vectors, count as i32, offset, flags | libc::RWF_NOWAIT) }
    };
    let whole = libc::iovec {
        iov_base: address,
        iov_len: len,
    };
    // SAFETY: the memory of the entry is valid for the accesses of its opcode (as for `push`), which are those of
    // the call of the same name; the call keeps no reference to it.
    let done = unsafe {
        match entry.opcode {
            Opcode::SEND => libc::send(fd, address, len, send_flags),
            Opcode::RECV => libc::recv(fd, address, len, flags),
            Opcode::SENDMSG => libc::sendmsg(fd, address.cast(), send_flags),
            Opcode::RECVMSG => libc::recvmsg(fd, address.cast(), flags),
            Opcode::READ => read(&whole, 1),
            Opcode::READV => read(address.cast(), len),
            _ => return Attempt::Unserved,
        }
    };
    if let Ok(done) = i32::try_from(done)
        && done >= 0
    {
        return Attempt::Done(Completion::at_once(done));
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) | None => Attempt::WouldWait,
        // A file system that cannot tell, or a directory; a pipe, whose offset the ring ignores; a sandbox that
        // allows the ring but not this call.
        Some(libc::EOPNOTSUPP | libc::ESPIPE | libc::ENOSYS | libc::EPERM) if is_read => {
            Attempt::Never
        }
        Some(errno) => Attempt::Done(Completion::at_once(-errno)),
    }
}

/// Serves the entry, however long that takes, if it cannot wait for another party. Unless the ring has `refused` it, an
/// entry that the ring can serve without a thread is left to the ring. Returns `None` if the entry is not served.
pub(super) fn serve(entry: &Entry, refused: bool) -> Option<Completion> {
    // The calls cannot express these fields.
    if entry.ioprio != 0 || entry.buf_group.is_some() || entry.second != 0 {
        return None;
    }
    let Fd::Plain(fd) = entry.fd;
    let result = match entry.opcode {
        Opcode::READ | Opcode::READV => {
            if !is_file(fd) {
                return None;
            }
            // Bytes in memory are read at once; the ring can wait for bytes from a disk. Where that is unsupported
            // (EOPNOTSUPP), the ring would need a thread: on tmpfs, in `/proc`.
            let result = call(entry, libc::RWF_NOWAIT);
            match -result {
                libc::EAGAIN if !refused => return None,
                libc::EAGAIN | libc::EOPNOTSUPP if is_ready(fd, libc::POLLIN) => call(entry, 0),
                libc::EAGAIN | libc::EOPNOTSUPP => return None,
                _ => result,
            }
        }
        Opcode::WRITE | Opcode::WRITEV => {
            if !is_file(fd) || !is_ready(fd, libc::POLLOUT) {
                return None;
            }
            call(entry, 0)
        }
        Opcode::FSYNC | Opcode::FALLOCATE | Opcode::FTRUNCATE if is_file(fd) => call(entry, 0),
        Opcode::OPENAT => open(entry, fd)?,
        Opcode::CLOSE
        | Opcode::STATX
        | Opcode::RENAMEAT
        | Opcode::UNLINKAT
        | Opcode::MKDIRAT
        | Opcode::SYMLINKAT
        | Opcode::LINKAT => call(entry, 0),
        _ => return None,
    };
    Some(Completion::at_once(result))
}

/// Whether the descriptor is that of a file or a directory.
pub(super) fn is_file(fd: i32) -> bool {
    // SAFETY: a stat is plain integers.
    let mut stat = unsafe { mem::zeroed() };
    // SAFETY: `stat` is written during the call.
    unsafe { libc::fstat(fd, &mut stat) == 0 && is_file_mode(stat.st_mode) }
}

fn is_file_mode(mode: libc::mode_t) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}

/// Whether a read or write would not wait. For files it never does; but some in `/proc` and debugfs are files only by
/// their mode, and wait for new data: `/proc/kmsg`, `trace_pipe`.
fn is_ready(fd: i32, events: libc::c_short) -> bool {
    poll_now(fd, events) != 0
}

/// Opens or creates a file, or opens a directory. Like an open without a thread on the ring, it does not wait, even if
/// the path now leads to something else.
fn open(entry: &Entry, fd: i32) -> Option<i32> {
    let flags = entry.op_flags as i32;
    let follow = match flags & libc::O_NOFOLLOW {
        0 => 0,
        _ => libc::AT_SYMLINK_NOFOLLOW,
    };
    let path = ptr::with_exposed_provenance(entry.addr as usize);
    // SAFETY: a stat is plain integers.
    let mut stat = unsafe { mem::zeroed::<libc::stat>() };
    // SAFETY: the path of an OPENAT is a string that ends with a zero byte (the contract of `Operation`); `stat` is
    // written during the call.
    let is_there = unsafe { libc::fstatat(fd, path, &mut stat, follow) } == 0;
    // A symbolic link is found only if it is not followed; then the open itself fails.
    if is_there && !is_file_mode(stat.st_mode) && stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
        return None;
    }
    let was_asked = flags & libc::O_NONBLOCK != 0;
    let opened = call(entry, libc::O_NONBLOCK);
    if opened == -libc::EAGAIN && !was_asked {
        // Another process has a lease on it and must give that up first.
        return None;
    }
    if opened >= 0 && !was_asked {
        // SAFETY: no address is passed, and the descriptor is new: nothing else uses its flags. A descriptor opened
        // with O_PATH has none.
        unsafe {
            let flags = libc::fcntl(opened, libc::F_GETFL);
            libc::fcntl(opened, libc::F_SETFL, flags & !libc::O_NONBLOCK);
        }
    }
    Some(opened)
}

/// Makes the system call, with these flags added. Returns the result as a completion has it.
fn call(entry: &Entry, flags: i32) -> i32 {
    let vector = Vector {
        iov_base: ptr::with_exposed_provenance_mut(entry.addr as usize),
        iov_len: entry.len as usize,
    };
    let Some((number, [a, b, c, d, e, f])) = call_of(entry, flags, &vector) else {
        return -libc::EINVAL;
    };
    // SAFETY: the call matches the opcode, so the memory of the entry is valid for its accesses (the contract of
    // `Operation`), and the call keeps no reference to it. `vector` outlives it.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => result,
        _ => -io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    }
}

/// Returns the fields of an entry in the order in which the system call of the same name takes them. (On every 64-bit
/// machine, an offset is one argument.)
fn call_of(entry: &Entry, flags: i32, vector: &Vector) -> Option<Call> {
    const DATA_ONLY: u32 = 1;
    let Fd::Plain(fd) = entry.fd;
    let fd = fd as u64;
    let (addr, len, offset) = (entry.addr, u64::from(entry.len), entry.offset);
    let vector = ptr::from_ref(vector).expose_provenance() as u64;
    let flags = u64::from(entry.op_flags | flags as u32);
    Some(match entry.opcode {
        Opcode::READ => (libc::SYS_preadv2, [fd, vector, 1, offset, 0, flags]),
        Opcode::READV => (libc::SYS_preadv2, [fd, addr, len, offset, 0, flags]),
        Opcode::WRITE => (libc::SYS_pwritev2, [fd, vector, 1, offset, 0, flags]),
        Opcode::WRITEV => (libc::SYS_pwritev2, [fd, addr, len, offset, 0, flags]),
        Opcode::FSYNC if entry.op_flags & DATA_ONLY != 0 => {
            (libc::SYS_fdatasync, [fd, 0, 0, 0, 0, 0])
        }
        Opcode::FSYNC => (libc::SYS_fsync, [fd, 0, 0, 0, 0, 0]),
        // The length is in the address field.
        Opcode::FALLOCATE => (libc::SYS_fallocate, [fd, len, offset, addr, 0, 0]),
        Opcode::FTRUNCATE => (libc::SYS_ftruncate, [fd, offset, 0, 0, 0, 0]),
        Opcode::OPENAT => (libc::SYS_openat, [fd, addr, flags, len, 0, 0]),
        Opcode::CLOSE => (libc::SYS_close, [fd, 0, 0, 0, 0, 0]),
        Opcode::STATX => (libc::SYS_statx, [fd, addr, flags, len, offset, 0]),
        Opcode::RENAMEAT => (libc::SYS_renameat2, [fd, addr, len, offset, flags, 0]),
        Opcode::UNLINKAT => (libc::SYS_unlinkat, [fd, addr, flags, 0, 0, 0]),
        Opcode::MKDIRAT => (libc::SYS_mkdirat, [fd, addr, len, 0, 0, 0]),
        Opcode::SYMLINKAT => (libc::SYS_symlinkat, [addr, fd, offset, 0, 0, 0]),
        Opcode::LINKAT => (libc::SYS_linkat, [fd, addr, len, offset, flags, 0]),
        _ => return None,
    })
}

/// Returns an error if no thread can be created.
pub(super) fn try_thread() -> io::Result<()> {
    // Boxed, as the pool's closure is: `spawn` is a kilobyte of code for each type of closure.
    let nothing: Box<dyn FnOnce() + Send> = Box::new(|| ());
    let thread = thread::Builder::new().stack_size(0).spawn(nothing)?;
    // The thread runs nothing that could panic.
    let _ = thread.join();
    Ok(())
}
