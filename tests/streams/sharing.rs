//! A listening socket shared by several threads or processes: a connection goes to a holder that has time for it, and
//! never to one that is not accepting.

use common::{Moment, dropped_after, is_child, next_turn, ran_in_own_process, rings};
use gimmal::cancel::Scope;
use gimmal::net::{self, TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use gimmal::{Handle, is_timeout, join, sleep, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// A client that gets an answer never waits this long.
const NEVER: Duration = Duration::from_secs(20);

/// The byte sent by a client whose answer takes a long time.
const LONG: u8 = b'l';
const SHORT: u8 = b's';

const CLIENTS: usize = 20;

/// How a thread serves connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Accept,
    Incoming,
    Stream,
    Serve,
    Limited,
}

const WAYS: [Way; 5] = [
    Way::Accept,
    Way::Incoming,
    Way::Stream,
    Way::Serve,
    Way::Limited,
];

/// State shared by the threads of a test: a computing thread reports itself, and continues on request.
struct Desk {
    computes: mpsc::Sender<usize>,
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
    answered: Arc<AtomicUsize>,
}

impl Desk {
    /// Answers one connection. A long answer blocks the whole thread, like a computation.
    async fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let question = stream.read_exact(vec![0; 1], 1).await?;
        if question == [LONG] {
            self.computes
                .send(self.answered.load(Ordering::Relaxed))
                .unwrap();
            let _told = self.go_on.lock().unwrap().recv_timeout(NEVER);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        stream.write_all(question).await?;
        Ok(())
    }
}

/// A thread that serves until the peer of `stop` is closed.
fn server(
    way: Way,
    listener: std::net::TcpListener,
    desk: Desk,
    stop: std::os::unix::net::UnixStream,
) {
    gimmal::run(async {
        let listener = TcpListener::from_std(listener);
        let stop = UnixStream::from_std(stop);
        let stopped = async || drop(stop.read(vec![0; 1]).await);
        let desk = Rc::new(desk);
        let begin = |stream| {
            let desk = desk.clone();
            drop(spawn(async move { desk.answer(stream).await.unwrap() }));
        };
        let scope = Scope::new();
        let serving = async {
            match way {
                Way::Accept => loop {
                    begin(listener.accept().await?.0);
                },
                Way::Incoming => {
                    let mut incoming = listener.incoming();
                    loop {
                        begin(incoming.next().await?);
                    }
                }
                Way::Stream => {
                    let mut incoming = listener.incoming();
                    while let Some(stream) = futures_util::StreamExt::next(&mut incoming).await {
                        begin(stream?);
                    }
                    Ok(())
                }
                Way::Serve | Way::Limited => {
                    let serve = net::serve(&listener, async |stream, _| desk.answer(stream).await);
                    let limit = if way == Way::Limited { 3 } else { usize::MAX };
                    serve.limit(limit).until(stopped()).await.map(drop)
                }
            }
        };
        let stopping = async {
            stopped().await;
            scope.cancel();
        };
        let (served, ()) = join((scope.run(serving), stopping)).await;
        served.or_else(|error: io::Error| match gimmal::is_canceled(&error) {
            true => io::Result::Ok(()),
            false => Err(error),
        })
    })
    .unwrap();
}

/// A blocking client, which sends its question and expects an answer in time.
fn ask(address: SocketAddr, question: u8) -> std::net::TcpStream {
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(NEVER)).unwrap();
    client.write_all(&[question]).unwrap();
    client
}

/// Another descriptor of the socket, for accepts with a time limit.
fn shared(fd: impl AsFd) -> io::Result<OwnedFd> {
    let other = fd.as_fd().try_clone_to_owned()?;
    socket2::SockRef::from(&other).set_read_timeout(Some(NEVER))?;
    Ok(other)
}

fn assert_answered(mut client: std::net::TcpStream) {
    let mut answer = [0; 1];
    client.read_exact(&mut answer).expect("an answer in time");
}

