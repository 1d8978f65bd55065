//! Serving: a supervised child for each connection, until a signal or a scope ends it, and then an end in order.

use super::Listener;
use crate::cancel::{Scope, checkpoint, shield};
use crate::group::{Report, Supervisor, race, supervise};
use crate::runtime::{self, Core};
use crate::scope::{Canceled, is_canceled};
use crate::time::Instant;
use std::cell::Cell;
use std::fmt;
use std::future::{Pending, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// What connections get to come to their end, if nothing else is said: less than the 5 seconds that tasks get at the end of a
/// runtime, so that those that are cut short then can still clean up.
const DRAIN: Duration = Duration::from_secs(4);

/// Accepts connections and runs a handler for each, until it is told to stop; then it lets them come to their end.
///
/// Each connection is a child of a supervised group: one that fails or panics does so alone, and what it said goes to the
/// hook ([`Fault::ChildFailed`](crate::runtime::Fault), [`Builder::on_fault`](crate::runtime::Builder::on_fault)) with the
/// address of the peer: to the `log` crate, if nothing else is said, and so nowhere without a logger. Handlers may borrow what
/// lives outside.
///
/// A connection is accepted when its handler can begin, one after the other: while a handler computes, other holders of the
/// socket accept, in other threads or processes. To spread a heavy load over threads see [`TcpListener`](super::TcpListener).
///
/// It stops when the future given to [`until`](Serve::until) is ready, or when the scope around it is canceled:
///
/// 1. Nothing more is accepted. Whoever connects from then on waits in the queue of the listener, which can be served again,
///    or dropped.
/// 2. Connections go on, untouched by the canceled scope, for the time given to [`drain`](Serve::drain) at most.
/// 3. Those that are left are canceled: what they await ends with [`Canceled`](crate::Canceled), and they are waited for.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{self, TcpListener, TcpStream};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let client = async {
///         let client = TcpStream::connect(address).await?;
///         client.write_all("hello").await?;
///         assert_eq!(client.read_exact(vec![0; 5], 5).await?, b"hello");
///         std::io::Result::Ok(())
///     };
///     let served = net::serve(&listener, async |stream: TcpStream, _peer| {
///         let (n, buffer) = stream.read(vec![0; 64]).await?;
///         assert_eq!(n, buffer.len());
///         stream.write_all(buffer).await?;
///         std::io::Result::Ok(())
///     })
///     // A server waits for `gimmal::signal::ctrl_c()` here.
///     .until(client)
///     .drain(Duration::from_secs(1))
///     .limit(1000)
///     .await?;
///     assert_eq!((served.accepted, served.failed), (1, 0));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// What the listener says, other than that it has no descriptors left for the moment; the failure of the future given to
/// [`until`](Serve::until). In both cases the connections have come to their end. [`Canceled`](crate::Canceled), if the scope
/// was canceled before it began.
///
/// # Panics
///
/// With the panic of the future given to [`until`](Serve::until): the connections are dropped.
///
/// # Cancel safety
///
/// Canceled, it ends in order. Dropped, it drops the handlers; connections that nobody has asked for stay with the listener
/// (`tests/serving.rs`).
pub fn serve<L, H, R>(listener: &L, handler: H) -> Serve<'_, L, H, Pending<()>>
where
    L: Listener,
    H: AsyncFn(L::Stream, L::Addr) -> R,
    R: Report,
{
    Serve {
        listener,
        handler,
        until: pending(),
        drain: DRAIN,
        limit: usize::MAX,
        ahead: 0,
    }
}

/// What [`serve`] is to do. Await it.
#[must_use = "nothing is served unless it is awaited"]
pub struct Serve<'l, L, H, U> {
    listener: &'l L,
    handler: H,
    until: U,
    drain: Duration,
    limit: usize,
    ahead: u32,
}

impl<'l, L, H, U> Serve<'l, L, H, U> {
    /// Stops when this future is ready: `gimmal::signal::ctrl_c()`, a channel, anything. If it ends with a failure, so does
    /// serving, in order.
    pub fn until<F>(self, until: F) -> Serve<'l, L, H, F>
    where
        F: Future<Output: Report>,
    {
        Serve {
            listener: self.listener,
            handler: self.handler,
            until,
            drain: self.drain,
            limit: self.limit,
            ahead: self.ahead,
        }
    }

    /// Gives connections so much time to come to their end after the stop; 4 seconds, if nothing is said.
    pub fn drain(mut self, time: Duration) -> Serve<'l, L, H, U> {
        self.drain = time;
        self
    }

    /// Serves at most so many connections at once, and one at least. While there are as many nothing is accepted: others wait
    /// in the kernel's queue.
    pub fn limit(mut self, connections: usize) -> Serve<'l, L, H, U> {
        self.limit = connections.max(1);
        self
    }

    /// Accepts up to this many connections before anybody asks for them (a burst may bring a few more), which costs less
    /// where many come at once. With less room than that below the [`limit`](Serve::limit) none is accepted ahead.
    ///
    /// For a socket that nobody else holds. Without this a connection is taken when its handler is begun, and what this thread
    /// has no time for another thread or process can answer that has the same socket.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::TcpListener;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:7777").await?;
    ///     let served = listener
    ///         .serve(async |stream, _peer| stream.write_all("hello\n").await)
    ///         .accept_ahead(64)
    ///         .until(gimmal::signal::ctrl_c())
    ///         .await?;
    ///     println!("served {} connections", served.accepted);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn accept_ahead(mut self, connections: u32) -> Serve<'l, L, H, U> {
        self.ahead = connections;
        self
    }
}

