//! The work, done by a thread pool beside an epoll loop, as programs without io_uring do it.
//!
//! The loop hands numbered jobs to the threads, and waits with `epoll_wait` for an eventfd, to which a thread adds one
//! for each job it has done. This is the cheapest form of such a pool: jobs return no result.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The number of threads of a pool.
pub const THREADS: usize = 4;

/// State shared by the loop and the threads.
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    done: File,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<u64>,
    closed: bool,
}

/// A pool whose threads all do the same kind of job.
pub struct Pool {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads. Each creates a `state`, and uses it for all its jobs.
    pub fn new<S: 'static>(
        state: impl Fn() -> S + Send + Clone + 'static,
        job: impl Fn(&mut S, u64) + Send + Clone + 'static,
    ) -> io::Result<Pool> {
        // SAFETY: no addresses are passed, and the results are checked.
        let (done, epoll) = unsafe {
            let done = owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            (done, owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)
        };
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: both descriptors are open, and the event is valid during the call.
        let added = unsafe {
            libc::epoll_ctl(
                epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                done.as_raw_fd(),
                &mut event,
            )
        };
        if added != 0 {
            return Err(io::Error::last_os_error());
        }
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            done: File::from(done),
        });
        let threads = (0..THREADS)
            .map(|_| {
                let (shared, state, job) = (shared.clone(), state.clone(), job.clone());
                thread::spawn(move || shared.serve(state(), job))
            })
            .collect();
        Ok(Pool {
            shared,
            epoll,
            threads,
        })
    }

    /// Runs the jobs, `depth` at once.
    pub fn run(&mut self, depth: u64, mut jobs: impl Iterator<Item = u64>) {
        let mut in_flight = self.hand_out(&mut jobs, depth);
        while in_flight > 0 {
            let done = self.wait();
            in_flight = in_flight - done + self.hand_out(&mut jobs, done);
        }
    }

    fn hand_out(&self, jobs: &mut impl Iterator<Item = u64>, most: u64) -> u64 {
        let mut handed = 0;
        let mut queue = self.shared.lock();
        for job in jobs.take(most as usize) {
            queue.jobs.push_back(job);
            self.shared.filled.notify_one();
            handed += 1;
        }
        handed
    }

    /// Waits until at least one job is done. Returns how many were done since the last call.
    fn wait(&self) -> u64 {
        loop {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: there is room for the one event that is requested.
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, -1) };
            let mut count = [0; 8];
            match (&self.shared.done).read_exact(&mut count) {
                Ok(()) => return u64::from_ne_bytes(count),
                // The wait was interrupted by a signal.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("the eventfd: {error}"),
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve<S>(&self, mut state: S, job: impl Fn(&mut S, u64)) {
        while let Some(number) = self.next() {
            job(&mut state, number);
            (&self.done)
                .write_all(&1u64.to_ne_bytes())
                .expect("an eventfd takes a small number");
        }
    }

    fn next(&self) -> Option<u64> {
        let queue = self.lock();
        let mut queue = self
            .filled
            .wait_while(queue, |queue| queue.jobs.is_empty() && !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        queue.jobs.pop_front()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has already been printed.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// # Safety
///
/// The descriptor is negative, or is owned by nothing else.
unsafe fn owned(fd: i32) -> io::Result<OwnedFd> {
    match fd {
        0.. => {
            // SAFETY: guaranteed by the caller.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}
