//! Connecting to an address, or to the address of a name that answers first.

use super::TcpStream;
use super::happy_eyeballs::{Attempts, Step};
use crate::error::{Elapsed, is_canceled};
use crate::group::{Child, Group, group};
use crate::net::{Host, ToAddrs};
use crate::op::{Connect, SharedFd};
use crate::runtime::proceed;
use crate::sys::with_context;
use crate::time::{Instant, timeout, timeout_at};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

impl TcpStream {
    /// Connects to an address, or to the address of a name that answers first.
    ///
    /// Tries several addresses as described in RFC 8305 (Happy Eyeballs): IPv6 and IPv4 alternate, and the next attempt
    /// begins when one has failed or has not been answered for 250 milliseconds, while earlier attempts continue. Keeps
    /// the first connection that succeeds, and closes the others before it returns.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpSocket, TcpStream};
    /// use std::io::ErrorKind;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     // Nobody listens here.
    ///     let silent = TcpSocket::new_v4()?;
    ///     silent.bind(([127, 0, 0, 1], 0).into())?;
    ///     let error = TcpStream::connect(silent.local_addr()?).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    ///
    ///     let stream = TcpStream::connect([silent.local_addr()?, listener.local_addr()?]).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is not an address; the errors of [`lookup_host`](crate::net::lookup_host), with the
    /// name; those of `connect(2)`, with the address: `ConnectionRefused`, `TimedOut`, `HostUnreachable`,
    /// `NetworkUnreachable`, `AddrNotAvailable` if all local ports are in use. If several addresses were tried, the
    /// error lists each with its own reason, and its kind is that of the first that was not merely unreachable.
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Cancel safety
    ///
    /// No connection leaks: one that the kernel still makes after the wait was dropped or canceled is closed.
    // Test: tests/net/connecting.rs
    pub async fn connect(to: impl ToAddrs) -> io::Result<TcpStream> {
        proceed().await?;
        connect_to(to.target()?, &RefCell::default()).await
    }

    /// Connects as [`connect`](TcpStream::connect) does, within this duration, which includes the name lookup. Without
    /// a timeout, the kernel gives up on an address that does not answer after about two minutes.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     match TcpStream::connect_timeout(address, Duration::from_secs(10)).await {
    ///         Ok(stream) => assert_eq!(stream.peer_addr()?, address),
    ///         Err(error) if gimmal::is_timeout(&error) => println!("{error}"),
    ///         Err(error) => return Err(error),
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the timeout expires first, an error for which [`is_timeout`](crate::is_timeout) is true: it names the
    /// address, the timeout, and the errors of addresses that had failed by then. Those of
    /// [`connect`](TcpStream::connect).
    ///
    /// # Cancel safety
    ///
    /// No connection leaks: one that the kernel still makes after the wait was dropped or canceled is closed.
    // Test: tests/net/connecting.rs
    pub async fn connect_timeout(to: impl ToAddrs, duration: Duration) -> io::Result<TcpStream> {
        proceed().await?;
        let target = to.target()?;
        let name = target.describe();
        let failed = RefCell::default();
        let connected = timeout(duration, connect_to(target, &failed)).await;
        connected.map_err(|error| match error.is_elapsed() {
            false => error.into(),
            true => {
                let mut what = format!("connect to {name} within {duration:?}");
                for FailedAddr { addr, error } in failed.take() {
                    what += &format!(" ({addr}: {error})");
                }
                with_context(Elapsed.into(), what)
            }
        })
    }
}

/// An address that was tried, and its error.
#[derive(Debug)]
struct FailedAddr {
    addr: SocketAddr,
    error: io::Error,
}

async fn connect_to(target: Host, failed: &RefCell<Vec<FailedAddr>>) -> io::Result<TcpStream> {
    let name = match &target {
        Host::Name(..) => Some(target.describe()),
        Host::Addrs(_) => None,
    };
    let addrs = target.resolve().await?;
    if let [addr] = addrs[..] {
        return attempt(addr)
            .await
            .map_err(|error| explain_one(error, addr));
    }
    let name = name.unwrap_or_else(|| format!("any of {} addresses", addrs.len()));
    match first_to_answer(addrs, failed).await? {
        Some(stream) => Ok(stream),
        None => Err(all_failed(name, failed.take())),
    }
}

