//! Serving: isolated connections, orderly stops, drain times and limits.

use common::{
    Baseline, Faults, Moment, Random, dropped_everywhere, next_turn, on_each_ring, quick_or_full,
    ran_in_own_process,
};
use gimmal::cancel::{Scope, shield};
use gimmal::net::{self, Listener, TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use gimmal::{Handle, Runtime, is_canceled, join, sleep, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// Runs a test, and returns the faults that were reported to the hook.
fn run_with_faults(test: impl Future<Output = io::Result<()>>) -> Vec<String> {
    let faults = Faults::default();
    let mut runtime = faults.hear(Runtime::builder()).build().unwrap();
    runtime.block_on(test).unwrap();
    drop(runtime);
    faults.take()
}

/// A flag that tasks can wait for.
#[derive(Clone, Default)]
struct Flag(Rc<Cell<bool>>);

impl Flag {
    fn set(&self) {
        self.0.set(true);
    }

    async fn wait(&self) {
        while !self.0.get() {
            sleep(Duration::from_millis(1)).await.unwrap();
        }
    }
}

async fn listener() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn echo(stream: TcpStream, _: SocketAddr) -> io::Result<()> {
    let mut buffer = vec![0; 256];
    loop {
        let (n, back) = stream.read(buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let (n, back) = (n, stream.write_all(back).await?);
        assert_eq!(n, back.len());
        buffer = back;
        buffer.resize(256, 0);
    }
}

async fn echoes(client: &TcpStream, text: &'static str) -> io::Result<()> {
    client.write_all(text).await?;
    let answer = client.read_exact(vec![0; text.len()], text.len()).await?;
    assert_eq!(answer, text.as_bytes());
    Ok(())
}

#[test]
fn each_connection_is_served_until_the_stop() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let (listener, address) = listener().await?;
            let clients = async {
                gimmal::map(0..200, 50, async |_| {
                    let client = TcpStream::connect(address).await?;
                    echoes(&client, "one").await?;
                    echoes(&client, "two").await
                })
                .await?;
                io::Result::Ok(())
            };
            let served = net::serve(&listener, echo).until(clients).await?;
            assert_eq!(served.accepted, 200);
            assert_eq!((served.failed, served.cut_short), (0, 0));
        }
        baseline.returns("a server").await;
        Ok(())
    });
}

#[test]
fn after_the_stop_open_connections_finish_and_no_more_are_accepted() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let (listener, address) = listener().await?;
            let (stop, seen, late) = (Flag::default(), Flag::default(), Flag::default());
            let until = async {
                stop.wait().await;
                seen.set();
            };
            let server = net::serve(&listener, echo)
                .until(until)
                .drain(LONG)
                .into_future();
            let clients = async {
                let early = TcpStream::connect(address).await?;
                echoes(&early, "before the stop").await?;
                stop.set();
                // Later clients wait in the kernel's queue. Those that connected before the server saw the stop are
                // still served.
                let mut held_up = Vec::new();
                let waits = loop {
                    let is_late = seen.0.get();
                    let client = TcpStream::connect(address).await?;
                    client.write_all("too late").await?;
                    let answer = client.read(vec![0; 8]).timeout(Duration::from_millis(20));
                    match answer.await {
                        Ok(_) => yield_now().await,
                        Err(error) => {
                            assert!(gimmal::is_timeout(&error));
                            if is_late {
                                break client;
                            }
                            // Whether this client was served is unknown. It must not delay the server.
                            client.shutdown(std::net::Shutdown::Write)?;
                            held_up.push(client);
                        }
                    }
                };
                echoes(&early, "after the stop").await?;
                drop(early);
                late.set();
                io::Result::Ok((waits, held_up))
            };
            let (served, clients) = join((server, clients)).await;
            let (served, (waits, _held_up)) = (served?, clients?);
            assert_eq!((served.failed, served.cut_short), (0, 0));
            assert!(late.0.get());
            assert_eq!(Handle::current().stats().operations, 0);
            // The waiting client is not lost: the listener can be served again.
            let again = net::serve(&listener, echo).until(async move {
                let (_, answer) = waits.read(vec![0; 8]).await?;
                assert_eq!(answer, b"too late");
                io::Result::Ok(())
            });
            let served = again.await?;
            assert!(served.accepted >= 1);
        }
        baseline.returns("a server that was stopped").await;
        Ok(())
    });
}

