//! The lines of a reader.

use super::buf_reader::Sought;
use super::{AsyncRead, BufReader};
use crate::error::is_canceled;
use crate::runtime::{self, Core};
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The lines of a reader, each without its line ending, returned by [`BufReader::lines`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gimmal::fs::File;
/// use gimmal::io::BufReader;
///
/// gimmal::run(async {
///     let mut lines = BufReader::new(File::open("Cargo.toml").await?).lines();
///     let mut sections = 0;
///     while let Some(line) = lines.next_line().await? {
///         sections += usize::from(line.starts_with('['));
///     }
///     assert!(sections > 2);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
}

impl<R: AsyncRead> Lines<R> {
    pub(super) fn new(reader: BufReader<R>) -> Lines<R> {
        Lines { reader }
    }

    /// Reads the next line, and returns it without its `\n` or `\r\n`, or `None` at the end.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gimmal::io::{BufReader, pipe};
    /// use std::time::Duration;
    ///
    /// gimmal::run(async {
    ///     let (reader, writer) = pipe()?;
    ///     let mut lines = BufReader::new(reader).lines();
    ///     writer.write_all("one\r\ntw").await?;
    ///     assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
    ///     // A wait that ends in the middle of a line loses nothing.
    ///     let late = gimmal::timeout(Duration::from_millis(1), lines.next_line()).await;
    ///     assert!(gimmal::is_timeout(&late.unwrap_err()));
    ///     writer.write_all("o").await?;
    ///     writer.close().await?;
    ///     assert_eq!(lines.next_line().await?.as_deref(), Some("two"));
    ///     assert_eq!(lines.next_line().await?, None);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`BufReader::read_line`]: after a line that is too long or not UTF-8, the next call continues with the
    /// next line. Until then, the bad line is at the front of the [buffer](BufReader::buffer) of
    /// [`get_ref`](Lines::get_ref), and can be read with another method through [`get_mut`](Lines::get_mut).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what was read stays in the reader's buffer. A read in the kernel is as in
    /// [`BufReader::read_until`].
    // Test: tests/io/lines.rs
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        let len = self.reader.find(b'\n', Sought::Line).await?;
        let line = self.reader.text(len)?;
        let line = match line.strip_suffix('\n') {
            Some(line) => line.strip_suffix('\r').unwrap_or(line),
            None => line,
        };
        let line = (len > 0).then(|| line.to_owned());
        self.reader.consume(len);
        Ok(line)
    }

    /// Returns the lines as a [`Stream`](futures_core::Stream) for other crates' combinators, which must be pinned. The
    /// stream ends where the reader does, and continues after an error.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use futures_util::TryStreamExt;
    /// use gimmal::io::BufReader;
    ///
    /// gimmal::run(async {
    ///     let mut lines = BufReader::new(&b"1\n\n2\n"[..]).lines();
    ///     let numbers = lines.stream().try_filter(|line| std::future::ready(!line.is_empty()));
    ///     assert_eq!(numbers.try_collect::<Vec<_>>().await?, ["1", "2"]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`next_line`](Lines::next_line).
    ///
    /// # Cancel safety
    ///
    /// No byte is lost, even when the stream itself is dropped: it borrows the lines, which keep what was read.
    // Test: tests/io/lines.rs
    pub fn stream(&mut self) -> impl Stream<Item = io::Result<String>> {
        Each {
            lines: Some(self),
            next,
            wait: None,
        }
    }
}

/// The borrowed lines, returned with the next line.
type Next<'l, R> = (&'l mut Lines<R>, io::Result<Option<String>>);

async fn next<R: AsyncRead>(lines: &mut Lines<R>) -> Next<'_, R> {
    let line = lines.next_line().await;
    (lines, line)
}

fn is_canceled_here() -> bool {
    runtime::try_with(Core::is_canceled).unwrap_or(false)
}

pin_project! {
    /// A stream of lines. The borrow is held by the stream, or by the wait for the next line.
    struct Each<'l, R, N, F> {
        lines: Option<&'l mut Lines<R>>,
        next: N,
        #[pin]
        wait: Option<F>,
    }
}

impl<'l, R, N, F> Stream for Each<'l, R, N, F>
where
    N: FnMut(&'l mut Lines<R>) -> F,
    F: Future<Output = Next<'l, R>>,
{
    type Item = io::Result<String>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let mut has_waited = this.lines.is_none();
        loop {
            if let Some(lines) = this.lines.take() {
                this.wait.set(Some((this.next)(lines)));
            }
            let Some(wait) = this.wait.as_mut().as_pin_mut() else {
                unreachable!("without the lines there is a wait");
            };
            let (lines, line) = ready!(wait.poll(context));
            this.wait.set(None);
            *this.lines = Some(lines);
            match line {
                // The wait was canceled in a scope that has been left since.
                Err(error) if has_waited && is_canceled(&error) && !is_canceled_here() => {
                    has_waited = false;
                }
                line => return Poll::Ready(line.transpose()),
            }
        }
    }
}

impl<R> Lines<R> {
    /// Returns the underlying reader.
    pub fn get_ref(&self) -> &BufReader<R> {
        &self.reader
    }

    /// Returns the underlying reader.
    pub fn get_mut(&mut self) -> &mut BufReader<R> {
        &mut self.reader
    }

    /// Returns the underlying reader, with its buffered bytes.
    pub fn into_inner(self) -> BufReader<R> {
        self.reader
    }
}
