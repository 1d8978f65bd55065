//! The server on a bare epoll loop, without a runtime: one thread with nonblocking sockets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The maximum number of events per wait.
const EVENTS: usize = 1024;

/// An epoll descriptor.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// Creates an epoll descriptor that watches nothing.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no address is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Epoll {
            // SAFETY: the descriptor is new, and nothing else owns it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }

    /// Watches a socket for readability, level-triggered. Its events carry this index.
    pub fn add(&self, socket: &TcpStream, index: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: index as u64,
        };
        // SAFETY: both descriptors are open, and `event` is only read during the call.
        let failed = unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &mut event,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until a socket is readable, and fills `ready` with the indices.
    pub fn wait(&self, ready: &mut Vec<usize>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: there is room for `EVENTS` events, which the kernel writes during the call.
        let n = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, -1)
        };
        ready.clear();
        match usize::try_from(n) {
            Ok(n) => ready.extend(events[..n].iter().map(|event| event.u64 as usize)),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Serves with one read and one write for each piece that arrives.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    let epoll = Epoll::new().expect("an epoll descriptor");
    for (index, connection) in connections.iter().enumerate() {
        connection.set_nonblocking(true).expect("a socket");
        epoll.add(connection, index).expect("a socket");
    }
    let mut calls = 0;
    let mut open = connections.len();
    let mut buf = vec![0; size];
    let mut ready = Vec::new();
    let mut connections: Vec<Option<TcpStream>> = connections.into_iter().map(Some).collect();
    while open > 0 {
        epoll.wait(&mut ready).expect("a wait");
        calls += 1;
        for &index in &ready {
            let Some(connection) = &connections[index] else {
                continue;
            };
            let read = (&*connection).read(&mut buf);
            calls += 1;
            match read {
                Ok(n) if n > 0 => {
                    let mut sent = 0;
                    while sent < n {
                        calls += 1;
                        match (&*connection).write(&buf[sent..n]) {
                            Ok(n) => sent += n,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                std::thread::yield_now();
                            }
                            Err(error) => panic!("send: {error}"),
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    connections[index] = None;
                    open -= 1;
                }
            }
        }
    }
    Some(calls)
}