#[test]
fn connections_that_exceed_the_drain_time_are_canceled_and_awaited() {
    if common::ran_in_own_process() {
        return;
    }
    let faults = run_with_faults(async {
        let baseline = Baseline::take();
        {
            let (listener, address) = listener().await?;
            let cleaned_up = Cell::new(0);
            let started = Flag::default();
            let count = Cell::new(0);
            let handler = async |stream: TcpStream, _| {
                count.set(count.get() + 1);
                if count.get() == 4 {
                    started.set();
                }
                match count.get() {
                    // An operation in flight ends `Canceled`.
                    1 | 2 => {
                        let error = stream.read(vec![0; 1]).await.unwrap_err();
                        assert!(is_canceled(&error));
                        shield(sleep(Duration::from_millis(5))).await?;
                        cleaned_up.set(cleaned_up.get() + 1);
                        Err(error.into())
                    }
                    // A connection that waits for a foreign future is dropped.
                    3 => pending().await,
                    // A handler that returns `Ok` does not count as cut short.
                    _ => {
                        let _ = sleep(LONG).await;
                        cleaned_up.set(cleaned_up.get() + 1);
                        io::Result::Ok(())
                    }
                }
            };
            let server = net::serve(&listener, handler)
                .until(started.wait())
                .drain(Duration::from_millis(10));
            let clients = async {
                let mut clients = Vec::new();
                for _ in 0..4 {
                    clients.push(TcpStream::connect(address).await?);
                }
                for client in &clients {
                    // The server closes the connections one after another.
                    let (n, _) = client.read(vec![0; 1]).await?;
                    assert_eq!(n, 0);
                }
                io::Result::Ok(())
            };
            let (served, clients) = join((server.into_future(), clients)).await;
            clients?;
            let served = served?;
            assert_eq!(served.accepted, 4);
            assert_eq!((served.failed, served.cut_short), (0, 3));
            assert_eq!(cleaned_up.get(), 3);
        }
        baseline.returns("connections that were canceled").await;
        Ok(())
    });
    // Canceling a connection is not a fault.
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_failing_connection_affects_no_other_and_the_hook_gets_its_address() {
    let names = Rc::new(RefCell::new(Vec::new()));
    let told = names.clone();
    let faults = run_with_faults(async move {
        let (listener, address) = listener().await?;
        let served = net::serve(&listener, async |stream: TcpStream, peer| {
            let (_, text) = stream.read(vec![0; 8]).await?;
            match &text[..] {
                b"fail" => {
                    told.borrow_mut().push(peer);
                    Err(io::Error::other("failure on request"))
                }
                b"panic" => {
                    told.borrow_mut().push(peer);
                    panic!("panic on request");
                }
                _ => stream.write_all(text).await.map(drop).map_err(Into::into),
            }
        })
        .until(async {
            for text in ["fail", "panic"] {
                let client = TcpStream::connect(address).await?;
                client.write_all(text).await?;
                let (n, _) = client.read(vec![0; 1]).await?;
                assert_eq!(n, 0);
            }
            let client = TcpStream::connect(address).await?;
            echoes(&client, "fine").await
        })
        .await?;
        assert_eq!(
            (served.accepted, served.failed, served.cut_short),
            (3, 2, 0)
        );
        Ok(())
    });
    let names = names.borrow();
    assert_eq!(
        faults,
        [
            format!(
                "child \"connection of {}\" failed, and nobody joined it: failure on request",
                names[0]
            ),
            format!(
                "task \"connection of {}\" panicked, and nobody joined it: panic on request",
                names[1]
            ),
        ]
    );
}

#[test]
fn a_canceled_scope_stops_the_server_but_not_its_connections() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        for foreign in [true, false] {
            let (listener, address) = listener().await?;
            let scope = Scope::new();
            let until = async {
                match foreign {
                    true => pending().await,
                    false => sleep(LONG).await,
                }
            };
            let server = net::serve(&listener, echo).until(until).drain(LONG);
            let clients = async {
                let client = TcpStream::connect(address).await?;
                echoes(&client, "before").await?;
                scope.cancel();
                next_turn().await;
                echoes(&client, "after").await?;
                io::Result::Ok(())
            };
            let (served, clients) = join((scope.run(server.into_future()), clients)).await;
            clients?;
            // The server ended well, so its counts are returned, and the scope still counts as responsible.
            let served = served?;
            assert_eq!(
                (served.accepted, served.failed, served.cut_short),
                (1, 0, 0)
            );
            assert!(scope.canceled_caught());
        }
        baseline.returns("a server in a canceled scope").await;
        // In a canceled scope, serving does not start.
        let (listener, _address) = listener().await?;
        let scope = Scope::new();
        scope.cancel();
        let server = net::serve(&listener, echo).into_future();
        assert!(is_canceled(&scope.run(server).await.unwrap_err()));
        assert_eq!(Handle::current().stats().operations, 0);
        // A timeout is another way to limit the serving time.
        let server = net::serve(&listener, echo).into_future();
        let served = timeout(Duration::from_millis(5), server).await?;
        assert_eq!(served.accepted, 0);
        Ok(())
    });
}

