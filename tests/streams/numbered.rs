//! Canceled means no effect, and the bytes of a dropped read go to the next one: a million numbered bytes are read in
//! every way, under timeouts, in canceled scopes, in races, and by dropped waits. No byte is lost, duplicated or out of
//! order.

use crate::{Ends, Socket, assert_numbered, bytes, on_each, socketpair, streams};
use common::{Random, next_turn, poll_once, quick_or_full, ran_in_own_process, rings};
use futures_util::FutureExt;
use gimmal::buf::{BufError, IoBufMut};
use gimmal::cancel::Scope;
use gimmal::net::UnixStream;
use gimmal::{is_canceled, is_timeout, sleep, spawn, yield_now};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

on_each! {
    bytes_read_in_every_way: every_way;
}

async fn every_way<S: Socket>(ends: Ends) {
    let counts = stream::<S>(ends, quick_or_full(200_000, 1_000_000)).await;
    assert!(counts.ready > 200 && counts.canceled > 20 && counts.dropped > 20);
}

/// With completion queues that overflow, and with the features of old kernels.
#[test]
fn bytes_read_in_every_way_on_every_ring() {
    if ran_in_own_process() {
        return;
    }
    for (name, builder) in rings() {
        println!("{name}");
        let mut runtime = builder.build().unwrap();
        let counts = runtime.block_on(stream::<UnixStream>(
            socketpair,
            quick_or_full(20_000, 60_000),
        ));
        assert!(counts.canceled > 0 && counts.dropped > 0);
    }
}

/// A random duration, often zero.
fn random_timeout(random: &mut Random) -> Duration {
    match random.below(3) {
        0 => Duration::ZERO,
        1 => Duration::from_micros(random.below(20) as u64),
        _ => Duration::from_micros(random.below(120) as u64),
    }
}

/// Runs a read, and ends it early in one of several ways. Returns `None` if it was dropped.
async fn cut<T, B>(
    read: impl Future<Output = Result<T, BufError<B>>>,
    random: &mut Random,
) -> Option<Result<T, BufError<B>>>
where
    B: 'static,
{
    match random.below(8) {
        0 | 1 => Some(read.await),
        2 => {
            let ended = gimmal::timeout(random_timeout(random), read).await;
            Some(ended.map_err(|error| error.into_inner().unwrap()))
        }
        3 => {
            let scope = Rc::new(Scope::new());
            if random.one_in(8) {
                scope.cancel();
            } else {
                let (its, yields) = (scope.clone(), random.below(6));
                drop(spawn(async move {
                    for _ in 0..yields {
                        yield_now().await;
                    }
                    its.cancel();
                }));
            }
            Some(scope.run_any(read).await.unwrap())
        }
        4 => {
            // Every available output is returned, even a loser's.
            let raced = gimmal::race((read, sleep(random_timeout(random)))).await;
            raced.outputs.0
        }
        5 => {
            let mut read = pin!(read.fuse());
            let yields = random.below(5);
            let mut other = pin!(
                async {
                    for _ in 0..yields {
                        yield_now().await;
                    }
                }
                .fuse()
            );
            futures_util::select! {
                ended = read => Some(ended),
                () = other => None,
            }
        }
        6 => {
            let mut read = pin!(read.fuse());
            let mut other = pin!(next_turn().fuse());
            futures_util::select_biased! {
                () = other => None,
                ended = read => Some(ended),
            }
        }
        _ => {
            let mut read = pin!(read);
            for _ in 0..1 + random.below(3) {
                if let Poll::Ready(ended) = poll_once(&mut read).await {
                    return Some(ended);
                }
                if random.one_in(2) {
                    next_turn().await;
                }
            }
            None
        }
    }
}

/// How often each kind of read ended in each way.
#[derive(Default, Debug)]
struct Counts {
    ready: usize,
    canceled: usize,
    dropped: usize,
    partly: usize,
}

impl Counts {
    /// Counts the bytes of a read that filled the buffer with the bytes from `at` on.
    fn count<B: IoBufMut>(
        &mut self,
        ended: Option<Result<usize, BufError<B>>>,
        take: impl FnOnce(&B, usize),
    ) -> usize {
        match ended {
            None => {
                self.dropped += 1;
                0
            }
            Some(Ok(n)) => {
                self.ready += 1;
                n
            }
            Some(Err(error)) => {
                assert!(is_canceled(&error) || is_timeout(&error), "{error}");
                self.canceled += 1;
                let done = error.transferred();
                self.partly += usize::from(done > 0);
                take(error.buf(), done);
                done
            }
        }
    }
}

