//! Serving: a supervised child for each connection until a future or a cancel stops it, then a graceful shutdown.

use super::Listener;
use crate::cancel::{Scope, checkpoint, shield};
use crate::concurrent::race;
use crate::error::{Canceled, is_canceled};
use crate::group::{Report, Supervisor, supervise};
use crate::runtime::{self, Core};
use crate::time::Instant;
use std::cell::Cell;
use std::fmt;
use std::future::{Pending, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// The default time for open connections to finish: less than the 5 seconds that tasks get when a runtime shuts down,
/// so that connections that are canceled after it can still clean up.
const DRAIN: Duration = Duration::from_secs(4);

/// Accepts connections and runs a handler for each until it is stopped, then lets the open connections finish.
///
/// Each connection is a child of a supervised group: one that fails or panics does not affect the others, and its error
/// is reported, with the peer's address, to the hook ([`Fault::ChildFailed`](crate::runtime::Fault),
/// [`Builder::on_fault`](crate::runtime::Builder::on_fault)). The default hook uses the `log` crate, so without a
/// logger these errors are lost. Handlers may borrow from the caller.
///
/// Connections are accepted one at a time, each when its handler can begin: while a handler computes, other holders of
/// the socket, in other threads or processes, can accept. To spread a heavy load over threads, see
/// [`TcpListener`](super::TcpListener).
///
/// Serving stops when the future given to [`until`](Serve::until) is ready, or when the surrounding scope is canceled:
///
/// 1. No more connections are accepted. Clients that connect from then on wait in the queue of the listener, which can
///    be served again, or dropped.
/// 2. Open connections continue, shielded from the canceled scope, for at most the time given to
///    [`drain`](Serve::drain).
/// 3. The remaining connections are canceled: what they await ends with [`Canceled`](crate::Canceled), and serving
///    waits for them.
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
/// The listener's errors, except a temporary shortage of descriptors; the failure of the future given to
/// [`until`](Serve::until). In both cases all connections have ended. [`Canceled`](crate::Canceled) if the scope was
/// canceled before serving began.
///
/// # Panics
///
/// If the future given to [`until`](Serve::until) panics; the connections are dropped.
///
/// # Cancel safety
///
/// A cancel shuts serving down gracefully. A drop drops the handlers; connections that were accepted ahead and not
/// taken stay with the listener.
// Test: tests/serving.rs
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

/// The settings of [`serve`]. Serving begins when this is awaited.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let client = async {
///         let client = TcpStream::connect(address).await?;
///         assert_eq!(client.read_to_end(Vec::new()).await?.1, b"hello");
///         std::io::Result::Ok(())
///     };
///     let serve = listener
///         .serve(async |stream, _peer| stream.write_all("hello").await)
///         .drain(Duration::from_secs(1))
///         .limit(100);
///     assert_eq!(serve.until(client).await?.accepted, 1);
///     Ok(())
/// })
/// # }
/// ```
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
    /// Stops when this future is ready: `gimmal::signal::ctrl_c()`, a channel, or any other. If it fails, serving shuts
    /// down gracefully and returns that failure.
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

    /// Sets how long open connections may take to finish after the stop; the default is 4 seconds.
    pub fn drain(mut self, time: Duration) -> Serve<'l, L, H, U> {
        self.drain = time;
        self
    }

    /// Limits how many connections are served at once; the minimum is one. At the limit, nothing is accepted, and new
    /// connections wait in the kernel's queue.
    pub fn limit(mut self, connections: usize) -> Serve<'l, L, H, U> {
        self.limit = connections.max(1);
        self
    }

    /// Accepts up to this many connections ahead of their handlers (a burst may bring a few more), which is cheaper
    /// when many arrive at once. Accepts ahead only while the [`limit`](Serve::limit) leaves room for more than this
    /// many connections.
    ///
    /// Use this only for a socket without other holders. Without it, a connection is taken when its handler begins, so
    /// connections that this thread has no time for can be answered by another thread or process that holds the socket.
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

