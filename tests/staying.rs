//! What may go to another thread, and what may not: whatever holds a row of a runtime stays with it (O9), unless it can give
//! the row back from elsewhere.
//!
//! Most of it is looked at by the compiler, with parts that are `Send` themselves.

use gimmal::{cancel, fs, group, io, net, op, runtime, signal, task, time};
use std::future::{Pending, pending};
use std::marker::PhantomData;
use std::time::Duration;

/// Does not compile if one of the types is `Send`, or `Sync`: then there are two ways to fill in the blank.
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

/// Does not compile if one of the types is not `Send`.
macro_rules! moves {
    ($($type:ty),+ $(,)?) => {$(
        const _: fn() = || {
            fn moves<T: Send>() {}
            moves::<$type>();
        };
    )+};
}

type Never = Pending<Result<(), std::io::Error>>;

// Futures that are rows, or have some.
stays!(
    task::JoinHandle<u8>,
    group::Child<'static, u8>,
    group::Supervised<'static, u8>,
    group::JoinAll<Never>,
    group::RaceAll<Never>,
    group::RaceArray<Never, 2>,
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

// What is bound to a runtime, or shared with its operations.
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

// What is made to cross, and what only carries values.
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

/// Whether the type of a value is `Send`, also if it has no name: the type's own method goes before that of the trait, where
/// it is there.
macro_rules! is_send {
    ($value:expr) => {
        probe(&$value).is_send()
    };
}

#[test]
fn futures_without_a_name_stay_as_well() {
    let text = [pending::<std::io::Result<u8>>()];
    assert!(is_send!(text), "so the parts may go");
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

/// The row of a wait is free when its handle is gone.
#[test]
fn the_wait_for_a_closure_leaves_no_row() {
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
