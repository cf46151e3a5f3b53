//! The board's Wi-Fi and the sockets that go over it. A socket that is not closed in order is reset when it
//! is dropped, because a board without power sends no FIN. While Wi-Fi is off sockets freeze: the peer
//! notices nothing.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Receive buffer of a slow or doomed link, near the TCP window of the chip, so that the peer feels the
/// slowness.
const SMALL_WINDOW_BYTES: u32 = 2920;
/// A slow link moves bytes in steps of this many per second.
const STEPS_PER_SECOND: u32 = 20;

/// What the world does to the radio.
#[derive(Clone, Copy)]
pub(crate) struct Air {
    pub(crate) up: bool,
    /// 0 is unlimited.
    pub(crate) bytes_per_second: u32,
}

/// The radio of one board; it outlives restarts.
pub(crate) struct Link {
    air: watch::Sender<Air>,
    /// Body bytes of the next download after which the power goes.
    pub(crate) cut_at: Cell<Option<u64>>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { air: watch::Sender::new(Air { up: true, bytes_per_second: 0 }), cut_at: Cell::new(None) }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Air)) {
        self.air.send_modify(change);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.air.borrow().up
    }

    /// Waits until Wi-Fi is there or gone.
    pub(crate) async fn until(&self, up: bool) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self.air.subscribe().wait_for(|air| air.up == up).await;
    }

    fn bytes_per_second(&self) -> u32 {
        self.air.borrow().bytes_per_second
    }
}

/// A download over a socket of the board's program, as far as a power cut in it needs to know.
pub(crate) struct Download {
    /// The last bytes of the head, until its end has come.
    head: Option<Vec<u8>>,
}

impl Download {
    /// A request for an artifact begins one.
    pub(crate) fn asked_for(request: &[u8]) -> Option<Self> {
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let is_artifact = line.starts_with(b"GET ") && line.windows(11).any(|part| part == b"/artifacts/");
        is_artifact.then(|| Self { head: Some(Vec::new()) })
    }

    /// How many of these bytes arrive before the power goes; `None` when it does not go in them.
    pub(crate) fn cut(&mut self, link: &Link, data: &[u8]) -> Option<usize> {
        let left = link.cut_at.get()?;
        let mut body = 0;
        if let Some(head) = &mut self.head {
            let before = head.len();
            head.extend_from_slice(data);
            let Some(end) = head.windows(4).position(|part| part == b"\r\n\r\n") else {
                head.drain(..head.len().saturating_sub(3));
                return None;
            };
            body = end + 4 - before;
            self.head = None;
        }
        let arriving = (data.len() - body) as u64;
        link.cut_at.set(left.checked_sub(arriving).filter(|left| *left > 0));
        (arriving >= left).then(|| body + left as usize)
    }
}

/// Opens a TCP connection over the link.
pub(crate) async fn connect(link: &Rc<Link>, host: &str, port: u16) -> io::Result<Wire> {
    if !link.is_up() {
        return Err(io::ErrorKind::NetworkUnreachable.into());
    }
    let address = lookup_host((host, port)).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if link.bytes_per_second() > 0 || link.cut_at.get().is_some() {
        socket.set_recv_buffer_size(SMALL_WINDOW_BYTES)?;
    }
    let stream = timeout(CONNECT_MAX, socket.connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(Wire::new(link, stream))
}

/// A socket of the board. Reads and writes may be cancelled without loss.
pub(crate) struct Wire {
    stream: TcpStream,
    link: Rc<Link>,
    read_at: Cell<Instant>,
    write_at: Cell<Instant>,
    is_closed: bool,
}

impl Wire {
    pub(crate) fn new(link: &Rc<Link>, stream: TcpStream) -> Self {
        let now = Instant::now();
        let (read_at, write_at) = (Cell::new(now), Cell::new(now));
        Self { stream, link: link.clone(), read_at, write_at, is_closed: false }
    }

    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.stream.local_addr()?, self.stream.peer_addr()?))
    }

    /// Reads some bytes; 0 is the end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.link.until(true).await;
            sleep_until(self.read_at.get()).await;
            self.stream.readable().await?;
            if !self.link.is_up() {
                continue;
            }
            let room = self.step(buffer.len());
            match self.stream.try_read(&mut buffer[..room]) {
                Ok(count) => {
                    self.read_at.set(self.next(count));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes some bytes.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.link.until(true).await;
            sleep_until(self.write_at.get()).await;
            self.stream.writable().await?;
            if !self.link.is_up() {
                continue;
            }
            match self.stream.try_write(&bytes[..self.step(bytes.len())]) {
                Ok(count) => {
                    self.write_at.set(self.next(count));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all bytes.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Closes in order, with a FIN.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        self.is_closed = true;
    }

    fn step(&self, wanted: usize) -> usize {
        match self.link.bytes_per_second() {
            0 => wanted,
            rate => wanted.min((rate / STEPS_PER_SECOND).max(1) as usize),
        }
    }

    fn next(&self, count: usize) -> Instant {
        match self.link.bytes_per_second() {
            0 => Instant::now(),
            rate => Instant::now() + Duration::from_secs_f64(count as f64 / f64::from(rate)),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.is_closed {
            let _ = self.stream.set_zero_linger();
        }
    }
}