impl<L, H, U> fmt::Debug for Serve<'_, L, H, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("drain", &self.drain)
            .field("limit", &self.limit)
            .field("ahead", &self.ahead)
            .finish_non_exhaustive()
    }
}

/// What was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Connections that were handed to the handler.
    pub accepted: u64,
    /// Those that ended with a failure of their own, or panicked.
    pub failed: u64,
    /// Those that had not come to their end when the time for that was over, and were canceled.
    pub cut_short: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
struct Counts {
    accepted: Cell<u64>,
    failed: Cell<u64>,
    cut_short: Cell<u64>,
}

impl Counts {
    fn served(&self) -> Served {
        Served {
            accepted: self.accepted.get(),
            failed: self.failed.get(),
            cut_short: self.cut_short.get(),
        }
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// A connection that has not come to its end.
struct Open<'a>(&'a Counts);

impl Open<'_> {
    fn ended(self) {
        std::mem::forget(self);
    }
}

/// Its handler panicked; or it was dropped because it was canceled and had not begun, or waited for something of another crate.
impl Drop for Open<'_> {
    fn drop(&mut self) {
        count(match std::thread::panicking() {
            true => &self.0.failed,
            false => &self.0.cut_short,
        });
    }
}

impl<'l, L, H, U, R> IntoFuture for Serve<'l, L, H, U>
where
    L: Listener,
    H: AsyncFn(L::Stream, L::Addr) -> R + 'l,
    U: Future<Output: Report> + 'l,
    R: Report,
{
    type Output = io::Result<Served>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<Served>> + 'l>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            // In a canceled scope it does not begin.
            checkpoint().await?;
            let serving = Serving {
                listener: self.listener,
                handler: self.handler,
                drain: self.drain,
                limit: self.limit,
                ahead: self.ahead,
                accepting: Scope::new(),
                connections: Scope::new(),
                counts: Counts::default(),
            };
            let stop = serving.stop_when(self.until);
            let raced = race((stop, shield(serving.run()))).await;
            let (failure, ended) = raced.outputs;
            ended.unwrap_or_else(|| Err(Canceled.into()))?;
            match failure.flatten() {
                Some(message) => Err(io::Error::other(message)),
                None => Ok(serving.counts.served()),
            }
        })
    }
}

struct Serving<'l, L, H> {
    listener: &'l L,
    handler: H,
    drain: Duration,
    limit: usize,
    ahead: u32,
    /// Canceled when nothing more is to be accepted.
    accepting: Scope,
    /// It gets its deadline then.
    connections: Scope,
    counts: Counts,
}

impl<L, H, R> Serving<'_, L, H>
where
    L: Listener,
    H: AsyncFn(L::Stream, L::Addr) -> R,
    R: Report,
{
    /// Waits for the stop, outside of the shield: so the canceling of a scope around is one. Says what failed, if that was
    /// the reason.
    async fn stop_when(&self, until: impl Future<Output: Report>) -> Option<String> {
        let ended = Scope::new().run_any(until).await;
        let failure = ended.ok().and_then(|ended| ended.failure());
        self.accepting.cancel();
        // What it says because it was canceled is no failure of its own.
        failure.filter(|_| !runtime::with(Core::is_canceled))
    }

    /// Accepts until it is to stop, and waits for the connections.
    async fn run(&self) -> io::Result<()> {
        let group = supervise(async |s| {
            let accepted = self.accepting.run(self.accept_all(s)).await;
            let paused = self.listener.pause().await;
            let deadline = Instant::now() + self.drain;
            self.connections.set_deadline(Some(deadline));
            Ok::<_, Canceled>(accepted.and(paused))
        });
        let accepted = match self.connections.run_any(group).await? {
            Ok(accepted) => Some(accepted),
            // Connections were cut short by the deadline.
            Err(error) => error.into_output(),
        };
        match accepted {
            Some(Err(error)) if !is_canceled(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn accept_all<'scope>(&'scope self, s: &'scope Supervisor<'scope, '_>) -> io::Result<()>
    where
        R: 'scope,
    {
        s.limit(self.limit);
        let mut was_ahead = false;
        loop {
            s.room().await?;
            let is_ahead = self.ahead > 0 && self.limit - s.len() > self.ahead as usize;
            if was_ahead && !is_ahead {
                self.listener.pause().await?;
            }
            was_ahead = is_ahead;
            let (stream, addr) = match is_ahead {
                true => self.listener.accept_ahead(self.ahead).await?,
                false => self.listener.accept().await?,
            };
            count(&self.counts.accepted);
            let name = format!("connection of {addr:?}");
            let open = Open(&self.counts);
            drop(s.spawn_named(name, self.handle(open, stream, addr)));
        }
    }

    /// Runs the handler. Gives its failure, if that is its own.
    async fn handle(&self, open: Open<'_>, stream: L::Stream, addr: L::Addr) -> Result<(), String> {
        let output = (self.handler)(stream, addr).await;
        open.ended();
        match output.failure() {
            None => Ok(()),
            // A failure of its own while it cleans up is one, too.
            Some(_) if self.connections.is_canceled() && output.is_canceled() != Some(false) => {
                count(&self.counts.cut_short);
                Ok(())
            }
            Some(message) => {
                count(&self.counts.failed);
                Err(message)
            }
        }
    }
}
