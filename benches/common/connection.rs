//! A connection that speaks HTTP, for a client that is one thread beside the server.

use std::io;
use std::net::SocketAddr;

use dwell::fixture::Server;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that asks one thing after another.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// As many as asked for.
    pub async fn several(server: &Server, connections: usize) -> Vec<Connection> {
        let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
        let mut open = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            open.push(Connection { stream, buffer: Vec::with_capacity(1 << 16) });
        }
        open
    }

    /// The status and the body of an answer; an error if none came.
    pub async fn try_ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, &[u8])> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let begin = loop {
            self.more().await?;
            if let Some(at) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..begin]).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, rest) = head.split_once("content-length: ").unwrap();
        let length: usize = rest.lines().next().unwrap().parse().unwrap();
        while self.buffer.len() < begin + length {
            self.more().await?;
        }
        Ok((status, &self.buffer[begin..begin + length]))
    }

    /// The body of an answer that says yes.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> &[u8] {
        let (status, body) = self.try_ask(method, path, body).await.unwrap();
        assert!(status / 100 == 2, "{status} {}", String::from_utf8_lossy(body));
        body
    }

    /// The same, read for a body that was posted.
    #[allow(dead_code, reason = "not every bench reads what it is told")]
    pub async fn read<'a, T: Deserialize<'a>>(&'a mut self, path: &str, body: &str) -> T {
        serde_json::from_slice(self.ask("POST", path, body).await).unwrap()
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