#[test]
fn while_one_thread_computes_the_others_answer_all_clients() {
    const THREADS: usize = 3;
    for way in WAYS {
        for at_once in [false, true] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (computes, computing) = mpsc::channel();
            let (go_on, told) = mpsc::channel();
            let told = Arc::new(Mutex::new(told));
            let mut stops = Vec::new();
            let answered: Vec<Arc<AtomicUsize>> = (0..THREADS).map(|_| Arc::default()).collect();
            let threads: Vec<_> = answered
                .iter()
                .map(|answered| {
                    let (stop, stopped) = std::os::unix::net::UnixStream::pair().unwrap();
                    stops.push(stop);
                    let listener = listener.try_clone().unwrap();
                    let desk = Desk {
                        computes: computes.clone(),
                        go_on: told.clone(),
                        answered: answered.clone(),
                    };
                    thread::spawn(move || server(way, listener, desk, stopped))
                })
                .collect();
            // All threads but one compute, so only one thread has time.
            let long: Vec<_> = (1..THREADS)
                .map(|_| {
                    let client = ask(address, LONG);
                    computing.recv_timeout(NEVER).expect("a computing thread");
                    client
                })
                .collect();
            match at_once {
                false => (0..CLIENTS).for_each(|_| assert_answered(ask(address, SHORT))),
                true => {
                    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(address, SHORT)).collect();
                    clients.into_iter().for_each(assert_answered);
                }
            }
            let most = answered
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .max();
            assert_eq!(most, Some(CLIENTS), "{way:?}");
            for _ in 1..THREADS {
                go_on.send(()).unwrap();
            }
            long.into_iter().for_each(assert_answered);
            drop(stops);
            for thread in threads {
                thread.join().unwrap();
            }
        }
    }
}

/// Uses our listener in one of several ways, then stops accepting.
async fn use_and_stop(listener: &TcpListener, way: usize) {
    const SHORTLY: Duration = Duration::from_millis(1);
    match way {
        0 => {
            let waited = timeout(SHORTLY, listener.accept()).await;
            assert!(is_timeout(&waited.unwrap_err()));
        }
        1 => {
            let mut incoming = listener.incoming();
            let waited = timeout(SHORTLY, incoming.next()).await;
            assert!(is_timeout(&waited.unwrap_err()));
        }
        2 => {
            let waited = dropped_after(listener.accept(), 1, Moment::Turns(1)).await;
            assert!(waited.is_none());
        }
        3 => {
            let server = net::serve(listener, async |_, _| ()).into_future();
            assert!(dropped_after(server, 2, Moment::Turns(1)).await.is_none());
        }
        4 => {
            let server = net::serve(listener, async |_, _| ());
            assert_eq!(server.until(sleep(SHORTLY)).await.unwrap().accepted, 0);
        }
        5 => {
            let scope = Scope::new();
            let cancel = async {
                next_turn().await;
                scope.cancel();
            };
            let (waited, ()) = join((scope.run(listener.accept()), cancel)).await;
            assert!(gimmal::is_canceled(&waited.unwrap_err()));
        }
        6 => {
            // A TCP socket has more ways to accept.
            let server = net::serve(listener, async |_, _| ()).accept_ahead(16);
            assert!(
                dropped_after(server.into_future(), 2, Moment::Turns(1))
                    .await
                    .is_none()
            );
            net::Listener::pause(listener).await.unwrap();
        }
        7 => {
            let waits = (0..3).map(|_| Box::pin(listener.accept()));
            let mut waits: Vec<_> = waits.collect();
            for wait in &mut waits {
                assert!(futures_util::FutureExt::now_or_never(wait).is_none());
            }
            next_turn().await;
        }
        _ => unreachable!(),
    }
}

const WAYS_TO_STOP: usize = 8;

/// Another thread accepts with std.
fn answer_with_std(listener: std::net::TcpListener) {
    for _ in 0..CLIENTS {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 1];
        stream.read_exact(&mut question).unwrap();
        stream.write_all(&question).unwrap();
    }
}

