//! A `BufReader` against a naive reference: all that has not been read yet, in one vector.
//!
//! Its source returns chunks of chosen sizes, waits, and fails; a call that waits too long is dropped and goes on with the
//! next step. Whatever happens, no byte is lost, none is returned twice, and each call returns what the documentation says.

use gimmal::BufError;
use gimmal::buf::{BufResult, IoBufMut};
use gimmal::io::{AsyncRead, BufReader};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What the source does at a read.
#[derive(Clone, Debug)]
pub enum ReadEvent {
    /// Returns this many bytes at most.
    Chunk(u8),
    /// Waits for one poll.
    Wait,
    Interrupt,
    Fail,
}

/// A call on the reader.
#[derive(Clone, Debug)]
pub enum ReaderStep {
    ReadLine,
    ReadUntil(u8),
    SkipUntil(u8),
    FillBuf,
    FillMore,
    Consume(u8),
    Read(u8),
    ReadExact(u8),
    Unread(u8),
    LineMax(u8),
}

/// A reader, and all that happens to it.
#[derive(Clone, Debug, Default)]
pub struct ReaderCase {
    pub text: Vec<u8>,
    pub capacity: u8,
    pub line_max: u8,
    pub events: Vec<ReadEvent>,
    /// Each step with the number of polls that return Pending before its future is dropped.
    pub steps: Vec<(ReaderStep, u8)>,
}

impl ReaderCase {
    /// Reads a case from any bytes: sizes, then events, steps of three bytes each, and the text.
    pub fn from_bytes(bytes: &[u8]) -> ReaderCase {
        let Some((&[capacity, line_max, events, steps], rest)) = bytes.split_first_chunk() else {
            return ReaderCase::default();
        };
        let (events, rest) = rest.split_at(rest.len().min(events.into()));
        let (steps, text) = rest.split_at(rest.len().min(usize::from(steps) * 3));
        let (steps, _) = steps.as_chunks();
        ReaderCase {
            text: text.to_vec(),
            capacity,
            line_max,
            events: events
                .iter()
                .map(|byte| ReadEvent::from_byte(*byte))
                .collect(),
            steps: steps
                .iter()
                .map(|step| ReaderStep::from_bytes(*step))
                .collect(),
        }
    }

    /// Runs the case, and panics where the reader and the reference differ.
    pub fn check(&self) {
        let source = Source {
            rest: self.text.clone(),
            events: self.events.iter().rev().cloned().collect(),
        };
        let line_max = self.line_max.into();
        let mut model = ReaderModel {
            reader: BufReader::with_capacity(self.capacity.into(), source).line_max(line_max),
            rest: self.text.clone(),
            line_max,
            left: Left::Nothing,
        };
        for (step, patience) in &self.steps {
            model.step(step, *patience);
            let held = [model.reader.buffer(), &model.reader.get_ref().rest].concat();
            assert_eq!(held, model.rest, "after {step:?}");
        }
    }
}

impl ReadEvent {
    fn from_byte(byte: u8) -> ReadEvent {
        match byte {
            0..8 => ReadEvent::Wait,
            8 => ReadEvent::Interrupt,
            9 => ReadEvent::Fail,
            _ => ReadEvent::Chunk(byte - 9),
        }
    }
}

impl ReaderStep {
    fn from_bytes([call, number, patience]: [u8; 3]) -> (ReaderStep, u8) {
        let step = match call % 10 {
            0 => ReaderStep::ReadLine,
            1 => ReaderStep::ReadUntil(number),
            2 => ReaderStep::SkipUntil(number),
            3 => ReaderStep::FillBuf,
            4 => ReaderStep::FillMore,
            5 => ReaderStep::Consume(number),
            6 => ReaderStep::Read(number),
            7 => ReaderStep::ReadExact(number),
            8 => ReaderStep::Unread(number),
            _ => ReaderStep::LineMax(number),
        };
        (step, patience % 4)
    }
}

/// A reader of memory. A read that is dropped while it waits takes nothing.
struct Source {
    rest: Vec<u8>,
    /// What happens at the next reads, the next one last; then all that fits is returned.
    events: Vec<ReadEvent>,
}

