//! Copying in both directions: exactly, between all kinds of sides, and with correct counts when it stops halfway.

use common::{MOMENTS, Random, dropped_everywhere, next_turn, returning_to_baseline, tcp_pair};
use gimmal::buf::{BufResult, IoBuf, IoBufMut};
use gimmal::cancel::Scope;
use gimmal::io::{
    BufReader, BufWriter, CopyBidirectionalError, CopyDirection, Split, copy_bidirectional, pipe,
};
use gimmal::net::UnixStream;
use gimmal::prelude::*;
use std::future::pending;
use std::io::{self, Cursor, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

const LEN: usize = 1_500_000;

fn content(len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(u32::to_le_bytes).collect()
}

/// A client that shuts down its side still gets the answer, through a proxy that is stopped at random moments and
/// restarted: its counts are correct each time.
#[test]
fn both_directions_are_copied_until_both_have_ended() {
    returning_to_baseline(async || {
        let mut random = Random::new();
        let mut stopped = 0;
        for stops in [0, 30, 30] {
            let (client, near) = tcp_pair().await?;
            let (far, server) = tcp_pair().await?;
            let (counts, (), ()) = gimmal::try_join((
                async {
                    let mut counts = (0, 0);
                    for _ in 0..stops {
                        let time = Duration::from_micros(random.below(200) as u64);
                        let copied = copy_bidirectional(&near, &far).timeout(time).await;
                        let more = match copied {
                            Ok(more) => more,
                            Err(error) => {
                                assert!(error.is_elapsed(), "{error}");
                                stopped += 1;
                                error.into_inner().unwrap().copied()
                            }
                        };
                        counts = (counts.0 + more.0, counts.1 + more.1);
                    }
                    let more = copy_bidirectional(&near, &far).await?;
                    Ok((counts.0 + more.0, counts.1 + more.1))
                },
                async {
                    client.write_all(content(LEN)).await?;
                    client.shutdown(Shutdown::Write)?;
                    let (_, answer) = client.read_to_end(Vec::new()).await?;
                    assert!(answer == content(LEN / 2));
                    Ok(())
                },
                async {
                    let (_, question) = server.read_to_end(Vec::new()).await?;
                    assert!(question == content(LEN));
                    server.write_all(content(LEN / 2)).await?;
                    server.shutdown(Shutdown::Write)?;
                    io::Result::Ok(())
                },
            ))
            .await?;
            assert_eq!(counts, (LEN as u64, LEN as u64 / 2));
        }
        assert!(stopped > 10, "only {stopped}");
        Ok(())
    });
}

/// Copies between two sides, `near` and `far`, whose peers are `client` and `server`.
async fn passes<A: Split, B: Split>(
    name: &str,
    near: A,
    far: B,
    client: impl Split,
    server: impl Split,
) -> io::Result<()> {
    let (mut answer, mut ask) = client.split();
    let (mut question, mut reply) = server.split();
    let (counts, answer, ()) = gimmal::try_join((
        async { Ok(copy_bidirectional(near, far).await?) },
        async move {
            ask.write_all(content(100_000)).await?;
            ask.shutdown().await?;
            drop(ask);
            Ok(answer.read_to_end(Vec::new()).await?.1)
        },
        async move {
            let (_, question) = question.read_to_end(Vec::new()).await?;
            assert!(question == content(100_000), "{name}");
            reply.write_all(content(200_000)).await?;
            reply.shutdown().await?;
            io::Result::Ok(())
        },
    ))
    .await?;
    assert!(answer == content(200_000), "{name}");
    assert_eq!(counts, (100_000, 200_000), "{name}");
    Ok(())
}

#[test]
fn a_side_is_a_stream_or_a_pair() {
    returning_to_baseline(async || {
        let (client, near) = tcp_pair().await?;
        let (far, server) = UnixStream::pair()?;
        passes("references", &near, &far, &client, &server).await?;

        let (client, mut near) = tcp_pair().await?;
        let (mut far, server) = UnixStream::pair()?;
        passes("as in tokio", &mut near, &mut far, &client, &server).await?;

        let (client, near) = tcp_pair().await?;
        let (far, server) = UnixStream::pair()?;
        passes("halves", near.into_split(), far.split(), &client, &server).await?;

        // A pipe ends when its writer is dropped, after its direction has ended.
        let (client, near) = tcp_pair().await?;
        let (from_far, reply) = pipe()?;
        let (question, to_far) = pipe()?;
        passes(
            "pipes",
            &near,
            (from_far, to_far),
            &client,
            (question, reply),
        )
        .await?;

        let (client, near) = tcp_pair().await?;
        let (far, server) = UnixStream::pair()?;
        let near = (BufReader::new(&near), BufWriter::new(&near));
        let far = (
            BufReader::with_capacity(10, &far),
            BufWriter::with_capacity(100, &far),
        );
        passes("buffers", near, far, &client, &server).await?;

        let (mut to_a, mut to_b) = (Vec::new(), Cursor::new([0; 8]));
        let counts = copy_bidirectional(("to b".as_bytes(), &mut to_a), (&b"to a"[..], &mut to_b));
        assert_eq!(counts.await?, (4, 4));
        assert_eq!((&*to_a, to_b.get_ref()), (&b"to a"[..], b"to b\0\0\0\0"));
        Ok(())
    });
}

/// A child process as one side: its input ends with the other side's output.
#[test]
fn a_child_process_is_a_side() {
    returning_to_baseline(async || {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let reader = gimmal::io::PipeReader::from(child.stdout.take().unwrap());
        let writer = gimmal::io::PipeWriter::from(child.stdin.take().unwrap());
        let (client, near) = tcp_pair().await?;
        let (counts, echo) = gimmal::try_join((
            async { Ok(copy_bidirectional(&near, (reader, writer)).await?) },
            async {
                client.write_all(content(1000)).await?;
                client.shutdown(Shutdown::Write)?;
                io::Result::Ok(client.read_to_end(Vec::new()).await?.1)
            },
        ))
        .await?;
        assert_eq!((counts, echo), ((1000, 1000), content(1000)));
        assert!(child.wait()?.success());
        Ok(())
    });
}

/// Accepts some bytes, then fails; or fails to shut down.
struct Full {
    room: usize,
    taken: Vec<u8>,
}

impl Full {
    fn after(room: usize) -> Full {
        let taken = Vec::new();
        Full { room, taken }
    }
}

impl AsyncWrite for Full {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let n = buf.io_len().min(self.room);
        match n {
            0 => Err(gimmal::BufError::new(ErrorKind::StorageFull.into(), buf)),
            _ => {
                self.taken.extend(&buf.io_bytes()[..n]);
                self.room -= n;
                Ok((n, buf))
            }
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Err(ErrorKind::StorageFull.into())
    }
}

/// Each direction fails once, after the other one has copied some bytes and waits for more.
#[test]
fn an_error_names_its_direction_and_has_both_counts() {
    returning_to_baseline(async || {
        for direction in [CopyDirection::AToB, CopyDirection::BToA] {
            let (client, near) = tcp_pair().await?;
            let (server, far) = UnixStream::pair()?;
            let mut full = Full::after(4);
            server.write_all("a long answer").await?;
            let (copied, read) = gimmal::join((
                async {
                    match direction {
                        CopyDirection::AToB => copy_bidirectional(&near, (&far, &mut full)).await,
                        CopyDirection::BToA => copy_bidirectional((&far, &mut full), &near).await,
                    }
                },
                async {
                    let read = client.read_exact(vec![0; 13], 13).await?;
                    client.write_all("0123456789").await?;
                    io::Result::Ok(read)
                },
            ))
            .await;
            assert_eq!(read?, b"a long answer");
            let error = copied.unwrap_err();
            assert_eq!(error.direction(), direction);
            let failed = error.error();
            assert_eq!(
                (failed.kind(), failed.copied()),
                (ErrorKind::StorageFull, 4)
            );
            let ((from_near, from_far), name) = match direction {
                CopyDirection::AToB => (error.copied(), "copy from a to b: "),
                CopyDirection::BToA => ((error.copied().1, error.copied().0), "copy from b to a: "),
            };
            assert_eq!((from_near, from_far), (4, 13));
            assert!(error.to_string().starts_with(name), "{error}");
            assert!(!gimmal::is_canceled(&error));
            let (a_to_b, b_to_a) = error.into_results();
            let waits = match direction {
                CopyDirection::AToB => b_to_a.unwrap_err(),
                CopyDirection::BToA => a_to_b.unwrap_err(),
            };
            assert!(
                gimmal::is_canceled(&waits) && waits.copied() == 13,
                "{waits}"
            );

            // The unwritten bytes were returned, and both sides can still be used.
            assert_eq!(full.taken, b"0123");
            assert_eq!(near.read(vec![0; 64]).await?.1, b"456789");
            near.write_all("sorry").await?;
            assert_eq!(client.read(vec![0; 64]).await?.1, b"sorry");
            server.write_all("more").await?;
            assert_eq!(far.read(vec![0; 64]).await?.1, b"more");
        }
        Ok(())
    });
}

/// Bytes read for a failed writer are in the error if the reader cannot take them back.
#[test]
fn bytes_that_cannot_be_returned_to_a_reader_are_in_the_error() {
    returning_to_baseline(async || {
        let (mut text, mut full) = (&b"0123456789"[..], Full::after(4));
        let (idle, _writer) = pipe()?;
        let copied = copy_bidirectional((&idle, &mut full), (&mut text, Vec::new())).await;
        let (_, b_to_a) = copied.unwrap_err().into_results();
        let (error, unwritten) = b_to_a.unwrap_err().into_parts();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(
            (&*full.taken, &*unwritten, text),
            (&b"0123"[..], &b"456789"[..], &b""[..])
        );
        Ok(())
    });
}

#[test]
fn a_failing_shutdown_is_the_error_of_its_direction() {
    returning_to_baseline(async || {
        let mut full = Full::after(100);
        let (nothing, all) = (&b""[..], &b"all of it"[..]);
        let copied = copy_bidirectional((nothing, &mut full), (all, Vec::new())).await;
        let error = copied.unwrap_err();
        assert_eq!(
            (error.direction(), error.copied()),
            (CopyDirection::BToA, (0, 9))
        );
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        // The other direction had ended.
        assert!(matches!(error.into_results(), (Ok(0), Err(_))));
        Ok(())
    });
}

/// Has a few bytes, then waits for a foreign future.
struct Foreign(usize);

impl AsyncRead for Foreign {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        let len = std::mem::take(&mut self.0);
        match len {
            0 => pending().await,
            _ => (&mut &vec![7; len][..]).read(buf).await,
        }
    }
}