#[test]
fn a_listener_that_no_longer_accepts_takes_no_connections() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        for way in 0..WAYS_TO_STOP {
            for turns_meanwhile in [true, false] {
                let test = async {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    let address = listener.local_addr()?;
                    use_and_stop(&listener, way).await;
                    let other = shared(&listener)?.into();
                    let other = thread::spawn(move || answer_with_std(other));
                    let clients = move || {
                        (0..CLIENTS).for_each(|_| assert_answered(ask(address, SHORT)));
                    };
                    let clients = thread::spawn(clients);
                    // In the middle of a poll, or between turns.
                    while turns_meanwhile && !clients.is_finished() {
                        sleep(Duration::from_micros(100)).await?;
                    }
                    clients.join().unwrap();
                    other.join().unwrap();
                    next_turn().await;
                    assert_eq!(Handle::current().stats().operations, 0);
                    io::Result::Ok(())
                };
                ring.clone().build().unwrap().block_on(test).unwrap();
            }
        }
    }
}

/// A wait that exists but is not polled takes no connection: only the poll that returns a connection takes it.
#[test]
fn a_connection_is_taken_by_the_poll_that_returns_it() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let other: std::net::TcpListener = shared(&listener)?.into();
            let mut incoming = listener.incoming();
            let mut streamed = futures_util::StreamExt::next(&mut incoming);
            let mut wait = Box::pin(listener.accept());
            assert!(futures_util::poll!(&mut wait).is_pending());
            assert!(futures_util::poll!(&mut streamed).is_pending());
            next_turn().await;
            for _ in 0..3 {
                let client = ask(address, SHORT);
                for _ in 0..5 {
                    next_turn().await;
                }
                // The connection is still available: std accepts it without waiting.
                assert_eq!(other.accept()?.1, client.local_addr()?);
                assert!(futures_util::poll!(&mut wait).is_pending());
                assert!(futures_util::poll!(&mut streamed).is_pending());
            }
            let client = ask(address, SHORT);
            assert_eq!(wait.await?.1, client.local_addr()?);
            let client = ask(address, SHORT);
            let taken = streamed.await.unwrap()?;
            assert_eq!(taken.peer_addr()?, client.local_addr()?);
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