#[test]
fn a_failing_stop_is_returned_after_all_connections_have_ended() {
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let stop = Flag::default();
        let server = net::serve(&listener, echo).until(async {
            stop.wait().await;
            Err::<(), _>("no signal available")
        });
        let clients = async {
            let client = TcpStream::connect(address).await?;
            echoes(&client, "before").await?;
            stop.set();
            sleep(Duration::from_millis(10)).await?;
            echoes(&client, "after").await
        };
        let (served, clients) = join((server.into_future(), clients)).await;
        clients?;
        assert_eq!(served.unwrap_err().to_string(), "no signal available");
        Ok(())
    });
}

#[test]
fn a_failing_listener_is_returned_after_all_connections_have_ended() {
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let server = net::serve(&listener, echo).drain(LONG).into_future();
        let clients = async {
            let client = TcpStream::connect(address).await?;
            echoes(&client, "before").await?;
            // A socket that was shut down can no longer listen.
            socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Read)?;
            next_turn().await;
            echoes(&client, "after").await
        };
        let (served, clients) = join((server, clients)).await;
        clients?;
        let error = served.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        Ok(())
    });
}

#[test]
fn the_limit_bounds_the_connections_served_at_once() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        for limit in [1, 3, 70] {
            let (listener, address) = {
                let socket = TcpSocket::new_v4()?;
                socket.bind(([127, 0, 0, 1], 0).into())?;
                let listener = socket.listen(1024)?;
                let address = listener.local_addr()?;
                (listener, address)
            };
            let (now, most) = (Cell::new(0), Cell::new(0));
            let before = common::descriptors();
            let served = net::serve(&listener, async |stream: TcpStream, peer| {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                let ended = echo(stream, peer).await;
                now.set(now.get() - 1);
                ended
            })
            .limit(limit)
            .until(async {
                let mut clients = Vec::new();
                for _ in 0..300 {
                    clients.push(TcpStream::connect(address).await?);
                }
                // The maximum number of connections is served, and no more are accepted.
                while now.get() < limit {
                    yield_now().await;
                }
                for _ in 0..10 {
                    next_turn().await;
                }
                assert_eq!(common::descriptors(), before + 300 + limit);
                // A waiting client is served once an earlier one has gone.
                for client in clients {
                    echoes(&client, "my turn").await?;
                }
                io::Result::Ok(())
            })
            .await?;
            assert_eq!((served.accepted, served.failed), (300, 0));
            assert_eq!(most.get(), limit);
        }
        baseline.returns("servers with a limit").await;
        Ok(())
    });
}

