//! A stream that sees whether the peer closed its side after we closed ours.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the peer may take to close its side.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// What was given out on a connection, and whether it was taken in full.
#[derive(Clone, Default)]
pub(super) struct Receipt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    given: Option<(DeviceId, Digest)>,
    peer_closed: bool,
}

impl Receipt {
    /// The answer being written on this connection is that artifact.
    pub(super) fn gives(&self, device: DeviceId, digest: Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).given = Some((device, digest));
    }

    /// The artifact, if it was taken to the last byte.
    pub(super) fn taken(&self) -> Option<(DeviceId, Digest)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.given.filter(|_| state.peer_closed)
    }

    fn is_awaited(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).given.is_some()
    }

    fn peer_closed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).peer_closed = true;
    }
}

/// The stream. Its shutdown lasts until the peer has closed too, if a receipt is awaited.
pub(super) struct Watched<S> {
    stream: S,
    receipt: Receipt,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, receipt: Receipt) -> Self {
        Self { stream, receipt, closing: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.receipt.is_awaited() {
                return Poll::Ready(Ok(()));
            }
            self.closing = Some(Box::pin(tokio::time::sleep(CLOSE_MAX)));
        }
        let mut rest = [0u8; 256];
        loop {
            let mut buf = ReadBuf::new(&mut rest);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() => {
                    self.receipt.peer_closed();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(()) => {}
                Poll::Pending => break,
            }
        }
        match self.closing.as_mut() {
            Some(patience) => patience.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Ready(Ok(())),
        }
    }
}
