//! The lines of a reader, one after the other.

use super::buf_reader::Sought;
use super::{AsyncRead, BufReader};
use std::io;

/// The lines of a reader, each without its end: of [`BufReader::lines`].
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

    /// The next line, without its `\n` or `\r\n`. `None` at the end.
    ///
    /// # Errors
    ///
    /// Those of [`BufReader::read_line`]: after a line that is not UTF-8 or too long comes the next. Until that is asked for,
    /// the bad one is at the front of the [buffer](BufReader::buffer) of [`get_ref`](Lines::get_ref), and
    /// [`get_mut`](Lines::get_mut) can read it in another way.
    ///
    /// # Cancel safety
    ///
    /// That of [`BufReader::read_line`] (`tests/lines.rs`).
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
}

impl<R> Lines<R> {
    /// The reader below.
    pub fn get_ref(&self) -> &BufReader<R> {
        &self.reader
    }

    /// The reader below.
    pub fn get_mut(&mut self) -> &mut BufReader<R> {
        &mut self.reader
    }

    /// The reader below, with what is buffered in it.
    pub fn into_inner(self) -> BufReader<R> {
        self.reader
    }
}
