//! `AsyncRead` and `AsyncWrite` for sockets and pipes, and for references to them, by their own methods.

/// Implements [`AsyncRead`](super::AsyncRead) for a type with a `stream`.
macro_rules! stream_reader {
    ($type:ident) => {
        crate::io::stream_reader! { $type: $type, &$type }
    };
    ($type:ident: $($generic:ty),+) => {$(
        impl crate::io::AsyncRead for $generic {
            fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                $type::read(self, buf)
            }

            fn read_exact<B: IoBufMut>(
                &mut self,
                buf: B,
                len: usize,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                $type::read_exact(self, buf, len)
            }

            fn unread(&mut self, bytes: &[u8]) -> bool {
                self.stream.give_back(bytes);
                true
            }
        }
    )+};
}

/// Implements [`AsyncWrite`](super::AsyncWrite) for a type with a `stream`, and a function that ends the output.
macro_rules! stream_writer {
    ($type:ident, $end:expr) => {
        crate::io::stream_writer! { $type, $end => $type, &$type }
    };
    ($type:ident, $end:expr => $($generic:ty),+) => {$(
        impl crate::io::AsyncWrite for $generic {
            fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
                $type::write(self, buf)
            }

            fn write_all<B: IoBuf>(
                &mut self,
                buf: B,
            ) -> impl Future<Output = Result<B, BufError<B>>> {
                $type::write_all(self, buf)
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                let end: fn(&$type) -> io::Result<()> = $end;
                end(self)
            }

            fn outlet(&self) -> Option<crate::op::Outlet> {
                Some(crate::op::Outlet::of_stream(&self.stream))
            }
        }
    )+};
}

pub(crate) use {stream_reader, stream_writer};
