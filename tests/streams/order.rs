//! The order of several readers or writers of one stream.

use crate::{Ends, Socket, assert_numbered, bytes, on_each, streams, write_plain};
use common::{foreign_waker, next_turn, poll_once, poll_with};
use gimmal::cancel::Scope;
use gimmal::{is_canceled, is_timeout, spawn, timeout};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

on_each! {
    concurrent_reads_follow_one_another: two_reads;
    readers_take_turns: readers;
    /// A task that writes in a loop lets other tasks write.
    a_writer_in_a_loop_starves_no_other: writers;
    /// `write_all` is contiguous, however often the socket is full.
    whole_writes_are_contiguous: whole_writes;
    exact_reads_are_contiguous: exact_reads;
    /// A dropped waiter whose turn has come does not block the next one.
    a_waiter_that_leaves_lets_the_next_one_in: leaving;
    reads_and_writes_run_at_once: both_ways;
    a_queued_read_has_its_own_deadline_and_scope: own_deadline;
    /// A user's waker may do anything when it is cloned, woken or dropped (R1).
    wakers_may_read_from_the_stream_itself: reentrant;
    /// Cloning a waker, the second read releases the lock that it is about to wait for.
    a_waker_may_release_the_lock_while_it_is_cloned: releasing;
}

async fn reentrant<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    let right = Rc::new(right);
    let mut first = Box::pin(right.read(vec![0; 1]));
    assert!(poll_once(&mut first).await.is_pending());
    let (count, its) = (Rc::new(Cell::new(0)), right.clone());
    let seen = count.clone();
    let (waker, _guard) = foreign_waker(move |_| {
        seen.set(seen.get() + 1);
        // Queues and leaves the queue, and completes at once if bytes are kept.
        let mut read = its.read(vec![0; 1]);
        let _ = poll_with(Waker::noop(), &mut read);
        drop(its.peek(vec![0; 1]).submit());
    });
    let mut second = right.read(vec![0; 1]);
    let mut third = right.read(vec![0; 1]);
    for _ in 0..2 {
        assert!(poll_with(&waker, &mut second).is_pending());
        assert!(poll_with(&waker, &mut third).is_pending());
    }
    // One waiter leaves the queue, which drops its waker; the other one is woken by its predecessor.
    drop(second);
    write_plain(&left, b"ab");
    assert_eq!(first.await.unwrap().1, b"a");
    assert_eq!(third.await.unwrap().1, b"b");
    assert!(count.get() > 4, "{}", count.get());
}

async fn releasing<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    let mut first = Box::pin(right.read(vec![0; 1]));
    assert!(poll_once(&mut first).await.is_pending());
    write_plain(&left, b"a");
    let held = Cell::new(Some(first));
    let mut second = right.read(vec![0; 1]);
    // The first read has completed and is not polled again.
    for _ in 0..10 {
        next_turn().await;
    }
    let first = Rc::new(held);
    let (waker, _guard) = foreign_waker({
        let first = first.clone();
        move |_| drop(first.take())
    });
    let mut read = poll_with(&waker, &mut second);
    assert!(first.take().is_none());
    for _ in 0..1000 {
        if let Poll::Ready(read) = read {
            assert_eq!(read.unwrap().1, b"a");
            return;
        }
        next_turn().await;
        read = poll_once(&mut second).await;
    }
    panic!("the lock is free, and the read waits for it");
}

async fn two_reads<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    let both = gimmal::join((server.read(vec![0; 2]), server.read(vec![0; 2])));
    let (write, (first, second)) = gimmal::join((client.write_all("abcd"), both)).await;
    write.unwrap();
    let texts = (first.unwrap().1, second.unwrap().1);
    assert_eq!(texts, (b"ab".to_vec(), b"cd".to_vec()));
}

async fn readers<S: Socket>(ends: Ends) {
    const READERS: usize = 5;
    let (left, right) = streams::<S>(ends);
    let right = Rc::new(right);
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let reading: Vec<_> = (0..READERS)
        .map(|reader| {
            let (right, order) = (right.clone(), order.clone());
            spawn(async move {
                for _ in 0..20 {
                    let (n, buf) = right.read(vec![0; 1]).await.unwrap();
                    assert_eq!(n, 1);
                    order.borrow_mut().push((reader, buf[0]));
                }
            })
        })
        .collect();
    left.write_all(bytes(0, 20 * READERS)).await.unwrap();
    for reader in reading {
        reader.await.unwrap();
    }
    let order = order.take();
    // The bytes arrive in order, and the readers take turns. (Each reader waits again before the one that it woke is
    // polled.)
    for (at, (reader, _)) in order.iter().enumerate() {
        assert_eq!(*reader, at % READERS, "{order:?}");
    }
    let found: Vec<u8> = order.iter().map(|(_, byte)| *byte).collect();
    assert_numbered(&found, 0);
}

async fn writers<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    let left = Rc::new(left);
    let its = left.clone();
    let looping = spawn(async move {
        for _ in 0..1000 {
            its.write_all("a").await.unwrap();
        }
    });
    let once = spawn(async move {
        left.write_all("b").await.unwrap();
    });
    let text = right.read_exact(vec![0; 1001], 1001).await.unwrap();
    let place = text.iter().position(|byte| *byte == b'b').unwrap();
    assert!(place <= 2, "b came after {place} a");
    looping.await.unwrap();
    once.await.unwrap();
}

