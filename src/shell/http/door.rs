//! The way in: a listener that can be closed while what it let in is still served.
//!
//! A socket that others hold as well (socket activation) keeps whoever comes meanwhile, for the next server.

use std::future::pending;
use std::net::SocketAddr;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Accepts until the other side of `closed` is dropped, and then nobody any more.
pub(super) struct Door {
    listener: TcpListener,
    closed: oneshot::Receiver<()>,
}

impl Door {
    /// An open one, and what closes it when dropped.
    pub(super) fn open(listener: TcpListener) -> (Door, oneshot::Sender<()>) {
        let (close, closed) = oneshot::channel();
        (Door { listener, closed }, close)
    }
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if !self.closed.is_terminated() {
            tokio::select! {
                biased;
                _ = &mut self.closed => {}
                accepted = Listener::accept(&mut self.listener) => return accepted,
            }
        }
        pending().await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
