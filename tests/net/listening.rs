//! Listeners: connections are accepted and none is lost, whichever task waits and however the wait ends.

use common::{
    Baseline, MOMENTS, Moment, Random, descriptors, dropped_after, is_child, next_turn,
    on_each_ring, passes_in_child, poll_once, quick_or_full, ran_in_own_process,
};
use futures_util::{FutureExt, StreamExt as _, TryStreamExt as _};
use gimmal::cancel::Scope;
use gimmal::net::{
    self, Incoming, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixStream,
};
use gimmal::{Handle, Runtime, group, is_canceled, is_timeout, sleep, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// The number of rings, among which the random tests are divided.
const RINGS: usize = 6;

/// Listens on an address of 127.0.0.0/8 that no other test uses, so that enough ports are free.
async fn listener_on(last: u8) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, last], 0).into())?;
    let listener = socket.listen(4096)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Accepts ahead while `then` is awaited without any other wait. Returns whether this kernel can accept ahead.
async fn accepting_ahead(listener: &TcpListener, then: impl Future) -> bool {
    let mut next = Box::pin(net::Listener::accept_ahead(listener, 64));
    assert!(poll_once(&mut next).await.is_pending());
    next_turn().await;
    assert_eq!(in_kernel(), ["accept"]);
    then.await;
    drop(next);
    // A poll operation is canceled at once, but an accept operation is kept until it has stopped.
    let stats = Handle::current().stats();
    stats.operations > stats.orphans
}

/// Takes the unclaimed connections, including those in the kernel's queue.
async fn empty_queue(listener: &TcpListener) -> io::Result<()> {
    while let Ok(accepted) = timeout(Duration::from_millis(5), listener.accept()).await {
        drop(accepted);
    }
    net::Listener::pause(listener).await
}

async fn turns(count: usize) {
    for _ in 0..count {
        next_turn().await;
    }
}

/// The kinds of the operations in flight.
fn in_kernel() -> Vec<&'static str> {
    let operations = Handle::current().operations();
    operations.iter().map(|operation| operation.kind).collect()
}

#[test]
fn a_dropped_or_timed_out_wait_loses_no_connection() {
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        for round in 0..50 {
            if round % 2 == 0 {
                let mut accept = Box::pin(listener.accept());
                assert!(poll_once(&mut accept).await.is_pending());
                drop(accept);
            } else {
                let accept = timeout(Duration::from_millis(1), listener.accept());
                assert!(is_timeout(&accept.await.unwrap_err()));
            }
            let client = TcpStream::connect(address).await?;
            let (_server, peer) = listener.accept().await?;
            assert_eq!(peer, client.local_addr()?);
        }
        Ok(())
    });
}

/// A select whose other future is always ready polls each wait once.
#[test]
fn waits_polled_only_once_eventually_get_a_connection() {
    on_each_ring(async || {
        let (listener, address) = listener_on(1).await?;
        for _ in 0..3 {
            assert!(listener.accept().now_or_never().is_none());
            let client = TcpStream::connect(address).await?;
            let mut tries = 0;
            let (_server, peer) = loop {
                match listener.accept().now_or_never() {
                    Some(accepted) => break accepted?,
                    None => next_turn().await,
                }
                tries += 1;
                assert!(tries < 100, "the connection is never accepted");
            };
            assert_eq!(peer, client.local_addr()?);
            next_turn().await;
        }
        Ok(())
    });
}

#[test]
fn incoming_yields_connections_one_by_one() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        let (listener, address) = listener_on(1).await?;
        let mut incoming = listener.incoming();
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(TcpStream::connect(address).await?);
        }
        for client in &clients {
            let server = incoming.next().await?;
            assert_eq!(server.peer_addr()?, client.local_addr()?);
        }
        drop((incoming, clients));
        listener.close().await?;
        baseline.returns("accepted connections").await;
        Ok(())
    });
}