/// Such a wait is dropped when the other direction fails, or when a scope is canceled. Its bytes are still counted.
#[test]
fn a_dropped_direction_is_counted() {
    returning_to_baseline(async || {
        let (reader, writer) = pipe()?;
        let (mut full, mut taken) = (Full::after(4), Vec::new());
        let (copied, ()) = gimmal::join((
            copy_bidirectional((Foreign(10), &mut full), (&reader, &mut taken)),
            async {
                next_turn().await;
                writer.write_all("0123456789").await.unwrap();
            },
        ))
        .await;
        let error = copied.unwrap_err();
        assert_eq!(
            (error.direction(), error.copied()),
            (CopyDirection::BToA, (10, 4))
        );
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(taken, [7; 10]);

        let (scope, mut taken) = (Scope::new(), Vec::new());
        let (copied, ()) = gimmal::join((
            scope.run_any(copy_bidirectional(
                (Foreign(3), &mut taken),
                &UnixStream::pair()?.0,
            )),
            async {
                next_turn().await;
                scope.cancel();
            },
        ))
        .await;
        let error = copied.unwrap().unwrap_err();
        assert!(gimmal::is_canceled(&error), "{error}");
        assert_eq!(error.copied(), (3, 0));
        Ok(())
    });
}

/// Copies between two streams: dropped after any poll, nothing is left behind.
#[test]
fn copy_bidirectional_can_be_dropped_after_any_poll() {
    returning_to_baseline(async || {
        dropped_everywhere("copy_bidirectional", &MOMENTS, || async {
            let (client, near) = tcp_pair().await.unwrap();
            let (far, server) = UnixStream::pair().unwrap();
            passes(
                "dropped",
                &near,
                (&far, BufWriter::new(&far)),
                &client,
                &server,
            )
            .await
            .unwrap();
        })
        .await;
        Ok(())
    });
}

