//! Code as README writes it compiles without annotations, whatever the function's error type is, and one `?` is enough.

use gimmal::group::Select2;
use gimmal::prelude::*;
use std::error::Error;
use std::io;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// What every one of the functions below does.
macro_rules! everything {
    () => {{
        let file = gimmal::fs::File::open("Cargo.toml").await?;
        let (n, buffer) = file.read_at(Vec::with_capacity(64), 0).await?;
        let buffer = file.read_exact_at(buffer, 9, 0).await?;
        let text = gimmal::fs::read_to_string("Cargo.toml").await?;
        gimmal::sleep(Duration::from_micros(10)).await?;
        let mut ticks = gimmal::time::interval(Duration::from_micros(10));
        ticks.tick().await?;
        let sum = gimmal::spawn(async move { n + text.len() }).await?;
        let read = gimmal::spawn(gimmal::fs::read("Cargo.toml")).await??;
        let blocking = gimmal::task::spawn_blocking(|| 1).await?;
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
        let raced = gimmal::race((gimmal::fs::read(paths[0]), short().timeout(HOUR))).await;
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

gimmal::errors_into!(MyError);

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
