//! Waiting for descriptors without a type of their own: eventfds, timerfds, std sockets.

use common::{Baseline, MOMENTS, dropped_everywhere, next_turn, ran_in_own_process};
use gimmal::io::AsyncFd;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

fn eventfd() -> File {
    // SAFETY: no address is passed, and nothing else owns the returned descriptor.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

fn take(mut eventfd: &File) -> io::Result<u64> {
    let mut count = [0; 8];
    eventfd.read_exact(&mut count)?;
    Ok(u64::from_ne_bytes(count))
}

fn add(mut eventfd: &File, count: u64) {
    eventfd
        .write_all(&count.to_ne_bytes())
        .expect("room in the counter");
}

#[test]
fn an_eventfd_is_read_when_it_is_nonzero() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let baseline = Baseline::take();
        let counter = Rc::new(AsyncFd::new(eventfd())?);
        // Of two waits, only one gets the value; the other one keeps waiting.
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let counter = counter.clone();
                gimmal::spawn(async move { counter.read_with(take).await })
            })
            .collect();
        for _ in 0..10 {
            next_turn().await;
        }
        assert!(!waiting.iter().any(|task| task.is_finished()));
        add(counter.get_ref(), 3);
        while !waiting.iter().any(|task| task.is_finished()) {
            next_turn().await;
        }
        for _ in 0..10 {
            next_turn().await;
        }
        assert!(!waiting.iter().all(|task| task.is_finished()));
        add(counter.get_ref(), 4);
        let mut taken = 0;
        for task in waiting {
            taken += task.await??;
        }
        assert_eq!(taken, 7);
        drop(counter);
        baseline.returns("an eventfd").await;
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_timerfd_is_readable_when_it_fires() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        // SAFETY: the argument of `timerfd_settime` is valid for the call, and nothing else owns the descriptor.
        let timer = unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK);
            assert!(fd >= 0);
            let mut time: libc::itimerspec = std::mem::zeroed();
            time.it_value.tv_nsec = 2_000_000;
            assert_eq!(libc::timerfd_settime(fd, 0, &time, std::ptr::null_mut()), 0);
            AsyncFd::new(File::from_raw_fd(fd))?
        };
        timer.readable().await?;
        assert_eq!(take(timer.get_ref())?, 1);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn both_directions_can_be_awaited_at_once() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let (left, right) = UnixStream::pair()?;
        left.set_nonblocking(true)?;
        let left = AsyncFd::new(left)?;
        left.writable().await?;
        // Until the buffers are full.
        let chunk = [7; 4096];
        let mut sent = 0;
        loop {
            match (&mut left.get_ref()).write(&chunk) {
                Ok(n) => sent += n,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let (read, write) = (left.readable().submit(), left.writable().submit());
        for _ in 0..5 {
            next_turn().await;
        }
        let mut received = vec![0; sent];
        (&right).read_exact(&mut received)?;
        write.await?;
        let n = left.write_with(|mut left| left.write(b"more")).await?;
        assert_eq!(n, 4);
        (&right).write_all(b"hello")?;
        read.await?;
        let mut text = [0; 16];
        let n = left.read_with(|mut left| left.read(&mut text)).await?;
        assert_eq!(&text[..n], b"hello");
        // The end of the stream is readable.
        drop(right);
        let mut rest = Vec::new();
        let n = left.read_with(|mut left| left.read(&mut text)).await;
        rest.push(n.map_err(|error| error.kind()));
        assert!(matches!(rest[0], Ok(0) | Err(ErrorKind::ConnectionReset)));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_wait_can_be_timed_out_and_dropped_and_its_descriptor_closed() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let baseline = Baseline::take();
        let counter = AsyncFd::new(eventfd())?;
        let error = counter.readable().timeout(Duration::from_millis(1)).await;
        assert!(gimmal::is_timeout(&error.unwrap_err()));
        dropped_everywhere("readable", &MOMENTS[..3], || async {
            counter.writable().await.unwrap();
            let _late = counter.readable().timeout(Duration::from_micros(10)).await;
        })
        .await;
        // Closed while the kernel polls it, and its number is reused at once: the old wait does not affect the new
        // descriptor.
        for _ in 0..100 {
            let counter = AsyncFd::new(eventfd())?;
            let wait = counter.readable().submit();
            let number = counter.get_ref().as_raw_fd();
            drop(counter);
            let other = eventfd();
            assert_eq!(other.as_raw_fd(), number);
            add(&other, 1);
            let error = wait.timeout(Duration::from_micros(50)).await.unwrap_err();
            assert!(gimmal::is_timeout(&error));
        }
        let inner = counter.into_inner();
        add(&inner, 1);
        assert_eq!(take(&inner)?, 1);
        drop(inner);
        baseline.returns("waits for an eventfd").await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// A borrowed descriptor works: it is duplicated.
#[test]
fn an_async_fd_can_be_created_from_a_borrowed_descriptor() {
    if ran_in_own_process() {
        return;
    }
    gimmal::run(async {
        let counter = eventfd();
        {
            let waiting = AsyncFd::new(counter.as_fd())?;
            add(&counter, 1);
            waiting.readable().await?;
        }
        assert_eq!(take(&counter)?, 1);
        // The closure's result is returned unless it is `WouldBlock`.
        add(&counter, 1);
        let waiting = AsyncFd::new(&counter)?;
        let fails = |_: &&File| Err::<(), _>(io::Error::other("mine"));
        let error = waiting.read_with(fails).await.unwrap_err();
        assert_eq!(error.to_string(), "mine");
        io::Result::Ok(())
    })
    .unwrap();
}