/// The counts of what was served.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::net::{TcpListener, TcpStream};
/// use std::time::Duration;
///
/// gimmal::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let mut client = None;
///     let connected = async {
///         // This connection stays open when serving is to stop.
///         let stream = TcpStream::connect(address).await?;
///         stream.read_exact(vec![0; 5], 5).await?;
///         client = Some(stream);
///         std::io::Result::Ok(())
///     };
///     let served = listener
///         .serve(async |stream: TcpStream, _peer| {
///             let (_, buffer) = stream.write(b"hello".to_vec()).await?;
///             stream.read(buffer).await
///         })
///         .until(connected)
///         .drain(Duration::from_millis(1))
///         .await?;
///     assert_eq!((served.accepted, served.failed, served.cut_short), (1, 0, 1));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Connections that were passed to the handler.
    pub accepted: u64,
    /// Connections that ended with their own failure, or panicked.
    pub failed: u64,
    /// Connections that had not finished within the drain time, and were canceled.
    pub cut_short: u64,
}

fn count(served: &Cell<Served>, change: impl FnOnce(&mut Served)) {
    let mut changed = served.get();
    change(&mut changed);
    served.set(changed);
}

/// A guard for a connection whose handler has not returned.
struct OpenConnection<'a>(&'a Cell<Served>);

impl OpenConnection<'_> {
    fn ended(self) {
        std::mem::forget(self);
    }
}

/// Counts a connection whose handler panicked, or was canceled and dropped while it waited for another crate's future.
impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        count(self.0, |served| match std::thread::panicking() {
            true => served.failed += 1,
            false => served.cut_short += 1,
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
            // Serving does not begin in a canceled scope.
            checkpoint().await?;
            let serving = Serving {
                listener: self.listener,
                handler: self.handler,
                drain: self.drain,
                limit: self.limit,
                ahead: self.ahead,
                accepting: Scope::new(),
                connections: Scope::new(),
                served: Cell::default(),
            };
            let stop = serving.stop_when(self.until);
            let raced = race((stop, shield(serving.run()))).await;
            let (failure, ended) = raced.outputs;
            ended.unwrap_or_else(|| Err(Canceled.into()))?;
            match failure.flatten() {
                Some(message) => Err(io::Error::other(message)),
                None => Ok(serving.served.get()),
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
    /// Canceled to stop accepting.
    accepting: Scope,
    /// Gets its deadline when accepting stops.
    connections: Scope,
    served: Cell<Served>,
}

impl<L, H, R> Serving<'_, L, H>
where
    L: Listener,
    H: AsyncFn(L::Stream, L::Addr) -> R,
    R: Report,
{
    /// Waits for the stop outside of the shield, so that canceling a surrounding scope is a stop, too. Returns the
    /// failure, if that was the reason.
    async fn stop_when(&self, until: impl Future<Output: Report>) -> Option<String> {
        let ended = Scope::new().run_any(until).await;
        let failure = ended.ok().and_then(|ended| ended.failure());
        self.accepting.cancel();
        // An error caused by the cancel is not a failure of the future.
        failure.filter(|_| !runtime::with(Core::is_canceled))
    }

    /// Accepts until it is stopped, then waits for the connections.
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
        s.set_limit(self.limit);
        let mut was_ahead = false;
        loop {
            s.wait_for_slot().await?;
            let is_ahead = self.ahead > 0 && self.limit - s.len() > self.ahead as usize;
            if was_ahead && !is_ahead {
                self.listener.pause().await?;
            }
            was_ahead = is_ahead;
            let (stream, addr) = match is_ahead {
                true => self.listener.accept_ahead(self.ahead).await?,
                false => self.listener.accept().await?,
            };
            count(&self.served, |served| served.accepted += 1);
            let name = format!("connection of {addr:?}");
            let open = OpenConnection(&self.served);
            drop(s.spawn_named(name, self.handle(open, stream, addr)));
        }
    }

    /// Runs the handler, and returns its failure unless the cancel caused it.
    async fn handle(
        &self,
        open: OpenConnection<'_>,
        stream: L::Stream,
        addr: L::Addr,
    ) -> Result<(), String> {
        let output = (self.handler)(stream, addr).await;
        open.ended();
        match output.failure() {
            None => Ok(()),
            // The handler's own failure during cleanup counts as a failure, too.
            Some(_) if self.connections.is_canceled() && output.is_canceled() != Some(false) => {
                count(&self.served, |served| served.cut_short += 1);
                Ok(())
            }
            Some(message) => {
                count(&self.served, |served| served.failed += 1);
                Err(message)
            }
        }
    }
}
