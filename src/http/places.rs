//! A socket that accepts only so many connections at a time, and closes those on which nothing moves.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Accepts where a place is free.
pub(super) struct Places {
    listener: TcpListener,
    free: Arc<Semaphore>,
    idle_max: Duration,
}

impl Places {
    /// So many places, each for as long as something moves at least every so often.
    pub(super) fn of(listener: TcpListener, connections_max: usize, idle_max: Duration) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(connections_max)), idle_max }
    }
}

impl Listener for Places {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        // The semaphore is never closed; without a place, the connection would only not be counted.
        let place = Arc::clone(&self.free).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let _ = stream.set_nodelay(true);
        let idle = Box::pin(tokio::time::sleep(self.idle_max));
        (Placed { stream, idle, idle_max: self.idle_max, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection; its place is free again when it ends.
pub(super) struct Placed {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Placed {
    /// Begins to wait anew where something moved, and gives up where nothing has for too long.
    fn moved<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.idle.as_mut().reset(Instant::now() + self.idle_max);
            return polled;
        }
        self.idle.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved(cx, polled)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.moved(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn places(connections_max: usize, idle_max: Duration) -> (Places, SocketAddr) {
        let places = Places::of(TcpListener::bind("127.0.0.1:0").await.unwrap(), connections_max, idle_max);
        let address = places.local_addr().unwrap();
        (places, address)
    }

    #[tokio::test]
    async fn beyond_its_places_a_connection_waits_until_one_is_free() {
        let (mut places, address) = places(2, Duration::from_secs(60)).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let (first, _) = places.accept().await;
        let (_second, _) = places.accept().await;
        let waits = tokio::time::timeout(Duration::from_millis(50), places.accept()).await;
        assert!(waits.is_err(), "a third one is not accepted");
        drop(first);
        let (mut third, _) = places.accept().await;
        drop(clients);
        assert_eq!(third.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_given_up_and_one_that_is_slow_is_not() {
        let (mut places, address) = places(1, Duration::from_millis(300)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut placed, _) = places.accept().await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(placed.read(&mut [0; 8]).await.unwrap(), 1);
        }
        assert_eq!(placed.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Nobody reads what is written.
        let written = async {
            while placed.write(&[0; 65_536]).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        assert_eq!(written.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