/// Any number of waiters needs at most one accept in the kernel, and after the last waiter there is none.
#[test]
fn one_accept_is_in_flight_while_any_task_waits() {
    if ran_in_own_process() {
        return;
    }
    let in_kernel = || {
        let operations = Handle::current().operations();
        operations.iter().map(|it| it.kind).collect::<Vec<_>>()
    };
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
            let waits: Vec<_> = (0..5)
                .map(|_| {
                    let listener = listener.clone();
                    spawn(async move { listener.accept().await.map(drop) })
                })
                .collect();
            next_turn().await;
            for wait in waits {
                next_turn().await;
                assert_eq!(in_kernel(), ["accept"]);
                wait.abort();
                let _aborted = wait.await;
            }
            next_turn().await;
            assert_eq!(in_kernel(), [""; 0]);
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

/// A server takes one connection, starts its handler, then takes the next.
#[test]
fn a_burst_is_taken_one_by_one_as_handlers_start() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            for way in 0..3 {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let other: std::net::TcpListener = shared(&listener)?.into();
                other.set_nonblocking(true)?;
                let clients: Vec<_> = (0..CLIENTS).map(|_| ask(address, SHORT)).collect();
                let (taken, begun) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let begin = {
                    let (taken, begun) = (taken.clone(), begun.clone());
                    move || {
                        begun.set(begun.get() + 1);
                        // The handler of the last connection may not have started, but those of all others have.
                        assert!(taken.get() - begun.get() <= 1);
                    }
                };
                match way {
                    0 => {
                        while taken.get() < CLIENTS {
                            let (_stream, _) = listener.accept().await?;
                            taken.set(taken.get() + 1);
                            let begin = begin.clone();
                            drop(spawn(async move { begin() }));
                        }
                        while begun.get() < CLIENTS {
                            yield_now().await;
                        }
                    }
                    1 => {
                        let mut incoming = listener.incoming();
                        while taken.get() < CLIENTS {
                            let _stream = incoming.next().await?;
                            taken.set(taken.get() + 1);
                            let begin = begin.clone();
                            drop(spawn(async move { begin() }));
                        }
                        while begun.get() < CLIENTS {
                            yield_now().await;
                        }
                    }
                    // Connections without a started handler are available to others: std takes every second one.
                    _ => {
                        let others = Cell::new(0);
                        let served = net::serve(&listener, async |_: TcpStream, _| {
                            begun.set(begun.get() + 1);
                            others.set(others.get() + usize::from(other.accept().is_ok()));
                        })
                        .until(async {
                            while begun.get() + others.get() < CLIENTS {
                                yield_now().await;
                            }
                        })
                        .await?;
                        assert_eq!(served.accepted as usize, CLIENTS / 2);
                        assert_eq!(others.get(), CLIENTS / 2);
                    }
                }
                drop(clients);
            }
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

#[test]
fn a_unix_listener_that_no_longer_accepts_takes_no_connections() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            let directory = common::directory();
            let path = directory.path().join("socket");
            let listener = UnixListener::bind(&path)?;
            let waited = timeout(Duration::from_millis(1), listener.accept()).await;
            assert!(is_timeout(&waited.unwrap_err()));
            let waited = timeout(Duration::from_millis(1), listener.incoming().next()).await;
            assert!(is_timeout(&waited.unwrap_err()));
            let other = shared(&listener)?;
            let other = std::os::unix::net::UnixListener::from(other);
            for _ in 0..CLIENTS {
                let _client = std::os::unix::net::UnixStream::connect(&path)?;
                next_turn().await;
                other.accept()?;
            }
            let served = net::serve(&listener, async |stream: UnixStream, _| {
                stream.write_all("x").await.map(drop)
            });
            let asking = async {
                for _ in 0..CLIENTS {
                    let client = UnixStream::connect(&path).await?;
                    client.read_exact(vec![0; 1], 1).await?;
                }
                io::Result::Ok(())
            };
            assert_eq!(served.until(asking).await?.accepted as usize, CLIENTS);
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

/// The child process gets the listener as its standard input.
#[test]
fn another_process_gets_the_connections_not_accepted_here() {
    const NAME: &str = "another_process_gets_the_connections_not_accepted_here";
    if is_child() {
        let listener = io::stdin().as_fd().try_clone_to_owned().unwrap();
        return answer_with_std(listener.into());
    }
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        for way in 0..WAYS_TO_STOP {
            use_and_stop(&listener, way).await;
        }
        let shared = shared(&listener)?;
        let mut child = common::child(NAME, &[]);
        let child = child
            .stdin(Stdio::from(shared))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = child.spawn()?;
        // Between turns, and in the middle of a poll.
        let clients = thread::spawn(move || {
            (0..CLIENTS / 2).for_each(|_| assert_answered(ask(address, SHORT)));
        });
        while !clients.is_finished() {
            sleep(Duration::from_micros(100)).await?;
        }
        clients.join().unwrap();
        (0..CLIENTS / 2).for_each(|_| assert_answered(ask(address, SHORT)));
        common::assert_passed(NAME, &child.wait_with_output()?);
        io::Result::Ok(())
    })
    .unwrap();
}

/// Accepting on a socket that is not listening fails at once, as in std.
#[test]
fn accepting_on_a_socket_that_does_not_listen_is_an_error() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            let (stream, _peer) = std::os::unix::net::UnixStream::pair()?;
            let listener = UnixListener::from(OwnedFd::from(stream));
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            let listener = TcpListener::from(OwnedFd::from(socket));
            let error = listener.accept().await.unwrap_err();
            assert!(error.to_string().contains("accept a connection"), "{error}");
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

