//! Code written as in the README compiles without annotations, whatever the function's error type is, and one `?` is
//! enough.

use gimmal::cancel::{Scope, cancelable, checkpoint, shield};
use gimmal::group::Select2;
use gimmal::prelude::*;
use gimmal::time::timeout;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_micros(100);

/// The body of each of the functions below.
macro_rules! everything {
    () => {{
        let file = gimmal::fs::File::open("Cargo.toml").await?;
        let (n, buffer) = file.read_at(Vec::with_capacity(64), 0).await?;
        let buffer = file.read_exact_at(buffer, 9, 0).await?;
        let text = gimmal::fs::read_to_string("Cargo.toml").await?;
        let text_len = text.len();
        gimmal::sleep(Duration::from_micros(10)).await?;
        let mut ticks = gimmal::time::interval(Duration::from_micros(10));
        ticks.tick().await?;
        let sum = gimmal::spawn(async move { n + text_len }).await?;
        let read = gimmal::spawn(gimmal::fs::read("Cargo.toml")).await??;
        let blocking = gimmal::task::spawn_blocking(|| 1).await?;
        let again = gimmal::fs::read_to_string("Cargo.toml")
            .timeout(LONG)
            .await?;
        assert_eq!(again, text);
        let (_, buffer) = file.read_at(buffer, 0).timeout(LONG).await?;
        let buffer = timeout(LONG, file.read_exact_at(buffer, 9, 0)).await?;
        let (_reader, mut writer) = gimmal::io::pipe()?;
        gimmal::io::copy(&mut &file, &mut writer).await?;
        gimmal::io::copy(&mut &file, &mut writer)
            .timeout(LONG)
            .await?;
        timeout(LONG, timeout(LONG, gimmal::sleep(Duration::ZERO))).await?;
        timeout(LONG, gimmal::spawn(async {})).await?;
        checkpoint().await?;
        cancelable(async {}).await?;
        shield(gimmal::op::nop()).await?;
        gimmal::op::nop().await?;
        let paths = ["Cargo.toml", "README.md"];
        let grouped = gimmal::group(async |g| {
            let child = g.spawn(gimmal::fs::read("Cargo.toml"));
            Ok(child.await?.len())
        })
        .await?;
        let short = || gimmal::sleep(Duration::from_micros(10));
        let (left, right) = gimmal::join((gimmal::fs::read(paths[0]), short())).await;
        right?;
        let grouped = grouped + left?.len();
        for text in gimmal::join_all(paths.map(gimmal::fs::read)).await {
            text?;
        }
        let (left, right) =
            gimmal::try_join((gimmal::fs::read(paths[0]), gimmal::fs::read(paths[1]))).await?;
        let tried = gimmal::try_join_all(paths.map(gimmal::fs::read)).await?;
        let mapped = gimmal::map(paths, 2, async |path| gimmal::fs::read(path).await).await?;
        assert_eq!((&left, &right), (&tried[0], &tried[1]));
        assert_eq!(tried, mapped);
        let raced = gimmal::race((gimmal::fs::read(paths[0]), short().timeout(LONG))).await;
        if let (Some(text), _) = raced.outputs
            && raced.first == 0
        {
            text?;
        }
        let (mut first, mut second) = (short(), gimmal::spawn(async { 1 }));
        match gimmal::select((&mut first, &mut second)).await {
            Select2::First(slept) => slept?,
            Select2::Second(one) => assert_eq!(one?, 1),
        }
        for (_, slept) in gimmal::wait([short(), short()]).all().await {
            slept?;
        }
        file.close().await?;
        Ok(sum + grouped + buffer.len() + read.len() + blocking)
    }};
}

fn with_io() -> io::Result<usize> {
    gimmal::run(async { everything!() })
}

fn with_box() -> Result<usize, Box<dyn Error>> {
    gimmal::run(async { everything!() })
}

fn with_box_send() -> Result<usize, Box<dyn Error + Send + Sync>> {
    gimmal::run(async { everything!() })
}

fn with_anyhow() -> anyhow::Result<usize> {
    gimmal::run(async { everything!() })
}

#[derive(Debug)]
enum MyError {
    Io(io::Error),
}

impl From<io::Error> for MyError {
    fn from(error: io::Error) -> MyError {
        MyError::Io(error)
    }
}

gimmal::impl_from_errors!(MyError);

fn with_custom() -> Result<usize, MyError> {
    gimmal::run(async { everything!() })
}

#[test]
fn one_question_mark_is_enough_for_each_error_type() {
    let expected = with_io().unwrap();
    assert!(expected > 0);
    assert_eq!(with_box().unwrap(), expected);
    assert_eq!(with_box_send().unwrap(), expected);
    assert_eq!(with_anyhow().unwrap(), expected);
    assert_eq!(with_custom().unwrap(), expected);
}

