//! Which types may move to another thread. A value that holds a row of a runtime must not (O9), unless it can release
//! the row from another thread.
//!
//! Most of this is checked at compile time, with parts that are `Send` themselves.

use gimmal::{cancel, fs, group, io, net, op, runtime, signal, task, time};
use std::future::{Pending, pending};
use std::marker::PhantomData;
use std::time::Duration;

/// Fails to compile if one of the types is `Send` or `Sync`: the blank is then ambiguous.
macro_rules! stays {
    ($($type:ty),+ $(,)?) => {$(
        const _: fn() = || {
            trait Blank<A> {
                fn fill() {}
            }
            struct Moves;
            struct Shared;
            impl<T: ?Sized> Blank<()> for T {}
            impl<T: ?Sized + Send> Blank<Moves> for T {}
            impl<T: ?Sized + Sync> Blank<Shared> for T {}
            <$type as Blank<_>>::fill();
        };
    )+};
}

/// Fails to compile if one of the types is not `Send`.
macro_rules! moves {
    ($($type:ty),+ $(,)?) => {$(
        const _: fn() = || {
            fn moves<T: Send>() {}
            moves::<$type>();
        };
    )+};
}

type Never = Pending<Result<(), std::io::Error>>;

// Futures that own rows.
stays!(
    task::JoinHandle<u8>,
    group::Child<'static, u8>,
    group::Supervised<'static, u8>,
    group::JoinAll<Never>,
    group::RaceAll<Never>,
    group::Wait<Never>,
    op::Op<op::Nop>,
    op::WithDeadline<op::Nop>,
    op::Op<op::Read<Vec<u8>>>,
    time::Sleep,
    time::Interval,
    time::Timeout<Never>,
    time::TimeoutAny<Never>,
    cancel::RunScope<Never>,
    cancel::RunScopeAny<Never>,
    cancel::Shield<Never>,
    net::Chunks<'static>,
);

// Values bound to a runtime, or shared with its operations.
stays!(
    gimmal::Runtime,
    gimmal::Handle,
    cancel::Scope,
    group::Group<'static, 'static, u8>,
    group::Supervisor<'static, 'static>,
    fs::File,
    io::PipeReader,
    io::PipeWriter,
    io::AsyncFd<std::fs::File>,
    io::BufReader<fs::File>,
    io::BufWriter<fs::File>,
    io::Lines<fs::File>,
    io::Take<fs::File>,
    io::Chain<io::Empty, fs::File>,
    net::TcpListener,
    net::TcpStream,
    net::UdpSocket,
    net::UnixDatagram,
    net::UnixListener,
    net::UnixStream,
    signal::CtrlC,
);

// Values designed to move between threads, and plain values.
moves!(
    cancel::ScopeHandle,
    task::AbortHandle,
    &'static task::AbortHandle,
    cancel::Cancelable<Never>,
    task::BlockingHandle<u8>,
    net::Chunk,
    runtime::Builder,
    runtime::Fault,
    runtime::Stats,
    task::Builder,
    task::JoinError,
    gimmal::Canceled,
    gimmal::BufError<Vec<u8>>,
    io::CopyError,
    io::CopyBidirectionalError,
    time::TimeoutError<std::io::Error>,
    group::GroupError<std::io::Error, u8>,
    group::ChildId,
    time::Instant,
);

struct Probe<T>(PhantomData<T>);

fn probe<T>(_: &T) -> Probe<T> {
    Probe(PhantomData)
}

trait Stays {
    fn is_send(&self) -> bool {
        false
    }
}

impl<T> Stays for Probe<T> {}

impl<T: Send> Probe<T> {
    fn is_send(&self) -> bool {
        true
    }
}

/// Whether the type of a value is `Send`, even if the type cannot be named: an inherent method, where it exists, takes
/// precedence over that of the trait.
macro_rules! is_send {
    ($value:expr) => {
        probe(&$value).is_send()
    };
}

#[test]
fn unnameable_futures_are_not_send() {
    let text = [pending::<std::io::Result<u8>>()];
    assert!(is_send!(text), "the parts are Send themselves");
    assert!(!is_send!(gimmal::join_all([pending::<u8>()])));
    assert!(!is_send!(gimmal::try_join_all([
        pending::<Result<u8, u8>>()
    ])));
    assert!(!is_send!(gimmal::try_join((
        pending::<Result<u8, u8>>(),
        pending::<Result<u8, u8>>()
    ))));
    assert!(!is_send!(gimmal::race((pending::<u8>(), pending::<u8>()))));
    assert!(!is_send!(gimmal::timeout(Duration::MAX, text[0].clone())));
    assert!(!is_send!(gimmal::group(async |_| Ok::<_, std::io::Error>(
        ()
    ))));
    assert!(!is_send!(gimmal::supervise(async |_| Ok::<
        _,
        std::io::Error,
    >(()))));
    assert!(!is_send!(fs::read("Cargo.toml")));
    assert!(!is_send!(signal::ctrl_c()));
}

/// Dropping the handle frees the row of a wait.
#[test]
fn a_dropped_wait_for_a_closure_leaves_no_row() {
    let mut runtime = gimmal::Runtime::new().unwrap();
    runtime.block_on(async {
        for _ in 0..200 {
            let (release, released) = std::sync::mpsc::channel::<()>();
            let mut handle = task::spawn_blocking(move || released.recv());
            assert!(futures_util::poll!(&mut handle).is_pending());
            assert_eq!(gimmal::Handle::current().stats().waits, 1);
            drop(handle);
            assert_eq!(gimmal::Handle::current().stats().waits, 0);
            drop(release);
        }
    });
}