impl AsyncRead for Source {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        let mut size = self.rest.len();
        while let Some(event) = self.events.pop() {
            match event {
                ReadEvent::Chunk(bytes) => {
                    size = size.min(usize::from(bytes).max(1));
                    break;
                }
                ReadEvent::Wait => {
                    let mut has_waited = false;
                    poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    })
                    .await;
                }
                ReadEvent::Interrupt => {
                    return Err(BufError::new(ErrorKind::Interrupted.into(), buf));
                }
                ReadEvent::Fail => return Err(BufError::new(ErrorKind::BrokenPipe.into(), buf)),
            }
        }
        let (n, buf) = (&self.rest[..size]).read(buf).await?;
        self.rest.drain(..n);
        Ok((n, buf))
    }
}

/// What an error left at the front of the buffer.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    NotText(usize),
    /// The rest of a line up to this delimiter, and whether a call has begun to discard it.
    TooLong(u8, bool),
}

struct ReaderModel {
    reader: BufReader<Source>,
    /// All that was not returned or discarded.
    rest: Vec<u8>,
    line_max: usize,
    left: Left,
}

/// The outcome of a call: `None` if it was dropped.
type Outcome<T> = Option<Result<T, ErrorKind>>;

/// Polls a future until it is ready, or has been pending too often.
fn outcome<T, E: Into<std::io::Error>>(
    patience: u8,
    future: impl Future<Output = Result<T, E>>,
) -> Outcome<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..=patience {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done.map_err(|error| error.into().kind()));
        }
    }
    None
}

/// The number of bytes up to and including the delimiter, or all of them.
fn until(bytes: &[u8], delimiter: u8) -> usize {
    let found = bytes.iter().position(|byte| *byte == delimiter);
    found.map_or(bytes.len(), |at| at + 1)
}

/// Whether an error is the source's: it ends a call, and nothing is lost.
fn is_of_source(kind: ErrorKind) -> bool {
    kind == ErrorKind::BrokenPipe
}

impl ReaderModel {
    fn step(&mut self, step: &ReaderStep, patience: u8) {
        let buffered = self.reader.buffer().len();
        match *step {
            ReaderStep::ReadLine => {
                let mut line = "kept".to_owned();
                let read = outcome(patience, self.reader.read_line(&mut line));
                self.delimited(
                    read,
                    b'\n',
                    true,
                    line.strip_prefix("kept").unwrap().as_bytes(),
                );
            }
            ReaderStep::ReadUntil(delimiter) => {
                let mut bytes = b"kept".to_vec();
                let read = outcome(patience, self.reader.read_until(delimiter, &mut bytes));
                self.delimited(read, delimiter, false, bytes.strip_prefix(b"kept").unwrap());
            }
            ReaderStep::SkipUntil(delimiter) => {
                let all = until(&self.rest, delimiter);
                let skipped = outcome(patience, self.reader.skip_until(delimiter));
                let n = match skipped {
                    Some(Ok(n)) => {
                        assert_eq!(n, all);
                        n
                    }
                    interrupted => self.discarded(interrupted, all),
                };
                self.rest.drain(..n);
                self.left = Left::Nothing;
            }
            ReaderStep::FillBuf => match outcome(patience, self.reader.fill_buf()) {
                Some(Ok(bytes)) => {
                    assert!(self.rest.starts_with(bytes));
                    assert!(!bytes.is_empty() || self.rest.is_empty());
                }
                Some(Err(kind)) => assert!(is_of_source(kind)),
                None => {}
            },
            ReaderStep::FillMore => match outcome(patience, self.reader.fill_more()) {
                Some(Ok(n)) => {
                    assert_eq!(self.reader.buffer().len(), buffered + n);
                    assert!(n > 0 || buffered == self.rest.len());
                }
                Some(Err(kind)) => assert!(is_of_source(kind)),
                None => {}
            },
            ReaderStep::Consume(bytes) => {
                let n = buffered.min(bytes.into());
                self.reader.consume(n);
                self.rest.drain(..n);
                self.left = Left::Nothing;
            }
            ReaderStep::Read(size) => {
                let buf = vec![0; usize::from(size).max(1)];
                match outcome(patience, self.reader.read(buf)) {
                    Some(Ok((n, bytes))) => {
                        assert_eq!(n, bytes.len());
                        assert!(n > 0 || self.rest.is_empty());
                        self.take(&bytes);
                    }
                    // A large read goes to the source as it is.
                    Some(Err(kind)) => {
                        assert!(is_of_source(kind) || kind == ErrorKind::Interrupted);
                    }
                    None => {}
                }
            }
            ReaderStep::ReadExact(size) => {
                let len = usize::from(size);
                match outcome(patience, self.reader.read_exact(vec![0; len], len)) {
                    Some(Ok(bytes)) => {
                        assert_eq!(bytes.len(), len);
                        self.take(&bytes);
                    }
                    Some(Err(ErrorKind::UnexpectedEof)) => assert!(self.rest.len() < len),
                    Some(Err(kind)) => assert!(is_of_source(kind)),
                    None => {}
                }
            }
            ReaderStep::Unread(byte) => {
                let bytes = [byte, b'\n', byte];
                assert!(self.reader.unread(&bytes));
                self.rest.splice(..0, bytes);
                self.left = Left::Nothing;
            }
            ReaderStep::LineMax(bytes) => {
                self.line_max = bytes.into();
                self.reader.set_line_max(self.line_max);
                if let Left::TooLong(_, false) = self.left {
                    self.left = Left::Nothing;
                }
            }
        }
    }