#[test]
fn a_server_dropped_at_any_poll_leaves_nothing_behind() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let server = || {
            let client = async {
                let client = TcpStream::connect(address).await?;
                echoes(&client, "hello").await
            };
            net::serve(&listener, echo).until(client).into_future()
        };
        // The accept belongs to the listener: start it before the counts are taken.
        server().await?;
        let mut accept = Box::pin(listener.accept());
        let first = std::future::poll_fn(|context| {
            std::task::Poll::Ready(accept.as_mut().poll(context).is_pending())
        });
        assert!(first.await);
        drop(accept);
        listener.pause().await?;
        let moments = [Moment::AtOnce, Moment::Turns(1), Moment::Turns(3)];
        for moment in moments {
            let mut polls = 0;
            loop {
                let baseline = Baseline::take();
                let ended = common::dropped_after(server(), polls, moment).await;
                listener.pause().await?;
                while let Some(Ok(_)) = futures_util::FutureExt::now_or_never(listener.accept()) {}
                listener.pause().await?;
                let after = format!("a server, dropped after {polls} polls, {moment:?}");
                baseline.returns(&after).await;
                if ended.is_some() {
                    break;
                }
                polls += 1;
            }
            assert!(polls > 3);
        }
        let none = dropped_everywhere("a server without clients", &moments, || {
            net::serve(&listener, echo).until(async {}).into_future()
        });
        assert!(none.await > 1);
        Ok(())
    });
}

/// Each connection is counted once, whenever the stop comes.
#[test]
fn each_accepted_connection_is_counted_once() {
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let mut queued = Vec::new();
        for _ in 0..50 {
            queued.push(TcpStream::connect(address).await?);
        }
        for turns in 0..20 {
            let ended = Cell::new(0);
            let served = net::serve(&listener, async |stream: TcpStream, _| {
                let n = stream.read(vec![0; 1]).await.map(|(n, _)| n)?;
                ended.set(ended.get() + n as u64);
                io::Result::Ok(())
            })
            .drain(Duration::ZERO)
            .until(async {
                for _ in 0..turns {
                    yield_now().await;
                }
            })
            .await?;
            assert_eq!(served.accepted, served.cut_short + ended.get());
            assert_eq!(served.failed, 0);
        }
        Ok(())
    });
}

#[test]
fn a_zero_drain_time_cancels_connections_at_once() {
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let stop = Flag::default();
        let server = net::serve(&listener, echo)
            .until(stop.wait())
            .drain(Duration::ZERO);
        let client = async {
            let client = TcpStream::connect(address).await?;
            echoes(&client, "hello").await?;
            stop.set();
            let (n, _) = client.read(vec![0; 1]).await?;
            assert_eq!(n, 0);
            io::Result::Ok(())
        };
        let (served, client) = join((server.into_future(), client)).await;
        client?;
        assert_eq!(served?.cut_short, 1);
        Ok(())
    });
}

#[test]
fn unix_listeners_can_be_served() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let directory = common::directory();
            let path = directory.path().join("socket");
            let listener = UnixListener::bind(&path)?;
            let idle = Cell::new(None);
            let served = net::serve(&listener, async |stream: UnixStream, _| {
                let (_, text) = stream.read(vec![0; 8]).await?;
                stream.write_all(text).await.map(drop)
            })
            .limit(70)
            .drain(Duration::from_millis(2))
            .until(async {
                idle.set(Some(UnixStream::connect(&path).await?));
                for _ in 0..100 {
                    let client = UnixStream::connect(&path).await?;
                    client.write_all("hello").await?;
                    assert_eq!(client.read_exact(vec![0; 5], 5).await?, b"hello");
                }
                io::Result::Ok(())
            })
            .await?;
            assert_eq!(
                (served.accepted, served.failed, served.cut_short),
                (101, 0, 1)
            );
            assert_eq!(Handle::current().stats().operations, 0);
        }
        baseline.returns("a Unix server").await;
        Ok(())
    });
}