#[test]
fn an_error_keeps_its_kind_through_conversions() {
    fn missing() -> Result<(), MyError> {
        gimmal::run(async {
            gimmal::fs::read("/there/is/no/such/file").await?;
            Ok(())
        })
    }
    let MyError::Io(error) = missing().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/there/is/no/such/file"));
}

/// Every kind of timeout and cancellation is recognized after `?` in functions of each error type.
macro_rules! canceled_or_timed_out {
    ($name:ident, $error:ty, $as_error:expr) => {
        #[test]
        fn $name() {
            async fn sleeps() -> Result<(), $error> {
                timeout(SHORT, gimmal::sleep(LONG)).await?;
                Ok(())
            }
            async fn foreign() -> Result<(), $error> {
                timeout(SHORT, std::future::pending::<io::Result<()>>()).await?;
                Ok(())
            }
            async fn reads(file: &gimmal::fs::File) -> Result<(), $error> {
                file.read(vec![0; 8]).timeout(SHORT).await?;
                Ok(())
            }
            async fn reads_in_time(file: &gimmal::fs::File) -> Result<(), $error> {
                timeout(SHORT, file.read(vec![0; 8])).await?;
                Ok(())
            }
            async fn joins() -> Result<(), $error> {
                timeout(SHORT, gimmal::spawn(std::future::pending::<()>())).await?;
                Ok(())
            }
            // A function of this error type, under a timeout.
            async fn calls() -> Result<(), $error> {
                timeout(SHORT, asleep()).await?;
                Ok(())
            }
            async fn asleep() -> Result<(), $error> {
                gimmal::sleep(LONG).await?;
                Ok(())
            }
            async fn canceled(file: &gimmal::fs::File) -> Result<(), $error> {
                file.read(vec![0; 8]).await?;
                Ok(())
            }
            async fn canceled_in_time() -> Result<(), $error> {
                timeout(LONG, gimmal::sleep(LONG)).await?;
                Ok(())
            }
            let as_error: fn(&$error) -> &(dyn Error + 'static) = $as_error;
            let is_timeout = |ended: Result<(), $error>| {
                let error = ended.unwrap_err();
                let error = as_error(&error);
                assert!(gimmal::is_timeout(error), "{error}");
                assert!(!gimmal::is_canceled(error), "{error}");
            };
            let is_canceled = |ended: Result<(), $error>| {
                let error = ended.unwrap_err();
                let error = as_error(&error);
                assert!(gimmal::is_canceled(error), "{error}");
                assert!(!gimmal::is_timeout(error), "{error}");
            };
            let main = async {
                let (reader, _writer) = io::pipe()?;
                let file = gimmal::fs::File::from(std::os::fd::OwnedFd::from(reader));
                is_timeout(sleeps().await);
                is_timeout(foreign().await);
                is_timeout(reads(&file).await);
                is_timeout(reads_in_time(&file).await);
                is_timeout(joins().await);
                is_timeout(calls().await);
                let scope = Scope::new();
                scope.cancel();
                scope
                    .run_any(async {
                        is_canceled(sleeps().await);
                        is_canceled(foreign().await);
                        is_canceled(reads(&file).await);
                        is_canceled(joins().await);
                        is_canceled(asleep().await);
                        is_canceled(canceled(&file).await);
                        is_canceled(canceled_in_time().await);
                    })
                    .await?;
                Ok::<_, $error>(())
            };
            gimmal::run(main).unwrap();
        }
    };
}

canceled_or_timed_out!(
    timeouts_and_cancels_are_recognized_in_io_results,
    io::Error,
    |error| error
);
canceled_or_timed_out!(
    timeouts_and_cancels_are_recognized_in_boxed_errors,
    Box<dyn Error>,
    |error| &**error
);
canceled_or_timed_out!(
    timeouts_and_cancels_are_recognized_in_boxed_send_errors,
    Box<dyn Error + Send + Sync>,
    |error| &**error
);
canceled_or_timed_out!(
    timeouts_and_cancels_are_recognized_in_anyhow,
    anyhow::Error,
    |error| error.as_ref()
);
canceled_or_timed_out!(
    timeouts_and_cancels_are_recognized_in_custom_errors,
    MyError,
    |error| match error {
        MyError::Io(error) => error,
    }
);

/// A function of each error type, under a timeout in a canceled scope.
macro_rules! canceled_call {
    ($error:ty, $as_error:expr) => {{
        async fn calls() -> Result<(), $error> {
            timeout(LONG, asleep()).await?;
            Ok(())
        }
        async fn asleep() -> Result<(), $error> {
            gimmal::sleep(LONG).await?;
            Ok(())
        }
        let as_error: fn(&$error) -> &(dyn Error + 'static) = $as_error;
        let called = async {
            let scope = Scope::new();
            scope.cancel();
            let error = scope.run_any(calls()).await?.unwrap_err();
            assert!(gimmal::is_canceled(as_error(&error)), "{error:?}");
            Ok::<_, $error>(())
        };
        gimmal::run(called).unwrap();
    }};
}

#[test]
fn a_call_canceled_inside_a_timeout_returns_a_canceled_error() {
    canceled_call!(io::Error, |error| error);
    canceled_call!(Box<dyn Error>, |error| &**error);
    canceled_call!(Box<dyn Error + Send + Sync>, |error| &**error);
    canceled_call!(MyError, |error| match error {
        MyError::Io(error) => error,
    });
}

#[test]
fn an_anyhow_call_canceled_inside_a_timeout_returns_a_canceled_error() {
    canceled_call!(anyhow::Error, |error| error.as_ref());
}

/// A scope's `run` returns any error that converts from [`gimmal::Canceled`].
#[test]
fn a_scope_runs_functions_of_each_error_type() {
    async fn scoped<E: From<gimmal::Canceled>>() -> Result<u8, E> {
        Scope::new().run(async { Ok(4) }).await
    }
    gimmal::run(async {
        assert_eq!(scoped::<io::Error>().await?, 4);
        assert_eq!(scoped::<gimmal::Canceled>().await?, 4);
        assert_eq!(scoped::<MyError>().await.unwrap(), 4);
        assert_eq!(scoped::<anyhow::Error>().await.unwrap(), 4);
        assert_eq!(scoped::<Box<dyn Error>>().await.unwrap(), 4);
        Ok::<_, io::Error>(())
    })
    .unwrap();
}

/// An error type with a variant of its own.
#[derive(Debug)]
enum Mine {
    Io(io::Error),
    DiskFull,
}

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mine::Io(error) => error.fmt(f),
            Mine::DiskFull => f.write_str("the disk is full"),
        }
    }
}