    /// Bytes were read from the front.
    fn take(&mut self, bytes: &[u8]) {
        assert!(self.rest.starts_with(bytes), "{bytes:?} are not next");
        self.rest.drain(..bytes.len());
        self.left = Left::Nothing;
    }

    /// Returns how much an interrupted call has discarded: not more than `all`, which ends with a delimiter.
    fn discarded<T: std::fmt::Debug>(&self, interrupted: Outcome<T>, all: usize) -> usize {
        assert!(interrupted.is_none_or(|done| is_of_source(done.unwrap_err())));
        let held = self.reader.buffer().len() + self.reader.get_ref().rest.len();
        let n = self.rest.len() - held;
        assert!(n <= all);
        n
    }

    /// A call for a line, or for bytes up to a delimiter, has appended `appended`.
    fn delimited(&mut self, read: Outcome<usize>, delimiter: u8, is_line: bool, appended: &[u8]) {
        if let Left::NotText(bad) = self.left
            && is_line
        {
            self.rest.drain(..bad);
            self.left = Left::Nothing;
        }
        if let Left::TooLong(end, _) = self.left {
            let all = until(&self.rest, end);
            // What was discarded until an error of this call itself: everything, or it was interrupted.
            let n = match read {
                Some(Ok(_) | Err(ErrorKind::InvalidData)) => all,
                interrupted => self.discarded(interrupted, all),
            };
            let is_over = match read {
                Some(Ok(_) | Err(ErrorKind::InvalidData)) => true,
                _ => n > 0 && self.rest[n - 1] == end,
            };
            self.rest.drain(..n);
            self.left = match is_over {
                true => Left::Nothing,
                false => Left::TooLong(end, true),
            };
        }
        let all = until(&self.rest, delimiter);
        let line = &self.rest[..all];
        let len = all - usize::from(line.last() == Some(&delimiter));
        match read {
            Some(Ok(n)) => {
                assert!(len <= self.line_max);
                assert_eq!((n, appended), (all, line));
                self.take(appended);
                return;
            }
            Some(Err(ErrorKind::InvalidData)) if len > self.line_max => {
                self.left = Left::TooLong(delimiter, false);
            }
            Some(Err(ErrorKind::InvalidData)) => {
                assert!(is_line && std::str::from_utf8(line).is_err());
                self.left = Left::NotText(all);
            }
            Some(Err(kind)) => assert!(is_of_source(kind)),
            None => {}
        }
        assert_eq!(appended, b"", "an error appends nothing");
    }
}