/// Both sides fail: neither error is lost when they are combined into one.
#[test]
fn if_both_directions_fail_both_errors_are_kept() {
    returning_to_baseline(async || {
        /// Fails when it is canceled, like a cleanup that fails.
        struct Broken;

        impl AsyncRead for Broken {
            async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
                let _canceled = gimmal::sleep(Duration::from_secs(3600)).await;
                let error = io::Error::from_raw_os_error(libc::EBADMSG);
                Err(gimmal::BufError::new(error, buf))
            }
        }

        for direction in [CopyDirection::AToB, CopyDirection::BToA] {
            let (reader, writer) = pipe()?;
            let (full, broken) = (Full::after(4), Broken);
            let (copied, ()) = gimmal::join((
                async {
                    match direction {
                        CopyDirection::AToB => {
                            copy_bidirectional((&reader, Vec::new()), (broken, full)).await
                        }
                        CopyDirection::BToA => {
                            copy_bidirectional((broken, full), (&reader, Vec::new())).await
                        }
                    }
                },
                async {
                    next_turn().await;
                    writer.write_all("0123456789").await.unwrap();
                },
            ))
            .await;
            let error = io::Error::from(copied.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            let text = error.to_string();
            assert!(
                text.contains("(after 4 bytes)") && text.contains("os error 74"),
                "{text}"
            );
            let held: &CopyBidirectionalError = error.get_ref().unwrap().downcast_ref().unwrap();
            assert_eq!(held.direction(), direction);
        }

        // A failure takes precedence, even if a cancellation came first.
        let scope = Scope::new();
        let (idle, _writer) = pipe()?;
        let copying = copy_bidirectional((&idle, Vec::new()), (Broken, Vec::new()));
        let (copied, ()) = gimmal::join((scope.run_any(copying), async {
            next_turn().await;
            scope.cancel();
        }))
        .await;
        let error = copied.unwrap().unwrap_err();
        assert_eq!(error.direction(), CopyDirection::BToA);
        let error = io::Error::from(error);
        assert!(!gimmal::is_canceled(&error));
        assert_eq!(gimmal::errno(&error), Some(libc::EBADMSG));
        Ok(())
    });
}
