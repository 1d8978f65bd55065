//! Pipes, pairs of sockets, and recognizable bytes.

use gimmal::fs::File;
use gimmal::net::{TcpListener, TcpStream};
use socket2::{SockAddr, SockAddrStorage};
use std::error::Error;
use std::ffi::CString;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The read end of a pipe as a file, and the write end.
pub fn pipe() -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (File::from(OwnedFd::from(reader)), writer)
}

/// Creates a FIFO.
pub fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path without nul");
    // SAFETY: the path is nul-terminated.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// The two ends of a TCP connection.
pub async fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

/// Whether IPv6 works on loopback. If it does not, the skip is reported.
pub fn has_v6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        crate::skip!("no IPv6 on loopback");
    }
    has
}

/// The address of a socket in the directory whose path has the maximum length, and so no terminating nul byte. `None` if
/// the directory's path leaves no room.
pub fn longest_path(directory: &Path) -> Option<SockAddr> {
    let mut path = format!("{}/", directory.display());
    let room = 108_usize.checked_sub(path.len());
    path.push_str(&"x".repeat(room.filter(|room| *room > 0)?));
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is large enough for any address, and a Unix socket address is written to it.
    let address: &mut libc::sockaddr_un = unsafe { storage.view_as() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *place = byte as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: a family and a path of this length were written above.
    Some(unsafe { SockAddr::new(storage, len) })
}

/// A byte that tells its position: lost, doubled and swapped bytes show.
pub fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(7) ^ (at >> 16)) as u8
}

/// The bytes at `from` and behind it.
pub fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// The number of the system's error in a chain of errors.
pub fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if let Some(errno) = io.and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        next = match io {
            Some(io) => io.get_ref().and_then(|inner| inner.source()),
            None => error.source(),
        };
    }
    None
}