#[test]
fn a_dropped_incoming_leaves_the_rest_to_the_next() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let (listener, address) = listener_on(1).await?;
            let mut clients = Vec::new();
            let mut accepted = 0;
            while accepted < 300 {
                for _ in 0..20 {
                    clients.push(TcpStream::connect(address).await?.local_addr()?);
                }
                let mut incoming = listener.incoming();
                for _ in 0..7 {
                    let server = incoming.next().await?;
                    assert_eq!(
                        server.peer_addr().unwrap_or(clients[accepted]),
                        clients[accepted]
                    );
                    accepted += 1;
                }
                if accepted % 2 == 0 {
                    let next = dropped_after(incoming.next(), 1, Moment::Turns(1)).await;
                    accepted += usize::from(next.is_some());
                }
                drop(incoming);
                for _ in 0..7 {
                    listener.accept().await?;
                    accepted += 1;
                }
            }
            while accepted < clients.len() {
                listener.accept().await?;
                accepted += 1;
            }
            assert!(
                poll_once(&mut Box::pin(listener.accept()))
                    .await
                    .is_pending()
            );
        }
        baseline.returns("a dropped stream of connections").await;
        Ok(())
    });
}

#[test]
fn a_port_in_use_is_an_error_with_the_address() {
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        drop(listener);
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        for bad in ["localhost", "127.0.0.1:x", ""] {
            let error = TcpListener::bind(bad).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        Ok(())
    });
}

/// An accept wakes one waiter. If that waiter is dropped instead of polled, another one gets the connection.
#[test]
fn waiters_at_one_listener_do_not_depend_on_each_other() {
    on_each_ring(async || {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
        let address = listener.local_addr()?;
        for way in 0..3 {
            let waits: Vec<_> = (0..4)
                .map(|_| {
                    let listener = listener.clone();
                    spawn(async move { listener.accept().await.map(drop) })
                })
                .collect();
            next_turn().await;
            let mut left = 4;
            let waiting = || waits.iter().filter(|wait| !wait.is_finished());
            let mut clients = Vec::new();
            while left > 0 {
                clients.push(TcpStream::connect(address).await?);
                left -= 1;
                while waiting().count() > left {
                    yield_now().await;
                }
                let gone = match way {
                    0 => None,
                    1 => waiting().next_back(),
                    _ => waiting().next(),
                };
                if let Some(gone) = gone {
                    gone.abort();
                    left -= 1;
                    while waiting().count() > left {
                        yield_now().await;
                    }
                }
            }
        }
        Ok(())
    });
}

/// A task that holds a wait without polling it does not keep connections from other tasks.
#[test]
fn a_wait_that_is_no_longer_polled_delays_no_other() {
    on_each_ring(async || {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
        let address = listener.local_addr()?;
        let waits = {
            let listener = listener.clone();
            spawn(async move { listener.accept().await.map(drop) })
        };
        next_turn().await;
        let mut idle = Box::pin(listener.accept());
        assert!(poll_once(&mut idle).await.is_pending());
        let _client = TcpStream::connect(address).await?;
        waits.await??;
        assert!(poll_once(&mut idle).await.is_pending());
        let client = TcpStream::connect(address).await?;
        assert_eq!(idle.await?.1, client.local_addr()?);
        Ok(())
    });
}

