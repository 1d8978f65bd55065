//! Echo servers: each has its own thread and its own connections, and all that it does is send back what it receives.
//!
//! One load generator ([`client`]) drives them in turn. What is compared is the processor's time that a server's thread
//! takes for a request, so that the generator's own time is not in it.

pub mod client;
pub mod epoll;
pub mod ours;
pub mod peer;
pub mod ring;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// Serves these connections, with messages of so many bytes, until all have ended. Says how often it entered the kernel, if
/// it counts that.
pub type Serve = fn(Vec<TcpStream>, usize) -> Option<u64>;

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    clock: libc::clockid_t,
    thread: JoinHandle<Option<u64>>,
}

impl Server {
    /// Starts one on a thread of its own, on the first processor.
    pub fn start(serve: Serve, connections: Vec<TcpStream>, size: usize) -> Server {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            pin(0);
            tell.send(own_clock()).expect("the bench waits for it");
            serve(connections, size)
        });
        Server {
            clock: told.recv().expect("a server begins with its clock"),
            thread,
        }
    }

    /// The processor's time that its thread has taken so far.
    pub fn cpu(&self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is valid for writing for the length of the call. The thread is there: nobody has joined it.
        let failed = unsafe { libc::clock_gettime(self.clock, &mut time) } != 0;
        assert!(!failed, "the clock of a server's thread");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Waits until it has ended, as it does with its last connection.
    pub fn join(self) -> Option<u64> {
        self.thread.join().expect("a server does not panic")
    }
}

/// So many connections over loopback: the client's ends, and the server's.
pub fn connections(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut ends = (Vec::new(), Vec::new());
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        ends.0.push(client);
        ends.1.push(server);
    }
    Ok(ends)
}

/// Keeps this thread on one processor, where there is more than one.
pub fn pin(processor: usize) {
    // SAFETY: an all-zero set is one, and both calls look at it only while they run.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

fn own_clock() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: the thread is this one, and `clock` is valid for writing.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) } != 0;
    assert!(!failed, "the clock of this thread");
    clock
}