/// Returns the first connection that succeeds, or `None` if every address fails.
async fn first_to_answer(
    addrs: Vec<SocketAddr>,
    failed: &RefCell<Vec<FailedAddr>>,
) -> io::Result<Option<TcpStream>> {
    let attempts = Attempts::new(addrs);
    let raced = group(async |g: &Group<'_, '_, io::Error>| race(g, attempts, failed).await).await;
    match raced {
        Ok(first) => Ok(first),
        // The scope was canceled while the group waited for the losing attempts.
        Err(error) if error.output().is_some() => Ok(error.into_output().flatten()),
        Err(error) => Err(error.into()),
    }
}

async fn race<'scope>(
    g: &'scope Group<'scope, '_, io::Error>,
    mut attempts: Attempts,
    failed: &RefCell<Vec<FailedAddr>>,
) -> io::Result<Option<TcpStream>> {
    let mut under_way: Vec<(SocketAddr, Child<'scope, io::Result<TcpStream>>)> = Vec::new();
    loop {
        let ended = match attempts.step(Instant::now()) {
            Step::Begin(addr) => {
                let child = g.spawn(async move { Ok(attempt(addr).await) });
                under_way.push((addr, child));
                continue;
            }
            Step::WaitUntil(moment) => match timeout_at(moment, g.next_finished()).await {
                Err(error) if error.is_elapsed() => continue,
                ended => ended?,
            },
            Step::Wait => g.next_finished().await?,
            Step::Over => return Ok(None),
        };
        let place = under_way
            .iter()
            .position(|(_, child)| Some(child.id()) == ended);
        let Some(place) = place else {
            unreachable!("an attempt is under way until it is told here that it has ended")
        };
        let (addr, child) = under_way.swap_remove(place);
        match child.await? {
            Ok(stream) => {
                g.cancel();
                return Ok(Some(stream));
            }
            Err(error) if is_canceled(&error) => return Err(error),
            Err(error) => {
                failed.borrow_mut().push(FailedAddr { addr, error });
                attempts.failed();
            }
        }
    }
}

async fn attempt(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    connect_socket(socket, addr).await
}

/// Connects a socket. The caller adds the address to the error.
pub(super) async fn connect_socket(socket: Socket, addr: SocketAddr) -> io::Result<TcpStream> {
    let fd = SharedFd::from(OwnedFd::from(socket));
    let fd = Connect::new(fd, addr.into()).await?;
    Ok(TcpStream::new(fd, Some(addr)))
}

/// Adds the address to the error if it came from the kernel.
pub(super) fn explain_one(error: io::Error, addr: SocketAddr) -> io::Error {
    match error.raw_os_error() {
        Some(_) => with_context(error, format!("connect to {addr}")),
        None => error,
    }
}

/// The error when every address of a name was tried and none answered.
#[derive(Debug)]
struct AllFailed {
    name: String,
    failed: Vec<FailedAddr>,
    /// The index of the most informative failure.
    telling: usize,
}

fn all_failed(name: String, failed: Vec<FailedAddr>) -> io::Error {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
    // A machine without IPv6 cannot reach some address of almost every name, which is not informative.
    let telling = failed.iter().position(|failed| {
        let kind = failed.error.kind();
        !matches!(
            kind,
            NetworkUnreachable | HostUnreachable | AddrNotAvailable | Unsupported
        )
    });
    let telling = telling.unwrap_or(failed.len() - 1);
    let kind = failed[telling].error.kind();
    let all = AllFailed {
        name,
        failed,
        telling,
    };
    io::Error::new(kind, all)
}

impl fmt::Display for AllFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect to {}: ", self.name)?;
        for (n, FailedAddr { addr, error }) in self.failed.iter().enumerate() {
            let between = if n == 0 { "" } else { "; " };
            write!(f, "{between}{addr}: {error}")?;
        }
        Ok(())
    }
}

impl Error for AllFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.failed[self.telling].error)
    }
}
