//! `AsyncRead` and `AsyncWrite` for files, at the cursor.

use super::File;
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use crate::io::{AsyncRead, AsyncWrite};
use crate::op::{Outlet, SharedFd};
use std::io;

macro_rules! generic {
    ($($type:ty)+) => {$(
        impl AsyncRead for $type {
            fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                File::read(self, buf)
            }

            fn unread(&mut self, bytes: &[u8]) -> bool {
                self.shared_fd().descriptor().move_back(bytes.len())
            }

            fn inlet(&self) -> Option<SharedFd> {
                self.inlet_if_large()
            }
        }

        impl AsyncWrite for $type {
            fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                File::write(self, buf)
            }

            fn write_all<B: IoBuf>(
                &mut self,
                buf: B,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                File::write_all(self, buf)
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                Ok(())
            }

            fn outlet(&self) -> Option<Outlet> {
                Some(Outlet::of_file(&self.shared_fd()))
            }
        }
    )+};
}

generic! { File &File }