async fn whole_writes<S: Socket>(ends: Ends) {
    const LEN: usize = 1 << 20;
    let (left, right) = streams::<S>(ends);
    let left = Rc::new(left);
    let writing: Vec<_> = (0..4_u8)
        .map(|letter| {
            let left = left.clone();
            spawn(async move { left.write_all(vec![letter; LEN]).await.map(drop) })
        })
        .collect();
    drop(left);
    let (n, text) = right.read_to_end(Vec::new()).await.unwrap();
    assert_eq!(n, 4 * LEN);
    for (letter, piece) in text.chunks(LEN).enumerate() {
        assert!(
            piece.iter().all(|byte| usize::from(*byte) == letter),
            "the bytes of {letter}"
        );
    }
    for writer in writing {
        writer.await.unwrap().unwrap();
    }
}

async fn exact_reads<S: Socket>(ends: Ends) {
    const LEN: usize = 300_000;
    let (left, right) = streams::<S>(ends);
    let right = Rc::new(right);
    let reading: Vec<_> = (0..3)
        .map(|_| {
            let right = right.clone();
            spawn(async move { right.read_exact(vec![0; LEN], LEN).await.unwrap() })
        })
        .collect();
    left.write_all(bytes(0, 3 * LEN)).await.unwrap();
    for (at, reader) in reading.into_iter().enumerate() {
        assert_numbered(&reader.await.unwrap(), at * LEN);
    }
}

async fn leaving<S: Socket>(ends: Ends) {
    let (left, right) = streams::<S>(ends);
    for admitted in [false, true] {
        let mut first = Box::pin(right.read(vec![0; 1]));
        let mut second = Box::pin(right.read(vec![0; 1]));
        let mut third = Box::pin(right.read(vec![0; 1]));
        let mut fourth = Box::pin(right.read(vec![0; 1]));
        for read in [&mut first, &mut second, &mut third, &mut fourth] {
            assert!(poll_once(read).await.is_pending());
        }
        if !admitted {
            drop(second);
            write_plain(&left, b"abc");
            assert_eq!(first.await.unwrap().1, b"a");
        } else {
            write_plain(&left, b"abc");
            assert_eq!(first.await.unwrap().1, b"a");
            // It was first in the queue.
            drop(second);
        }
        // A new reader queues behind the waiting ones.
        let mut newcomer = Box::pin(right.read(vec![0; 1]));
        assert!(poll_once(&mut newcomer).await.is_pending());
        // They leave the queue by their own timeout, and by their scope.
        let late = right.read(vec![5; 1]).timeout(Duration::ZERO).await;
        assert_eq!(late.unwrap_err().into_buf(), [5]);
        let late = gimmal::timeout(Duration::from_millis(1), right.read(vec![5; 1])).await;
        assert_eq!(late.unwrap_err().into_inner().unwrap().into_buf(), [5]);
        let scope = Scope::new();
        scope.cancel();
        let error = scope.run_any(&mut fourth).await.unwrap().unwrap_err();
        assert!(is_canceled(&error), "{error}");
        let (newcomer, third) = gimmal::join((newcomer, third)).await;
        assert_eq!(
            (third.unwrap().1, newcomer.unwrap().1),
            (b"b".to_vec(), b"c".to_vec())
        );
    }
    // Now the queue is empty.
    let mut read = Box::pin(right.read(vec![0; 1]));
    write_plain(&left, b"d");
    let text = match poll_once(&mut read).await {
        Poll::Ready(read) => read,
        Poll::Pending => read.await,
    };
    assert_eq!(text.unwrap().1, b"d");
}

async fn both_ways<S: Socket>(ends: Ends) {
    const LEN: usize = 2 << 20;
    let (left, right) = streams::<S>(ends);
    let echo = async {
        let mut buf = vec![0; 10_000];
        let mut echoed = 0;
        while echoed < LEN {
            let (n, back) = right.read(buf).await.unwrap();
            let mut back = right.write_all(back).await.unwrap();
            back.resize(10_000, 0);
            buf = back;
            echoed += n;
        }
    };
    let write = left.write_all(bytes(0, LEN));
    let read = left.read_exact(vec![0; LEN], LEN);
    let (_, wrote, read) = gimmal::join((echo, write, read)).await;
    wrote.unwrap();
    assert_numbered(&read.unwrap(), 0);
}

async fn own_deadline<S: Socket>(ends: Ends) {
    let (client, server) = streams::<S>(ends);
    let mut first = std::pin::pin!(server.read(vec![0; 4]));
    assert!(poll_once(&mut first).await.is_pending());
    let limit = Duration::from_millis(2);
    let error = server.read(vec![7; 4]).timeout(limit).await.unwrap_err();
    assert!(is_timeout(&error));
    assert_eq!(error.into_buf(), [7; 4]);
    let error = timeout(limit, server.read(vec![8; 4])).await.unwrap_err();
    assert!(is_timeout(&error));
    client.write_all("data").await.unwrap();
    assert_eq!(first.await.unwrap().1, b"data");
}