/// Accepting ahead is explicit: connections are accepted before their handlers start, up to a limit, and none is lost.
#[test]
fn accepting_ahead_is_explicit_and_loses_nothing() {
    if ran_in_own_process() {
        return;
    }
    for (name, ring) in rings() {
        println!("ring: {name}");
        let test = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let other: std::net::TcpListener = shared(&listener)?.into();
            other.set_nonblocking(true)?;
            let clients: RefCell<Vec<_>> = RefCell::default();
            let served = net::serve(&listener, async |stream: TcpStream, _| {
                let question = stream.read_exact(vec![0; 1], 1).await?;
                stream.write_all(question).await
            })
            .accept_ahead(8)
            .limit(100)
            .until(async {
                for _ in 0..3 {
                    clients
                        .borrow_mut()
                        .extend((0..CLIENTS).map(|_| ask(address, SHORT)));
                    next_turn().await;
                }
            })
            .await?;
            // Connections that came too late are still available.
            let mut late = 0;
            while let Ok((server, _)) = listener.accept().timeout_at_once().await {
                let question = server.read_exact(vec![0; 1], 1).await?;
                server.write_all(question).await?;
                late += 1;
            }
            assert_eq!(served.accepted as usize + late, 3 * CLIENTS);
            clients.take().into_iter().for_each(assert_answered);
            // From now on, this listener takes no connections.
            let client = ask(address, SHORT);
            next_turn().await;
            assert_eq!(other.accept()?.1, client.local_addr()?);
            io::Result::Ok(())
        };
        ring.build().unwrap().block_on(test).unwrap();
    }
}

/// A wait for a connection that is already there.
trait AtOnce: Future<Output = io::Result<(TcpStream, SocketAddr)>> + Sized {
    async fn timeout_at_once(self) -> io::Result<(TcpStream, SocketAddr)> {
        timeout(Duration::from_millis(20), self)
            .await
            .map_err(Into::into)
    }
}

impl<F: Future<Output = io::Result<(TcpStream, SocketAddr)>>> AtOnce for F {}

/// One socket per thread: the kernel distributes connections by their addresses.
#[test]
fn sockets_that_reuse_a_port_spread_the_load_over_threads() {
    const THREADS: usize = 4;
    const CLIENTS: usize = 200;
    let listener = |address: SocketAddr| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        io::Result::Ok((listener, address))
    };
    // Reserves the port, and stops listening when the others listen.
    let (sender, addresses) = mpsc::channel();
    let (first, rest) = (Arc::new(Mutex::new(None::<SocketAddr>)), sender);
    let mut stops = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (stop, stopped) = std::os::unix::net::UnixStream::pair().unwrap();
        stops.push(stop);
        let (first, ready) = (first.clone(), rest.clone());
        let thread = thread::spawn(move || {
            gimmal::run(async {
                let listener = {
                    let mut first = first.lock().unwrap();
                    let any = SocketAddr::from(([127, 0, 0, 1], 0));
                    let (listener, address) = listener(first.unwrap_or(any))?;
                    *first = Some(address);
                    ready.send(address).unwrap();
                    listener
                };
                let stop = UnixStream::from_std(stopped);
                let served = listener
                    .serve(async |stream, _| {
                        let question = stream.read_exact(vec![0; 1], 1).await?;
                        stream.write_all(question).await
                    })
                    .until(async { drop(stop.read(vec![0; 1]).await) })
                    .await?;
                assert_eq!((served.failed, served.cut_short), (0, 0));
                io::Result::Ok(served.accepted as usize)
            })
            .unwrap()
        });
        threads.push(thread);
    }
    let address = addresses.recv().unwrap();
    for _ in 1..THREADS {
        assert_eq!(addresses.recv().unwrap(), address);
    }
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(address, SHORT)).collect();
    clients.into_iter().for_each(assert_answered);
    drop(stops);
    let shares: Vec<usize> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    println!("{shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), CLIENTS);
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}
