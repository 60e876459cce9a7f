//! The event streams of all shards as one. A position says how far each shard's stream was seen, so who comes back misses
//! nothing of any of them; within a shard, and so for each record, the order is the shard's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_core::Stream as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::events::{KEEP_ALIVE_EVERY, STALLED_MAX};
use super::super::logs::Chunks;
use super::forward::unreachable;
use super::{Asked, Front, Refused, place};
use crate::shell::problem::Problem;

/// A stream that ended is asked for again after this: its shard has another owner soon.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The longest event there is, and some.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A stream that says nothing for so long, not even that it is there, has ended.
const SILENT_MAX: Duration = KEEP_ALIVE_EVERY.saturating_mul(2);

/// Where each shard's stream was seen to: `0:812.3,1:7`.
type Positions = BTreeMap<u32, String>;

pub(super) async fn events(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let query: Vec<(String, String)> =
        form_urlencoded::parse(asked.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let named = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
    let last = asked.headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let after = read(last.or_else(|| named("after")).unwrap_or_default(), front.shards)?;
    let shards = match named("record") {
        Some(record) => vec![place::of_record(front, &asked, record).await?],
        None => (0..front.shards).collect(),
    };
    let rest: String =
        query.iter().filter(|(name, _)| name != "after").fold(String::new(), |mut text, (name, value)| {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            write!(text, "&{name}={value}").unwrap_or_default();
            text
        });
    let (frames, incoming) = mpsc::channel(16);
    let mut positions = Positions::new();
    for shard in shards {
        let mut one = One {
            front: Arc::clone(front),
            asked: asked.clone(),
            shard,
            rest: rest.clone(),
            at: after.get(&shard).cloned(),
        };
        let mut stream = one.open().await?;
        // Each stream begins with where it is.
        let first = stream.next().await;
        let first = first.ok_or_else(|| unreachable("a shard broke off its events; try again"))?;
        one.at = first.id.or(one.at);
        positions.extend(one.at.clone().map(|at| (shard, at)));
        let frames = frames.clone();
        tokio::spawn(one.follow(stream, frames));
    }
    drop(frames);
    let waiter = front.feed.waiter()?;
    let mut watching = front.feed.watch();
    let (chunks, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let _waiter = waiter;
        tokio::select! {
            () = tell(positions, incoming, chunks) => {}
            // Nothing is published here: it ends when the server stops.
            _ = watching.anything() => {}
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(Chunks(stream))).into_response())
}

/// Sends what comes of any shard, with the position after it.
async fn tell(
    mut positions: Positions,
    mut incoming: mpsc::Receiver<(u32, Option<Frame>)>,
    chunks: mpsc::Sender<Vec<u8>>,
) {
    let mut text = format!("id: {}\n\n", shown(&positions));
    loop {
        match timeout(STALLED_MAX, chunks.send(text.into_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return tracing::info!("a follower of the events takes nothing and is let go"),
        }
        let next = tokio::select! {
            next = incoming.recv() => next,
            () = chunks.closed() => return,
        };
        let Some((shard, Some(Frame { id, data }))) = next else { return };
        positions.extend(id.map(|id| (shard, id)));
        let data = data.map_or_else(|| ": still here\n".to_owned(), |data| format!("data: {data}\n"));
        text = format!("{data}id: {}\n\n", shown(&positions));
    }
}

fn shown(positions: &Positions) -> String {
    let texts: Vec<String> = positions.iter().map(|(shard, at)| format!("{shard}:{at}")).collect();
    texts.join(",")
}

fn read(text: &str, shards: u32) -> Result<Positions, Problem> {
    let wrong = || {
        Problem::field(
            "after",
            "expected the id of an event: SHARD:POSITION for each shard, with commas between",
        )
    };
    let position = |part: &str| {
        let (shard, at) = part.split_once(':').ok_or_else(wrong)?;
        let shard = shard.parse().ok().filter(|shard| *shard < shards).ok_or_else(wrong)?;
        Ok((shard, at.to_owned()))
    };
    text.split(',').filter(|part| !part.is_empty()).map(position).collect()
}

/// The stream of one shard, from wherever its owner is.
struct One {
    front: Arc<Front>,
    asked: Asked,
    shard: u32,
    rest: String,
    at: Option<String>,
}

impl One {
    async fn open(&self) -> Result<Frames, Refused> {
        let after = self.at.as_ref().map(|at| format!("after={at}")).unwrap_or_default();
        let mut asked = self.asked.get(&format!("/v1/events?{after}{}", self.rest))?;
        asked.headers.remove("last-event-id");
        let response = self.front.ask(self.shard, &asked).await;
        if response.status() == StatusCode::OK {
            Ok(Frames::of(response.into_body()))
        } else {
            Err(Refused::There(response))
        }
    }

    /// Until nobody listens; over every change of owner.
    async fn follow(mut self, mut stream: Frames, frames: mpsc::Sender<(u32, Option<Frame>)>) {
        loop {
            while let Some(frame) = stream.next().await {
                self.at = frame.id.clone().or(self.at);
                if frames.send((self.shard, Some(frame))).await.is_err() {
                    return;
                }
            }
            stream = loop {
                sleep(AGAIN_AFTER).await;
                if frames.is_closed() {
                    return;
                }
                match self.open().await {
                    Ok(stream) => break stream,
                    // It would be refused again; its follower comes back, and is told why.
                    Err(Refused::There(response)) if is_final(response.status()) => {
                        return drop(frames.send((self.shard, None)).await);
                    }
                    Err(_) => {}
                }
            };
        }
    }
}

fn is_final(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// One event, or a sign of life.
struct Frame {
    id: Option<String>,
    data: Option<String>,
}

/// What comes of a stream, event by event.
struct Frames {
    stream: BodyDataStream,
    read: Vec<u8>,
    /// How much of that was told already.
    told: usize,
}

impl Frames {
    fn of(body: Body) -> Frames {
        Frames { stream: body.into_data_stream(), read: Vec::new(), told: 0 }
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            let rest = self.read.get(self.told..).unwrap_or_default();
            if let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
                let text = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
                let field =
                    |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let frame = Frame { id: field("id: "), data: field("data: ") };
                self.told += end + 2;
                return Some(frame);
            }
            if rest.len() > FRAME_BYTES_MAX {
                return None;
            }
            self.read.drain(..self.told);
            self.told = 0;
            let chunk = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context));
            self.read.extend_from_slice(&timeout(SILENT_MAX, chunk).await.ok()??.ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_from_its_text() {
        for text in ["", "0:12", "0:12.3,5:7"] {
            assert_eq!(shown(&read(text, 6).unwrap()), text);
        }
        for text in ["12.3", "6:1", "x:1"] {
            assert_eq!(read(text, 6).unwrap_err().code, "bad_request", "{text}");
        }
    }

    #[tokio::test]
    async fn events_are_told_apart_however_their_bytes_come() {
        let text = "id: 1\n\nid: 1.0\ndata: {}\n\n: still here\nid: 2\n\n";
        for size in [1, 7, text.len()] {
            let (chunks, stream) = mpsc::channel(99);
            for part in text.as_bytes().chunks(size) {
                chunks.send(part.to_vec()).await.unwrap();
            }
            drop(chunks);
            let mut frames = Frames::of(Body::from_stream(Chunks(stream)));
            let mut found = Vec::new();
            while let Some(Frame { id, data }) = frames.next().await {
                found.push((id.unwrap(), data));
            }
            let expected = [("1", None), ("1.0", Some("{}".to_owned())), ("2", None)];
            assert_eq!(found, expected.map(|(id, data)| (id.to_owned(), data)), "{size}");
        }
    }

    #[tokio::test]
    async fn many_events_at_once_are_no_long_one_and_a_long_one_ends_the_stream() {
        let (chunks, stream) = mpsc::channel(2);
        let mut frames = Frames::of(Body::from_stream(Chunks(stream)));
        let many = b"id: 1\n\n".repeat(FRAME_BYTES_MAX / 4);
        chunks.send(many).await.unwrap();
        for _ in 0..FRAME_BYTES_MAX / 4 {
            assert_eq!(frames.next().await.unwrap().id.as_deref(), Some("1"));
        }
        chunks.send(vec![b'x'; FRAME_BYTES_MAX + 1]).await.unwrap();
        assert!(frames.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_falls_silent_has_ended() {
        let (chunks, stream) = mpsc::channel(1);
        let mut frames = Frames::of(Body::from_stream(Chunks(stream)));
        chunks.send(b"id: 1\n\n".to_vec()).await.unwrap();
        assert!(frames.next().await.is_some());
        assert!(frames.next().await.is_none(), "nobody says anything any more");
        drop(chunks);
    }

    #[test]
    fn only_what_may_change_is_asked_again() {
        for (status, expected) in [(410, true), (404, true), (400, true), (429, false), (503, false)] {
            assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