/// A listener that yields numbers.
struct Numbers(Cell<u32>);

impl Listener for Numbers {
    type Stream = u32;
    type Addr = &'static str;

    async fn accept(&self) -> io::Result<(u32, &'static str)> {
        self.0.set(self.0.get() + 1);
        match self.0.get() {
            n @ 1..=3 => Ok((n, "a number")),
            _ => pending().await,
        }
    }
}

#[test]
fn custom_listeners_can_be_served() {
    on_each_ring(async || {
        let sum = Cell::new(0);
        let numbers = Numbers(Cell::new(0));
        let served = net::serve(&numbers, async |n, _| sum.set(sum.get() + n))
            .until(async {
                while sum.get() < 6 {
                    yield_now().await;
                }
            })
            .await?;
        assert_eq!(served.accepted, 3);
        Ok(())
    });
}

/// A server that is stopped and restarted at random, in every orderly way: each client gets its answer.
#[test]
fn repeated_stops_lose_no_connection() {
    if common::ran_in_own_process() {
        return;
    }
    let crowd: usize = quick_or_full(500, 100_000 / 6);
    let random = RefCell::new(Random::new());
    on_each_ring(async || {
        let baseline = Baseline::take();
        {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 3, 1], 0).into())?;
            let listener = socket.listen(4096)?;
            let address = listener.local_addr()?;
            let is_over = Cell::new(false);
            let clients = async {
                gimmal::map(0..crowd, 32, async |n| {
                    // Used ports stay unavailable for a while, so the clients use several addresses.
                    let socket = TcpSocket::new_v4()?;
                    socket.bind(([127, 0, 4, (n % 250) as u8 + 1], 0).into())?;
                    let client = socket.connect(address).await?;
                    client.write_all(n.to_le_bytes().to_vec()).await?;
                    let answer = client.read_exact(vec![0; 8], 8).await?;
                    assert_eq!(answer, n.to_le_bytes());
                    io::Result::Ok(())
                })
                .await?;
                is_over.set(true);
                io::Result::Ok(())
            };
            let servers = async {
                let (mut accepted, mut servers) = (0, 0);
                while !is_over.get() {
                    let (limit, turns, way) = {
                        let mut random = random.borrow_mut();
                        let limit = [1, 5, 40, 70, 100_000][random.below(5)];
                        (limit, random.below(30), random.below(3))
                    };
                    let server = net::serve(&listener, async |stream: TcpStream, _| {
                        let number = stream.read_exact(vec![0; 8], 8).await?;
                        stream.write_all(number).await?;
                        io::Result::Ok(())
                    });
                    let server = server.limit(limit).drain(LONG);
                    let stop = async {
                        // Not more turns than this: otherwise all clients finish before the first stop.
                        for _ in 0..turns {
                            let this = Handle::current().stats().turns;
                            while Handle::current().stats().turns == this {
                                yield_now().await;
                            }
                        }
                    };
                    let served = match way {
                        0 => server.until(stop).await?,
                        1 => {
                            let scope = Scope::new();
                            let cancel = async {
                                stop.await;
                                scope.cancel();
                            };
                            let server = scope.run(server.into_future());
                            match join((server, cancel)).await.0 {
                                Err(error) if is_canceled(&error) => continue,
                                served => served?,
                            }
                        }
                        _ => {
                            match timeout(Duration::from_micros(300), server.into_future()).await {
                                // The server had not started.
                                Err(error) if error.is_elapsed() => continue,
                                served => served?,
                            }
                        }
                    };
                    assert_eq!((served.failed, served.cut_short), (0, 0));
                    accepted += served.accepted;
                    servers += 1;
                }
                println!("{servers} servers for {accepted} connections");
                assert!(servers > 1, "no server was stopped");
                assert_eq!(accepted, crowd as u64);
                io::Result::Ok(())
            };
            gimmal::try_join((clients, servers)).await?;
        }
        baseline.returns("a storm of servers").await;
        Ok(())
    });
}

