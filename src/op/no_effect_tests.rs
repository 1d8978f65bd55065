//! Which results prove that an operation had no effect, and which operations wait for a peer: the whole lists, so that
//! nothing changes them by accident.

use super::fd::{Lane, Permit};
use super::stream::RecvMultishot;
use super::*;
use crate::runtime::{self, Core};
use crate::sys::Descriptor;
use socket2::SockAddr;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

/// ECANCELED, EINTR, and the kernel's restart codes: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND and
/// ERESTART_RESTARTBLOCK.
const INTERRUPTED: [i32; 6] = [libc::EINTR, libc::ECANCELED, 512, 513, 514, 516];

fn fd() -> SharedFd {
    SharedFd::from(OwnedFd::from(fs::File::open("/dev/null").unwrap()))
}

fn stream() -> Rc<Stream> {
    Stream::new(fd(), StreamKind::Unix)
}

fn datagrams() -> Rc<Datagrams> {
    Datagrams::new(fd())
}

/// The types of operations whose results were compared.
#[derive(Default)]
struct Compared {
    types: BTreeSet<String>,
    /// Those that wait for a peer.
    waiting: BTreeSet<String>,
}

impl Compared {
    /// Compares the errnos, and the success 0, that prove that this operation had no effect.
    fn accepts<O: Operation>(&mut self, mut op: Op<O>, more: &[i32]) {
        let operation = op.at_rest().expect("it was not started");
        let more = [&INTERRUPTED, more].concat();
        self.accepts_only(operation, &more);
    }

    fn accepts_only<O: Operation>(&mut self, operation: &O, errnos: &[i32]) {
        let name = std::any::type_name::<O>();
        let proves = |errno: &i32| operation.had_no_effect(Completion::new(-errno, 0));
        let found: BTreeSet<i32> = (0..=600).filter(proves).collect();
        assert_eq!(found, errnos.iter().copied().collect(), "{name}");
        assert!(!operation.had_no_effect(Completion::new(1, 0)), "{name}");
        let name = name
            .split('<')
            .next()
            .and_then(|path| path.rsplit(':').next());
        if operation.waits_for_peer() {
            self.waiting.extend(name.map(str::to_owned));
        }
        self.types.extend(name.map(str::to_owned));
    }
}

/// The types in the sources of this module that implement `Operation`.
fn implemented(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            implemented(&path, found);
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            if line.starts_with("unsafe impl")
                && let Some((_, name)) = line.split_once(" Operation for ")
            {
                let end = name.find(|c: char| !c.is_alphanumeric());
                found.insert(name[..end.unwrap_or(name.len())].to_owned());
            }
        }
    }
}

#[test]
fn each_operation_accepts_these_errnos_as_no_effect_and_no_others() {
    let ran: io::Result<()> = crate::run(async {
        let buf = || vec![0u8; 8];
        let bufs = || [buf()];
        let at = || Offset::At(0);
        let mut all = Compared::default();

        all.accepts(nop(), &[]);
        all.accepts(PollAdd::readable(fd()), &[]);

        all.accepts(Read::new(fd(), buf(), at()), &[]);
        all.accepts(Write::new(fd(), buf(), at()), &[]);
        all.accepts(ReadVectored::new(fd(), bufs(), at()), &[]);
        all.accepts(WriteVectored::new(fd(), bufs(), at()), &[]);
        all.accepts(Fsync::new(fd(), false), &[]);
        let mut close = Close::new(Descriptor::from(
            fs::File::open("/dev/null").map(OwnedFd::from)?,
        ));
        all.accepts_only(close.at_rest().unwrap(), &[]);
        all.accepts(OpenAt::new(c"/".to_owned(), libc::O_RDWR, 0, false), &[]);
        for flag in [libc::O_CREAT, libc::O_TRUNC] {
            let mut open = OpenAt::new(c"/".to_owned(), libc::O_RDWR | flag, 0, false);
            all.accepts_only(open.at_rest().unwrap(), &[libc::ECANCELED]);
        }

        all.accepts(Recv::new(stream(), buf()), &[]);
        all.accepts(
            Recv::part(Permit::new(stream(), Lane::In), buf(), 0..8),
            &[],
        );
        all.accepts(RecvVectored::new(stream(), bufs()), &[]);
        all.accepts(RecvFds::new(stream(), buf(), 1), &[]);
        all.accepts(Send::new(stream(), buf()), &[]);
        all.accepts(SendZeroCopy::new(stream(), buf()), &[libc::ENOMEM]);
        all.accepts(SendVectored::new(stream(), bufs()), &[]);
        all.accepts(SendFds::new(stream(), buf(), vec![fd()]), &[]);
        all.accepts(
            Splice::new(&fd(), &Outlet::of_file(&fd()), 8, Rc::new(()), false),
            &[],
        );
        match runtime::with(Core::receive_buffers) {
            Some(buffers) => {
                let receive = RecvMultishot::new(Permit::new(stream(), Lane::In), buffers);
                all.accepts_only(&receive, &INTERRUPTED);
            }
            // This kernel has no provided buffers.
            None => {
                all.types.insert("RecvMultishot".to_owned());
                all.waiting.insert("RecvMultishot".to_owned());
            }
        }

        all.accepts(RecvMessage::<_, usize>::new(datagrams(), buf()), &[]);
        all.accepts(
            SendMessage::new(datagrams(), buf(), None, &[]),
            &[libc::EAGAIN],
        );
        let fds = SendMessageFds::new(datagrams(), buf(), vec![fd()], Ok(None));
        all.accepts(fds, &[libc::EAGAIN]);

        all.accepts_only(&Accept::poll(fd()), &INTERRUPTED);
        let address = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        all.accepts(Connect::new(fd(), address), &[0, libc::EINPROGRESS]);

        let mut known = BTreeSet::new();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/op");
        implemented(&sources, &mut known);
        assert_eq!(
            all.types, known,
            "those that were compared, and those that there are"
        );
        // Virtual time stands still for the others until they have ended.
        let by_themselves = ["Close", "FileRead", "FileWrite", "Fsync", "Nop", "OpenAt"];
        let waiting = |name: &String| !by_themselves.contains(&name.as_str());
        assert_eq!(
            all.waiting,
            all.types
                .iter()
                .filter(|name| waiting(name))
                .cloned()
                .collect()
        );
        let fifo = OpenAt::new(c"/".to_owned(), 0, 0, true)
            .at_rest()
            .map(|open| open.waits_for_peer());
        assert_eq!(fifo, Some(true), "until the other end is opened");
        Ok(())
    });
    ran.unwrap();
}