impl Error for Mine {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Mine::Io(error) => Some(error),
            Mine::DiskFull => None,
        }
    }
}

impl From<io::Error> for Mine {
    fn from(error: io::Error) -> Mine {
        Mine::Io(error)
    }
}

gimmal::impl_from_errors!(Mine);

/// An error type that does not implement `Error`.
#[derive(Debug)]
enum Plain {
    Io(io::Error),
    DiskFull,
}

impl From<io::Error> for Plain {
    fn from(error: io::Error) -> Plain {
        Plain::Io(error)
    }
}

gimmal::impl_from_errors!(Plain);

/// Ignores its cancellation, then fails with another error.
async fn fails<E>(error: E) -> Result<(), E> {
    let _ = gimmal::sleep(LONG).await;
    Err(error)
}

#[test]
fn a_failure_after_the_timeout_is_returned_as_itself() {
    async fn mine() -> Result<(), Mine> {
        Ok(timeout(SHORT, fails(Mine::DiskFull)).await?)
    }
    async fn plain() -> Result<(), Plain> {
        Ok(timeout(SHORT, fails(Plain::DiskFull)).await?)
    }
    async fn std() -> io::Result<()> {
        Ok(timeout(SHORT, fails(io::Error::from(io::ErrorKind::StorageFull))).await?)
    }
    async fn any() -> anyhow::Result<()> {
        Ok(timeout(SHORT, fails(anyhow::Error::new(Mine::DiskFull))).await?)
    }
    let main = async {
        let error = mine().await.unwrap_err();
        assert!(matches!(error, Mine::DiskFull) && !gimmal::is_timeout(&error));
        // `Plain` is no `Error`, so whether the timeout caused it is unknown: it becomes the source of a timeout error.
        let Plain::Io(error) = plain().await.unwrap_err() else {
            panic!("expected a timeout as an io::Error")
        };
        assert!(gimmal::is_timeout(&error) && !gimmal::is_canceled(&error));
        assert_eq!(error.to_string(), "timed out: DiskFull");
        assert_eq!(error.source().unwrap().to_string(), "DiskFull");
        let error = std().await.unwrap_err();
        assert!(error.kind() == io::ErrorKind::StorageFull && !gimmal::is_timeout(&error));
        let error = any().await.unwrap_err();
        assert!(!gimmal::is_timeout(error.as_ref()));
        assert!(matches!(
            error.root_cause().downcast_ref(),
            Some(Mine::DiskFull)
        ));
        // `settle` decides by the concrete type, before any conversion.
        let error = timeout(SHORT, fails(Mine::DiskFull)).await.unwrap_err();
        let error = error.settle();
        assert!(!error.is_elapsed() && error.to_string() == "the disk is full");
        let error = timeout(SHORT, async { Ok::<_, Mine>(gimmal::sleep(LONG).await?) });
        assert!(error.await.unwrap_err().settle().is_elapsed());
        Ok::<_, io::Error>(())
    };
    gimmal::run(main).unwrap();
}

