//! Code as README writes it compiles without annotations, whatever the function's error type is, and one `?` is enough.

use std::error::Error;
use std::io;
use std::time::Duration;

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
        file.close().await?;
        Ok(sum + buffer.len() + read.len() + blocking)
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