thread_local! {
    static LISTENER: RefCell<Option<Rc<TcpListener>>> = const { RefCell::new(None) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// A waker that uses the listener whenever it is woken or dropped, and panics on request.
struct ReentrantWaker {
    panics: bool,
}

impl ReentrantWaker {
    fn waker(panics: bool) -> Waker {
        Waker::from(Arc::new(ReentrantWaker { panics }))
    }

    fn use_listener() {
        if let Some(listener) = LISTENER.with_borrow(Clone::clone)
            && let Some(Ok(_)) = listener.accept().now_or_never()
        {
            TAKEN.set(TAKEN.get() + 1);
        }
    }
}

impl Wake for ReentrantWaker {
    fn wake(self: Arc<Self>) {
        ReentrantWaker::use_listener();
        assert!(!self.panics, "a waker panics on purpose");
    }
}

impl Drop for ReentrantWaker {
    fn drop(&mut self) {
        ReentrantWaker::use_listener();
    }
}

#[test]
fn foreign_wakers_may_use_the_listener_and_may_panic() {
    if ran_in_own_process() {
        return;
    }
    let (mut runtime, faults) = runtime_that_reports();
    let mut panicked = 0;
    let test = async {
        let baseline = Baseline::take();
        for round in 0..200 {
            let (listener, address) = listener_on(1).await?;
            let listener = Rc::new(listener);
            LISTENER.set(Some(listener.clone()));
            TAKEN.set(0);
            let mut waits: Vec<_> = (0..3).map(|_| Box::pin(listener.accept())).collect();
            let panics = round % 3 == 0;
            for _ in 0..=round % 2 {
                for wait in &mut waits {
                    // The second time, it replaces the previous waker.
                    let waker = ReentrantWaker::waker(panics);
                    let polled = wait.poll_unpin(&mut Context::from_waker(&waker));
                    assert!(polled.is_pending());
                }
            }
            next_turn().await;
            let own = {
                let listener = listener.clone();
                spawn(async move { listener.accept().await.map(drop) })
            };
            next_turn().await;
            let mut clients = Vec::new();
            while !own.is_finished() {
                clients.push(TcpStream::connect(address).await?);
                turns(3).await;
                assert!(clients.len() < 100, "the waiting task is never woken");
            }
            own.await??;
            panicked += usize::from(panics);
            drop(waits);
            LISTENER.set(None);
            // One for the task, and the rest for the wakers or not accepted yet.
            let mut left = 0;
            while let Ok(accepted) = timeout(Duration::from_millis(1), listener.accept()).await {
                drop(accepted);
                left += 1;
            }
            assert_eq!(1 + TAKEN.get() + left, clients.len());
        }
        baseline.returns("reentrant wakers").await;
        io::Result::Ok(())
    };
    runtime.block_on(test).unwrap();
    let faults = faults.lock().unwrap();
    assert!(faults.len() >= panicked);
    assert!(
        faults
            .iter()
            .all(|fault| fault.contains("panics on purpose"))
    );
}

/// A pause by one task does not take connections from others.
#[test]
fn a_pause_while_others_wait_leaves_them_waiting() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let (listener, address) = listener_on(1).await?;
            for round in 0..20 {
                let wait = async {
                    match round % 2 {
                        0 => listener.accept().await.map(|(server, _)| server),
                        _ => listener.incoming().next().await,
                    }
                };
                let others = async {
                    next_turn().await;
                    net::Listener::pause(&listener).await?;
                    gimmal::try_join((
                        net::Listener::pause(&listener),
                        net::Listener::pause(&listener),
                    ))
                    .await?;
                    TcpStream::connect(address).await
                };
                let (server, client) = gimmal::try_join((wait, others)).await?;
                assert_eq!(server.peer_addr()?, client.local_addr()?);
            }
        }
        baseline.returns("pauses").await;
        Ok(())
    });
}

#[test]
fn an_accept_in_a_canceled_group_ends_at_once_and_the_listener_still_works() {
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        for _ in 0..20 {
            let accepted = group(async |g| {
                let accepting = g.spawn(async { listener.accept().await.map(drop) });
                turns(2).await;
                g.cancel();
                assert!(accepting.await.is_err());
                // No accept starts either.
                let again = listener.accept().await;
                assert!(is_canceled(&again.unwrap_err()));
                io::Result::Ok(())
            });
            accepted.await?;
            assert_eq!(in_kernel(), [""; 0]);
        }
        let client = TcpStream::connect(address).await?;
        assert_eq!(listener.accept().await?.1, client.local_addr()?);
        // In a canceled scope no accept starts, whether or not a connection is there.
        let client = TcpStream::connect(address).await?;
        for _ in 0..3 {
            let scope = Scope::new();
            scope.cancel();
            let accepted = scope.run(listener.accept()).await;
            assert!(is_canceled(&accepted.unwrap_err()));
            assert_eq!(in_kernel(), [""; 0]);
        }
        assert_eq!(listener.accept().await?.1, client.local_addr()?);
        Ok(())
    });
}

