//! Code as README writes it compiles without annotations, whatever the function's error type is, and one `?` is enough.

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

/// What every one of the functions below does.
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

fn with_my_own() -> Result<usize, MyError> {
    gimmal::run(async { everything!() })
}

#[test]
fn one_question_mark_is_enough_for_each_error_type() {
    let expected = with_io().unwrap();
    assert!(expected > 0);
    assert_eq!(with_box().unwrap(), expected);
    assert_eq!(with_box_send().unwrap(), expected);
    assert_eq!(with_anyhow().unwrap(), expected);
    assert_eq!(with_my_own().unwrap(), expected);
}

#[test]
fn an_error_keeps_its_kind_on_the_way() {
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

/// Each way in which a time is over or a scope is canceled comes out of functions of each error type as what it is.
macro_rules! cut_short {
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
            // A function of this error type, in a timeout.
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

cut_short!(
    what_is_cut_short_comes_out_of_io_results,
    io::Error,
    |error| error
);
cut_short!(
    what_is_cut_short_comes_out_of_boxes,
    Box<dyn Error>,
    |error| &**error
);
cut_short!(
    what_is_cut_short_comes_out_of_boxes_that_can_be_sent,
    Box<dyn Error + Send + Sync>,
    |error| &**error
);
cut_short!(
    what_is_cut_short_comes_out_of_anyhow,
    anyhow::Error,
    |error| error.as_ref()
);
cut_short!(
    what_is_cut_short_comes_out_of_my_own_error,
    MyError,
    |error| match error {
        MyError::Io(error) => error,
    }
);

/// A function with an error of each type, in a timeout, in a scope that is canceled.
macro_rules! call_cut_short {
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
fn a_call_that_is_cancelled_in_a_timeout_says_so() {
    call_cut_short!(io::Error, |error| error);
    call_cut_short!(Box<dyn Error>, |error| &**error);
    call_cut_short!(Box<dyn Error + Send + Sync>, |error| &**error);
    call_cut_short!(MyError, |error| match error {
        MyError::Io(error) => error,
    });
}

#[test]
fn a_call_with_an_anyhow_error_that_is_cancelled_in_a_timeout_says_so() {
    call_cut_short!(anyhow::Error, |error| error.as_ref());
}

/// Scopes give whatever can be made from [`gimmal::Canceled`].
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

/// An error type with a failure of its own.
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

/// One that is no `Error`.
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

/// Swallows its cancellation and fails by itself.
async fn fails<E>(error: E) -> Result<(), E> {
    let _ = gimmal::sleep(LONG).await;
    Err(error)
}

#[test]
fn a_failure_after_the_time_was_over_is_the_error_and_no_timeout() {
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
        // It cannot be asked: it may come from the time that is over, and is in the timeout.
        let Plain::Io(error) = plain().await.unwrap_err() else {
            panic!("a timeout, as an error of std")
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
        // Where its type is known, it is asked before it goes anywhere.
        let error = timeout(SHORT, fails(Mine::DiskFull)).await.unwrap_err();
        let error = error.settle();
        assert!(!error.is_elapsed() && error.to_string() == "the disk is full");
        let error = timeout(SHORT, async { Ok::<_, Mine>(gimmal::sleep(LONG).await?) });
        assert!(error.await.unwrap_err().settle().is_elapsed());
        Ok::<_, io::Error>(())
    };
    gimmal::run(main).unwrap();
}

/// What was cut short keeps what it said about that.
#[test]
fn a_timeout_holds_the_error_of_what_it_stopped() {
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

/// The failures of a group are all there, whatever `?` makes of them.
#[test]
fn a_group_loses_no_failure_on_the_way_to_another_type() {
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
            panic!("both, as an error of std")
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
            panic!("both, as an error of std")
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

/// Types with the names that the macro might use for itself.
mod named_as_parameters {
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

    named!(B E O T Hold Own Otherwise);

    #[test]
    fn any_name_will_do() {
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
        is_canceled::<Own>(|error| error.0);
        is_canceled::<Otherwise>(|error| error.0);
    }
}
