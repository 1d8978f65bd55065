//! Reading and writing whole files by path.

use super::{File, buf_at_path, with_path};
use crate::buf::{BufError, IoBuf};
use std::io;
use std::path::Path;

/// The initial buffer capacity for reading. A smaller file needs no `fstat` for its size; the kernel touches only what
/// it fills.
const FIRST_ROOM: usize = 16 << 10;

/// Reads a whole file.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let bytes = gimmal::fs::read("Cargo.toml").await?;
///     assert_eq!(bytes, std::fs::read("Cargo.toml")?);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`OpenOptions::open`](super::OpenOptions::open) and [`File::read_at`], prefixed with the path, with the
/// errno as the source; `OutOfMemory` if the file does not fit into memory.
///
/// # Cancel safety
///
/// Nothing is lost but what was read, which is still in the file. The file is closed.
// Test: tests/operations/lifecycle.rs
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path).await?;
    let buf = Vec::with_capacity(FIRST_ROOM);
    match file.read_whole(buf).await {
        Ok((_, mut bytes)) => {
            // Frees the excess capacity, which `std::fs::read` does not allocate.
            bytes.shrink_to_fit();
            // An error of closing does not matter for a file that was only read.
            let _ = file.close().await;
            Ok(bytes)
        }
        Err(error) => Err(with_path(error.into_error(), "read", path)),
    }
}

/// Reads a whole file as text.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let text = gimmal::fs::read_to_string("Cargo.toml").await?;
///     assert!(text.starts_with("[package]"));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`read`], and `InvalidData` if the bytes are not UTF-8, with the position of the first invalid byte.
///
/// # Cancel safety
///
/// Nothing is lost but what was read, which is still in the file. The file is closed.
// Test: tests/operations/lifecycle.rs
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    let bytes = read(path).await?;
    String::from_utf8(bytes).map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
        with_path(error, "read", path)
    })
}

/// Writes a whole file: creates it if it does not exist, and replaces its content. Returns the buffer.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("greeting");
/// gimmal::run(async {
///     gimmal::fs::write(&path, "hello\n").await?;
///     assert_eq!(std::fs::read(&path)?, b"hello\n");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// Those of [`OpenOptions::open`](super::OpenOptions::open), [`File::write_all_at`] and [`File::close`], prefixed with
/// the path, with the errno as the source. The error contains the buffer, and the number of bytes written.
///
/// # Cancel safety
///
/// The file is created and truncated first, so after a cancel or a drop its old content may be gone. After a cancel,
/// the error reports how much of the new content was written; after a drop, that is unknown.
// Test: tests/operations/lifecycle.rs
pub async fn write<B: IoBuf>(path: impl AsRef<Path>, contents: B) -> Result<B, BufError<B>> {
    let path = path.as_ref();
    let file = match File::create(path).await {
        Ok(file) => file,
        Err(error) => return Err(BufError::new(error, contents)),
    };
    let contents = file
        .write_all_at(contents, 0)
        .await
        .map_err(|error| buf_at_path(error, "write", path))?;
    match file.close().await {
        Ok(()) => Ok(contents),
        Err(error) => Err(BufError::new(with_path(error, "close", path), contents)),
    }
}