#[test]
fn a_server_running_at_the_end_of_the_runtime_ends_in_order() {
    if ran_in_own_process() {
        return;
    }
    // The descriptor that other threads use to wake a runtime is kept for the next one.
    drop(Runtime::builder().build().unwrap());
    let before = common::descriptors();
    let faults = Arc::new(Mutex::new(Vec::new()));
    let seen = faults.clone();
    let cleaned_up = Rc::new(Cell::new(false));
    let mut runtime = Runtime::builder()
        .on_fault(move |fault| seen.lock().unwrap().push(fault.to_string()))
        .build()
        .unwrap();
    let main = async {
        let (listener, address) = listener().await?;
        let cleaned_up = cleaned_up.clone();
        drop(gimmal::spawn(async move {
            net::serve(&listener, async |stream: TcpStream, peer| {
                let ended = echo(stream, peer).await;
                shield(sleep(Duration::from_millis(2))).await?;
                cleaned_up.set(true);
                ended
            })
            .drain(Duration::from_millis(5))
            .await
            .unwrap();
        }));
        let client = TcpStream::connect(address).await?;
        echoes(&client, "hello").await?;
        io::Result::Ok(client)
    };
    let client = runtime.block_on(main).unwrap();
    drop(runtime);
    drop(client);
    // Dropping a runtime does not wait for its tasks, but drops them.
    assert_eq!(common::descriptors(), before);
    assert!(!cleaned_up.get());
    assert_eq!(*faults.lock().unwrap(), [""; 0]);

    // `run` cancels the server, and gives it time.
    let client = gimmal::run(async {
        let (listener, address) = listener().await?;
        let cleaned_up = cleaned_up.clone();
        drop(gimmal::spawn(async move {
            let served = net::serve(&listener, async |stream: TcpStream, peer| {
                let ended = echo(stream, peer).await;
                shield(sleep(Duration::from_millis(2))).await?;
                cleaned_up.set(true);
                ended
            });
            let served = served.drain(Duration::from_millis(5)).await.unwrap();
            assert_eq!((served.accepted, served.cut_short), (1, 1));
        }));
        let client = TcpStream::connect(address).await?;
        echoes(&client, "hello").await?;
        io::Result::Ok(client)
    });
    drop(client.unwrap());
    assert!(cleaned_up.get());
    assert_eq!(common::descriptors(), before);
}

#[test]
fn a_panicking_stop_propagates_and_drops_the_connections() {
    if common::ran_in_own_process() {
        return;
    }
    on_each_ring(async || {
        let (listener, address) = listener().await?;
        let client = TcpStream::connect(address).await?;
        let baseline = Baseline::take();
        let server = net::serve(&listener, echo).until(async {
            echoes(&client, "hello").await.unwrap();
            panic!("no stop available");
        });
        let server = std::panic::AssertUnwindSafe(server.into_future());
        let payload = futures_util::FutureExt::catch_unwind(server).await;
        let payload = payload.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"no stop available"));
        let (end, _) = client.read(vec![0; 1]).await?;
        assert_eq!(end, 0);
        listener.pause().await?;
        baseline.returns("a stop that panicked").await;
        Ok(())
    });
}

/// The method, where the closure needs no type annotations.
#[test]
fn a_listener_has_a_serve_method() {
    on_each_ring(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let client = async {
            let client = TcpStream::connect(address).await?;
            let (_, text) = client.read_to_end(Vec::new()).await?;
            assert_eq!(text, b"hello");
            io::Result::Ok(())
        };
        let served = listener
            .serve(async |stream, _peer| stream.write_all(b"hello").await)
            .until(client)
            .await?;
        assert_eq!(served.accepted, 1);
        Ok(())
    });
}