#[test]
fn a_listener_of_a_group_leaves_nothing_in_the_kernel_when_the_group_returns() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        for multishot in [false, true] {
            for connected in [0, 1, 5] {
                group(async |g| {
                    drop(g.spawn(async move {
                        let listener = TcpListener::bind("127.0.0.1:0").await?;
                        let address = listener.local_addr()?;
                        let waits = async {
                            match multishot {
                                true => listener.incoming().next().await.map(drop),
                                false => listener.accept().await.map(drop),
                            }
                        };
                        let waited = timeout(Duration::from_millis(1), waits).await;
                        assert!(waited.unwrap_err().is_elapsed());
                        for _ in 0..connected {
                            TcpStream::connect(address).await?;
                        }
                        io::Result::Ok(())
                    }));
                    Ok(())
                })
                .await?;
                let stats = Handle::current().stats();
                assert_eq!((stats.operations, stats.operation_rows), (0, 0));
                assert_eq!(descriptors(), baseline.descriptors());
            }
        }
        baseline.returns("listeners of groups").await;
        Ok(())
    });
}

#[test]
fn unclaimed_connections_are_closed_with_the_listener() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        for way in 0..3 {
            let (listener, address) = listener_on(1).await?;
            let mut clients = Vec::new();
            accepting_ahead(&listener, async {
                for _ in 0..150 {
                    clients.push(TcpStream::connect(address).await.unwrap());
                }
                turns(5).await;
            })
            .await;
            // The number of accepted connections is bounded.
            let collected = descriptors() - baseline.descriptors() - 1 - clients.len();
            // A kernel without multishot accept accepts none.
            assert!(
                collected == 0 || (64..150).contains(&collected),
                "{collected} were accepted"
            );
            match way {
                0 => drop(listener),
                1 => listener.close().await?,
                _ => {
                    net::Listener::pause(&listener).await?;
                    assert_eq!(in_kernel(), [""; 0]);
                    drop(listener);
                }
            }
            for client in clients {
                // Connections that were only in the kernel's queue may be reset.
                let ended = client.read(vec![0; 1]).await.map_or(0, |(n, _)| n);
                assert_eq!(ended, 0);
            }
            baseline.returns("a listener with connections").await;
        }
        Ok(())
    });
}

#[test]
fn a_listener_converts_to_std_when_its_accept_has_stopped() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        for waited in [false, true] {
            let (listener, address) = listener_on(1).await?;
            if waited {
                accepting_ahead(&listener, async {}).await;
            }
            let listener = listener.into_std().await?;
            assert_eq!(in_kernel(), [""; 0]);
            // It is blocking, and the same socket.
            let client = std::net::TcpStream::connect(address)?;
            assert_eq!(listener.accept()?.1, client.local_addr()?);
            let listener = TcpListener::from(listener);

            // A listener that has accepted a connection ahead keeps it until the next accept.
            if waited {
                let mut clients = Vec::new();
                let is_ahead = accepting_ahead(&listener, async {
                    clients.push(TcpStream::connect(address).await.unwrap());
                    turns(2).await;
                })
                .await;
                let listener = match listener.into_std().await {
                    Ok(listener) => TcpListener::from(listener),
                    Err(error) => {
                        assert!(is_ahead);
                        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
                        error.into_buf()
                    }
                };
                clients.push(TcpStream::connect(address).await?);
                assert_eq!(listener.accept().await?.1, clients[0].local_addr()?);
                let listener = listener.into_std().await?;
                assert_eq!(listener.accept()?.1, clients[1].local_addr()?);
            }
        }
        for ahead in [false, true] {
            let (listener, _) = listener_on(1).await?;
            let must_wait = match ahead {
                true => accepting_ahead(&listener, async {}).await,
                false => dropped_after(listener.accept(), 1, Moment::Turns(1))
                    .await
                    .is_some(),
            };
            let scope = Scope::new();
            scope.cancel();
            let handed_out = scope.run_any(listener.into_std()).await.unwrap();
            assert_eq!(handed_out.is_err(), must_wait);
            assert!(handed_out.err().is_none_or(|error| is_canceled(&error)));
        }
        baseline.returns("listeners converted to std").await;
        Ok(())
    });
}