async fn stream<S: Socket>(ends: Ends, total: usize) -> Counts {
    let mut random = Random::new();
    println!("{random:?}");
    let (left, right) = streams::<S>(ends);
    let writing = spawn(write(left, total, random.fork()));
    let mut counts = Counts::default();
    let mut at = 0;
    let end = loop {
        let sizes = if random.one_in(50) { 5000 } else { 60 };
        let size = 1 + random.below(sizes);
        if random.one_in(3) {
            yield_now().await;
        }
        let n = match random.below(10) {
            0..=3 => {
                let read = async {
                    let (n, buf) = right.read(vec![0; size]).await?;
                    assert_eq!(n, buf.len());
                    Ok((n, buf))
                };
                match cut(read, &mut random).await {
                    Some(Ok((0, _))) => break at,
                    ended => {
                        let ended = ended.map(|ended| {
                            ended.map(|(n, buf)| {
                                assert_numbered(&buf, at);
                                n
                            })
                        });
                        counts.count(ended, |_: &Vec<u8>, done| assert_eq!(done, 0))
                    }
                }
            }
            4 | 5 => {
                // An exact read beyond the end reports the end.
                let size = (size * 20).min(6000).min(total - at);
                let read = right.read_exact(vec![0; 6000], size);
                let ended = cut(read, &mut random).await.map(|ended| {
                    ended.map(|buf| {
                        assert_eq!(buf.len(), size);
                        assert_numbered(&buf, at);
                        size
                    })
                });
                counts.count(ended, |buf: &Vec<u8>, done| {
                    assert_numbered(&buf[..done], at)
                })
            }
            6 | 7 => {
                let bufs = [vec![0; size / 3], vec![0; size], vec![0; 1]];
                let read = right.read_vectored(bufs);
                match cut(read, &mut random).await {
                    None => {
                        counts.dropped += 1;
                        0
                    }
                    Some(Ok((n, bufs))) => {
                        counts.ready += 1;
                        let text = bufs.concat();
                        assert_eq!(text.len(), n);
                        assert_numbered(&text, at);
                        if n == 0 {
                            break at;
                        }
                        n
                    }
                    Some(Err(error)) => {
                        assert!(is_canceled(&error) || is_timeout(&error), "{error}");
                        counts.canceled += 1;
                        0
                    }
                }
            }
            8 => {
                let ended = cut(right.peek(vec![0; size]), &mut random).await;
                if let Some(Ok((_, buf))) = ended {
                    assert_numbered(&buf, at);
                }
                0
            }
            _ => {
                // With its own timeout, and submitted before it is awaited.
                let mut read = right.read(vec![0; size]);
                if random.one_in(2) {
                    read = read.submit();
                }
                if random.one_in(3) {
                    drop(read);
                    continue;
                }
                let ended = read.timeout(random_timeout(&mut random)).await;
                let ended = ended.map(|(n, buf)| {
                    assert_numbered(&buf, at);
                    n
                });
                if let Ok(0) = ended {
                    break at;
                }
                counts.count(Some(ended), |_, done| assert_eq!(done, 0))
            }
        };
        at += n;
    };
    println!("{counts:?}");
    assert_eq!(end, total);
    writing.await.unwrap();
    counts
}

/// Writes of each kind, some of them canceled: they report their progress, and canceled ones have sent nothing.
async fn write<S: Socket>(left: S, total: usize, mut random: Random) {
    let mut at = 0;
    let done = |error: BufError<()>| {
        assert!(is_canceled(&error) || is_timeout(&error), "{error}");
        error.transferred()
    };
    while at < total {
        let len = match random.below(400) {
            0 => 1 + random.below(300_000),
            _ => 1 + random.below(200),
        };
        let buf = bytes(at, len.min(total - at));
        let (len, time) = (buf.len(), random_timeout(&mut random));
        at += match random.below(6) {
            0 => match gimmal::timeout(time, left.write_all(buf)).await {
                Ok(_) => len,
                Err(error) => done(error.into_inner().unwrap().map_buf(drop)),
            },
            1 => match left.write(buf).timeout(time).await {
                Ok((n, _)) => n,
                Err(error) => {
                    assert_numbered(error.buf(), at);
                    done(error.map_buf(drop))
                }
            },
            2 => {
                let rest = buf[len / 2..].to_vec();
                let bufs = [buf[..len / 2].to_vec(), rest];
                match left.write_vectored(bufs).timeout(time).await {
                    Ok((n, _)) => n,
                    Err(error) => done(error.map_buf(drop)),
                }
            }
            _ => left.write_all(buf).await.unwrap().len(),
        };
        for _ in 0..random.below(8) {
            yield_now().await;
        }
    }
}

on_each! {
    /// A hundred thousand dropped receives and small messages: every message arrives.
    receives_dropped_at_random: dropped_receives;
}

async fn dropped_receives<S: Socket>(ends: Ends) {
    let mut random = Random::new();
    println!("{random:?}");
    let (left, right) = streams::<S>(ends);
    let (mut sent, mut read, mut drops) = (0, 0, 0);
    while drops < quick_or_full(5_000, 34_000) {
        for _ in 0..8 {
            let mut receive = right.read(vec![0; 1 + random.below(20)]);
            if let Poll::Ready(ended) = poll_once(&mut receive).await {
                let (n, buf) = ended.unwrap();
                assert_numbered(&buf, read);
                read += n;
                continue;
            }
            if random.one_in(4) {
                next_turn().await;
            }
            if random.one_in(2) {
                let len = 1 + random.below(9);
                crate::write_plain(&left, &bytes(sent, len));
                sent += len;
            }
            if random.one_in(4) {
                yield_now().await;
            }
            drop(receive);
            drops += 1;
        }
        if read < sent {
            let len = sent - read;
            let buf = right.read_exact(vec![0; len], len).await.unwrap();
            assert_numbered(&buf, read);
            read = sent;
        }
    }
}