/// The error message of a future that a timeout canceled is kept.
#[test]
fn a_timeout_holds_the_error_of_the_future_it_canceled() {
    async fn std() -> io::Result<()> {
        let reads = async {
            let slept = gimmal::sleep(LONG).await;
            slept.map_err(|canceled| {
                io::Error::other(anyhow::Error::new(canceled).context("page 3"))
            })
        };
        Ok(timeout(SHORT, reads).await?)
    }
    async fn mine() -> Result<(), Mine> {
        Ok(timeout(SHORT, std()).await?)
    }
    let main = async {
        let error = timeout(LONG, mine()).await;
        let error = error.unwrap_err().into_inner().unwrap();
        assert!(gimmal::is_timeout(&error) && !gimmal::is_canceled(&error));
        assert!(error.to_string().contains("timed out"), "{error}");
        let error = std().await.unwrap_err();
        assert!(gimmal::is_timeout(&error) && !gimmal::is_canceled(&error));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "timed out: page 3");
        assert!(error.source().is_some());
        Ok::<_, io::Error>(())
    };
    gimmal::run(main).unwrap();
}

/// All failures of a group survive the conversion by `?`.
#[test]
fn converting_a_group_error_loses_no_failure() {
    async fn fails_twice<E: From<io::Error>>(
        second: E,
    ) -> Result<(), gimmal::group::GroupError<E>> {
        gimmal::group(async |g| {
            drop(g.spawn(async { Err::<(), _>(io::Error::from(io::ErrorKind::NotFound).into()) }));
            drop(g.spawn(async { Err::<(), _>(second) }));
            Ok(())
        })
        .await
    }
    async fn mine() -> Result<(), Mine> {
        Ok(fails_twice(Mine::DiskFull).await?)
    }
    async fn plain() -> Result<(), Plain> {
        Ok(fails_twice(Plain::DiskFull).await?)
    }
    async fn std() -> io::Result<()> {
        Ok(fails_twice(io::Error::other("the disk is full")).await?)
    }
    async fn any() -> anyhow::Result<()> {
        Ok(fails_twice(anyhow::Error::new(Mine::DiskFull)).await?)
    }
    let main = async {
        let text = "entity not found (and 1 more failed: the disk is full)";
        let error = mine().await.unwrap_err();
        assert_eq!(error.to_string(), text);
        let Mine::Io(error) = error else {
            panic!("expected both failures as an io::Error")
        };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(matches!(
            error.source().unwrap().downcast_ref(),
            Some(Mine::Io(_))
        ));
        let all = error.into_inner().unwrap();
        let all = all.downcast::<gimmal::group::GroupError<Box<dyn Error + Send + Sync>>>();
        let all = all.unwrap();
        assert!(matches!(all.rest()[0].downcast_ref(), Some(Mine::DiskFull)));
        let Plain::Io(error) = plain().await.unwrap_err() else {
            panic!("expected both failures as an io::Error")
        };
        assert!(
            error.to_string().contains("1 more failed: DiskFull"),
            "{error}"
        );
        let error = std().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::NotFound, text)
        );
        let error = any().await.unwrap_err();
        assert_eq!(error.to_string(), text);
        Ok::<_, io::Error>(())
    };
    gimmal::run(main).unwrap();
}

/// Types whose names could collide with names inside the macro.
mod colliding_names {
    macro_rules! named {
        ($($name:ident)*) => {$(
            #[derive(Debug)]
            struct $name(std::io::Error);

            impl From<std::io::Error> for $name {
                fn from(error: std::io::Error) -> $name {
                    $name(error)
                }
            }

            gimmal::impl_from_errors!($name);
        )*};
    }

    named!(B E O T Hold Probe ProbeFallback);

    #[test]
    fn the_macro_accepts_any_type_name() {
        fn is_canceled<M: From<gimmal::time::TimeoutError<M>> + From<gimmal::Canceled>>(
            error: fn(M) -> std::io::Error,
        ) {
            let timeout = gimmal::time::TimeoutError::<M>::from(gimmal::Canceled);
            assert!(gimmal::is_canceled(&error(M::from(timeout))));
        }
        is_canceled::<B>(|error| error.0);
        is_canceled::<E>(|error| error.0);
        is_canceled::<O>(|error| error.0);
        is_canceled::<T>(|error| error.0);
        is_canceled::<Hold>(|error| error.0);
        is_canceled::<Probe>(|error| error.0);
        is_canceled::<ProbeFallback>(|error| error.0);
    }
}