#[test]
fn into_std_and_close_can_be_dropped_at_any_poll() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        for moment in MOMENTS {
            for closes in [false, true] {
                let mut polls = 0;
                loop {
                    let baseline = Baseline::take();
                    let (listener, _) = listener_on(1).await?;
                    let is_ahead = accepting_ahead(&listener, async {}).await;
                    let ended = match closes {
                        true => dropped_after(listener.close(), polls, moment)
                            .await
                            .is_some(),
                        false => dropped_after(listener.into_std(), polls, moment)
                            .await
                            .is_some(),
                    };
                    baseline.returns("a closing listener").await;
                    if ended {
                        assert!(polls > 1 || !is_ahead);
                        break;
                    }
                    polls += 1;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_listener_may_be_used_again_by_its_runtime_and_may_outlive_it() {
    if ran_in_own_process() {
        return;
    }
    // The descriptor that other threads use to wake a runtime is kept for the next one.
    drop(Runtime::builder().build().unwrap());
    let before = descriptors();
    for multishot in [true, false] {
        let mut runtime = Runtime::builder().build().unwrap();
        let test = async {
            let (listener, address) = listener_on(1).await?;
            match multishot {
                true => drop(accepting_ahead(&listener, async {}).await),
                false => drop(dropped_after(listener.accept(), 1, Moment::Turns(1)).await),
            }
            io::Result::Ok((listener, address))
        };
        let (listener, address) = runtime.block_on(test).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let accepted = runtime.block_on(listener.accept()).unwrap();
        assert_eq!(accepted.1, client.local_addr().unwrap());
        let _queued = std::net::TcpStream::connect(address).unwrap();
        drop((accepted, runtime));
        drop((listener, client, _queued));
        assert_eq!(descriptors(), before);
    }
}

/// Several tasks accept from one listener, while their waits are dropped by a foreign `select`, canceled and timed out
/// at random. Each client gets an answer.
#[test]
fn random_dropped_waits_lose_no_connection() {
    if common::ran_in_own_process() {
        return;
    }
    let waits: usize = quick_or_full(2_000, 100_000) / RINGS;
    const TASKS: usize = 5;
    on_each_ring(async || {
        let mut random = Random::new();
        let baseline = Baseline::take();
        {
            let (listener, address) = listener_on(2).await?;
            let (accepted, given_up) = (Cell::new(0), Cell::new(0));
            let clients = async {
                gimmal::map(0..waits, 16, async |n| {
                    // Used ports stay unavailable for a while, so the clients use several addresses.
                    let socket = TcpSocket::new_v4()?;
                    socket.bind(([127, 0, 1, (n % 250) as u8 + 1], 0).into())?;
                    let client = socket.connect(address).await?;
                    client.write_all(n.to_le_bytes().to_vec()).await?;
                    let answer = client.read_exact(vec![0; 8], 8).await?;
                    assert_eq!(answer, n.to_le_bytes());
                    // The server closes first, so the port in TIME_WAIT is the server's.
                    let (end, _) = client.read(vec![0; 1]).await?;
                    assert_eq!(end, 0);
                    io::Result::Ok(())
                })
                .await
            };
            let ended = group(async |g| {
                for _ in 0..TASKS {
                    let mut random = random.fork();
                    let (listener, accepted, given_up) = (&listener, &accepted, &given_up);
                    drop(g.spawn(async move {
                        let mut incoming = listener.incoming();
                        loop {
                            let waited = wait_at_random(listener, &mut incoming, &mut random).await;
                            let server = match waited {
                                Ok(server) => server,
                                Err(error) => return Err::<(), _>(error),
                            };
                            let Some(server) = server else {
                                given_up.set(given_up.get() + 1);
                                continue;
                            };
                            accepted.set(accepted.get() + 1);
                            drop(g.spawn(async move {
                                let number = server.read_exact(vec![0; 8], 8).await?;
                                server.write_all(number).await?;
                                io::Result::Ok(())
                            }));
                        }
                    }));
                }
                clients.await?;
                g.cancel();
                io::Result::Ok(())
            });
            ended.await?;
            println!(
                "{} accepted, {} abandoned waits",
                accepted.get(),
                given_up.get()
            );
            assert_eq!(accepted.get(), waits);
            assert!(given_up.get() > waits / 10);
        }
        baseline.returns("a storm of dropped waits").await;
        Ok(())
    });
}

/// Combinators of other crates also take connections, and lose none.
#[test]
fn incoming_implements_stream() {
    on_each_ring(async || {
        let (listener, address) = listener_on(1).await?;
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(TcpStream::connect(address).await?);
        }
        let taken: Vec<_> = listener.incoming().take(2).collect().await;
        for accepted in taken {
            accepted?;
        }
        let mut incoming = listener.incoming();
        let scope = Scope::new();
        scope.cancel();
        let rejected = scope
            .run_any(futures_util::StreamExt::next(&mut incoming))
            .await;
        assert!(is_canceled(&rejected.unwrap().unwrap().unwrap_err()));
        for _ in 2..5 {
            incoming.try_next().await?;
        }
        assert!(
            futures_util::StreamExt::next(&mut incoming)
                .now_or_never()
                .is_none()
        );
        Ok(())
    });
}

/// Waits for a connection in one of several ways, or gives up.
async fn wait_at_random(
    listener: &TcpListener,
    incoming: &mut Incoming<'_>,
    random: &mut Random,
) -> io::Result<Option<TcpStream>> {
    let multishot = random.one_in(2);
    let wait = async {
        match multishot {
            true => incoming.next().await,
            false => listener.accept().await.map(|(stream, _)| stream),
        }
    };
    let given_up = match random.below(5) {
        0 => {
            let turns = random.below(4);
            let mut other = Box::pin(self::turns(turns)).fuse();
            let mut wait = Box::pin(wait).fuse();
            futures_util::select! {
                () = other => return Ok(None),
                server = wait => server,
            }
        }
        1 => {
            let (polls, turns) = (random.below(3), random.below(3));
            match dropped_after(wait, polls, Moment::Turns(turns)).await {
                Some(server) => server,
                None => return Ok(None),
            }
        }
        2 => {
            let scope = Scope::new();
            let turns = random.below(4);
            let cancel = async {
                self::turns(turns).await;
                scope.cancel();
            };
            gimmal::join((scope.run(wait), cancel)).await.0
        }
        3 => {
            let time = Duration::from_micros(random.below(200) as u64);
            timeout(time, wait).await.map_err(Into::into)
        }
        _ => wait.await,
    };
    match given_up {
        Ok(server) => Ok(Some(server)),
        // The surrounding group was canceled, or this wait was.
        Err(error) if is_canceled(&error) || is_timeout(&error) => {
            gimmal::cancel::checkpoint().await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Limits the descriptors of this process. Only for child processes.
fn limit_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: the structure is initialized, and the call only reads it.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(done, 0);
}

fn runtime_that_reports() -> (Runtime, Arc<Mutex<Vec<String>>>) {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let seen = faults.clone();
    let runtime = Runtime::builder()
        .on_fault(move |fault| seen.lock().unwrap().push(fault.to_string()))
        .build()
        .unwrap();
    (runtime, faults)
}

/// Takes all remaining descriptors.
fn take_all(of: &TcpListener) -> Vec<std::os::fd::OwnedFd> {
    let mut taken = Vec::new();
    while let Ok(fd) = of.as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    taken
}

/// The error names the operation that needed another descriptor.
#[test]
fn without_descriptors_an_error_names_the_operation() {
    if ran_in_own_process() {
        return;
    }
    if !is_child() {
        return passes_in_child("without_descriptors_an_error_names_the_operation");
    }
    let test = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        limit_descriptors(64);
        let _taken = take_all(&listener);
        fn has_context<T>(made: io::Result<T>, what: &str) {
            let error = made.err().unwrap();
            assert!(error.to_string().starts_with(what), "{error}");
            let source = error.source().unwrap().downcast_ref::<io::Error>();
            assert_eq!(source.unwrap().raw_os_error(), Some(libc::EMFILE));
        }
        let listening = TcpListener::bind("127.0.0.1:0").await;
        has_context(listening, "listen on 127.0.0.1:0: ");
        let bound = UdpSocket::bind("127.0.0.1:0").await;
        has_context(bound, "bind to 127.0.0.1:0: ");
        let address = listener.local_addr()?;
        let connected = TcpStream::connect(address).await;
        has_context(connected, &format!("connect to {address}: "));
        has_context(TcpSocket::new_v4(), "make a socket of TCP: ");
        has_context(UnixStream::pair(), "make a pair of sockets: ");
        has_context(UnixDatagram::pair(), "make a pair of sockets: ");
        has_context(UnixDatagram::unbound(), "make a socket for datagrams: ");
        has_context(gimmal::io::pipe(), "make a pipe: ");
        io::Result::Ok(())
    };
    gimmal::run(test).unwrap();
}

#[test]
fn without_descriptors_accept_waits_reports_it_once_and_continues() {
    // The pipes to the child are descriptors of this process.
    if ran_in_own_process() {
        return;
    }
    if !is_child() {
        return passes_in_child("without_descriptors_accept_waits_reports_it_once_and_continues");
    }
    limit_descriptors(64);
    let (mut runtime, faults) = runtime_that_reports();
    let test = async {
        let (listener, address) = listener_on(1).await?;
        let said = || std::mem::take(&mut *faults.lock().unwrap());
        for multishot in [false, true, false] {
            let accept = async || match multishot {
                true => listener.incoming().next().await,
                false => listener.accept().await.map(|(stream, _)| stream),
            };
            let client = TcpStream::connect(address).await?;
            let taken = take_all(&listener);
            // It retries several times. Abandoned and new waits report nothing new.
            for _ in 0..3 {
                let waited = timeout(Duration::from_millis(120), accept()).await;
                assert!(waited.unwrap_err().is_elapsed());
            }
            let [fault] = &said()[..] else {
                panic!("reported more than once");
            };
            let expected = format!("no connection can be accepted on {address} for the moment");
            assert!(fault.starts_with(&expected), "{fault}");
            assert!(fault.contains("Too many open files"), "{fault}");
            // Other operations are not affected.
            sleep(Duration::from_millis(1)).await?;
            drop(taken);
            let server = accept().await?;
            assert_eq!(server.peer_addr()?, client.local_addr()?);
            net::Listener::pause(&listener).await?;
        }
        // A server waits in the same way, then serves the waiting clients.
        let taken = RefCell::new(take_all(&listener));
        taken.borrow_mut().pop();
        let served = net::serve(&listener, async |stream: TcpStream, _| {
            stream.write_all("welcome").await.map(drop)
        })
        .until(async {
            let client = TcpStream::connect(address).await?;
            sleep(Duration::from_millis(70)).await?;
            taken.borrow_mut().clear();
            assert_eq!(client.read_exact(vec![0; 7], 7).await?, b"welcome");
            io::Result::Ok(())
        })
        .await?;
        assert_eq!((served.accepted, served.failed), (1, 0));
        assert_eq!(said().len(), 1);
        io::Result::Ok(())
    };
    runtime.block_on(test).unwrap();
}

/// Creating and dropping sockets, connections and listeners in every way never runs out of descriptors.
#[test]
fn closing_always_ends_under_a_limit_of_64_descriptors() {
    // The pipes to the child are descriptors of this process.
    if ran_in_own_process() {
        return;
    }
    if !is_child() {
        return passes_in_child("closing_always_ends_under_a_limit_of_64_descriptors");
    }
    limit_descriptors(64);
    let (mut runtime, faults) = runtime_that_reports();
    let test = async {
        let mut random = Random::new();
        let (listener, address) = listener_on(3).await?;
        let baseline = Baseline::take();
        for n in 0..quick_or_full(3_000, 100_000) {
            let connect = async {
                let socket = TcpSocket::new_v4()?;
                socket.bind(([127, 0, 2, (n % 250) as u8 + 1], 0).into())?;
                socket.connect(address).await
            };
            match random.below(5) {
                0 => drop(
                    dropped_after(connect, random.below(3), Moment::AtOnce)
                        .await
                        .transpose()?,
                ),
                1 => drop(
                    dropped_after(listener.accept(), random.below(2), Moment::AtOnce)
                        .await
                        .transpose()?,
                ),
                2 => {
                    // A listener with an accept in flight, and perhaps with connections.
                    let (listener, address) = listener_on(4).await?;
                    let polls = random.below(2);
                    let moment = Moment::Turns(random.below(2));
                    drop(
                        dropped_after(listener.incoming().next(), polls, moment)
                            .await
                            .transpose()?,
                    );
                    if random.one_in(2) {
                        let _client = std::net::TcpStream::connect(address)?;
                    }
                    drop(listener);
                }
                _ => {
                    let client = connect.await?;
                    // The queue also contains clients that gave up: empty it.
                    let own = client.local_addr()?;
                    let server = loop {
                        let (server, peer) = listener.accept().await?;
                        if peer == own {
                            break server;
                        }
                    };
                    let polls = random.below(2);
                    drop(dropped_after(server.read(vec![0; 16]), polls, Moment::AtOnce).await);
                    if random.one_in(2) {
                        drop(client.write(vec![0; 16]).submit());
                    }
                }
            }
        }
        empty_queue(&listener).await?;
        baseline.returns("a storm under a limit").await;
        io::Result::Ok(())
    };
    runtime.block_on(test).unwrap();
    assert_eq!(*faults.lock().unwrap(), [""; 0]);
}

/// The descriptor limit of this process, raised to its maximum.
fn raise_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the calls read and write an initialized structure.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    limit.rlim_cur
}

/// One process serves and another one connects: all are idle at first, then all send at once.
#[test]
fn thousands_of_connections_at_once() {
    const ADDRESS: &str = "GIMMAL_TEST_ADDRESS";
    let connections: usize = quick_or_full(2_000, 10_000);
    if ran_in_own_process() {
        return;
    }
    if raise_limit() < connections as u64 + 200 {
        return common::skip!("RLIMIT_NOFILE is too low");
    }
    if is_child() {
        let address: SocketAddr = std::env::var(ADDRESS).unwrap().parse().unwrap();
        let clients = async {
            let clients = gimmal::map(0..connections, 100, async |n| {
                let client = TcpStream::connect(address).await?;
                client.write_all(n.to_le_bytes().to_vec()).await?;
                client.read_exact(vec![0; 8], 8).await?;
                io::Result::Ok(client)
            });
            let clients = clients.await?;
            assert_eq!(clients.len(), connections);
            gimmal::map(clients, connections, async |client| {
                for n in 0..3usize {
                    client.write_all(n.to_le_bytes().to_vec()).await?;
                    assert_eq!(client.read_exact(vec![0; 8], 8).await?, n.to_le_bytes());
                }
                io::Result::Ok(())
            })
            .await?;
            io::Result::Ok(())
        };
        return gimmal::run(clients).unwrap();
    }
    let test = async {
        let (listener, address) = listener_on(5).await?;
        let (now, most) = (Cell::new(0), Cell::new(0));
        let child = async {
            let child = gimmal::task::spawn_blocking(move || {
                let mut child = common::child("thousands_of_connections_at_once", &[]);
                child.env(ADDRESS, address.to_string()).output()
            });
            let output = child.await??;
            common::assert_passed("thousands_of_connections_at_once", &output);
            io::Result::Ok(())
        };
        let served = net::serve(&listener, async |stream: TcpStream, _| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            let mut buffer = Vec::with_capacity(64);
            let ended = loop {
                let (n, back) = stream.read(buffer).await?;
                if n == 0 {
                    break io::Result::Ok(());
                }
                buffer = stream.write_all(back).await?;
            };
            now.set(now.get() - 1);
            ended
        })
        .until(child)
        .await?;
        assert_eq!(served.accepted, connections as u64);
        assert_eq!((served.failed, served.cut_short), (0, 0));
        assert_eq!(most.get(), connections);
        io::Result::Ok(())
    };
    gimmal::run(test).unwrap();
}

/// Blocking clients on another thread, and a server that accepts in bursts.
#[test]
fn more_connections_than_are_accepted_ahead_arrive_in_order() {
    on_each_ring(async || {
        let (listener, address) = listener_on(6).await?;
        let mut incoming = listener.incoming();
        assert!(poll_once(&mut Box::pin(incoming.next())).await.is_pending());
        for _ in 0..5 {
            let clients = std::thread::spawn(move || {
                let connect = |_| std::net::TcpStream::connect(address);
                (0..200).map(connect).collect::<io::Result<Vec<_>>>()
            });
            let mut clients =
                gimmal::task::spawn_blocking(move || clients.join().unwrap()).await??;
            for client in &mut clients {
                client.write_all(b"x")?;
                let server = incoming.next().await?;
                assert_eq!(server.peer_addr()?, client.local_addr()?);
                let (n, _) = server.read(vec![0; 1]).await?;
                assert_eq!(n, 1);
                drop(server);
                assert_eq!(client.read(&mut [0; 1])?, 0);
            }
        }
        Ok(())
    });
}
