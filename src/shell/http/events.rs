//! `GET /v1/events`: every committed transition as a server-sent event, from any retained position on
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The history on disk is the only buffer: a follower reads on from where its client is, however far behind that is,
//! and the feed only wakes it. So nothing is missed or told twice, and a slow client costs no memory.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Params, resolve};
use super::logs::Chunks;
use super::records::word;
use crate::model::{RecordId, StateName, Transition};
use crate::shell::problem::Problem;
use crate::shell::view;
use crate::store::{History, StoreError};

/// Events read and sent at once.
const BATCH: usize = 256;

/// What the specification advises against proxies that drop quiet connections.
pub(super) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// A client that takes nothing for so long is let go; it comes back with its position.
pub(super) const STALLED_MAX: Duration = Duration::from_secs(30);

/// Between two transitions: `whole` commits were seen to their end, and of the next one the first `part` transitions.
/// Written `<whole>`, or `<sequence>.<index>` of the last transition seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    whole: u64,
    part: u64,
}

impl FromStr for Position {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Position, &'static str> {
        let read = || match text.split_once('.') {
            None => Some(Position { whole: text.parse().ok()?, part: 0 }),
            Some((sequence, index)) => Some(Position {
                whole: sequence.parse::<u64>().ok()?.checked_sub(1)?,
                part: index.parse::<u64>().ok()?.checked_add(1)?,
            }),
        };
        read().ok_or("expected a position like 812.3, or a commit's sequence like 812")
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.part.checked_sub(1) {
            None => write!(f, "{}", self.whole),
            Some(index) => write!(f, "{}.{index}", self.whole + 1),
        }
    }
}

/// Which transitions a client wants. Every `None` matches all.
struct Wanted {
    record: Option<RecordId>,
    state: Option<StateName>,
    event: Option<String>,
}

impl Wanted {
    fn has(&self, step: &Transition) -> bool {
        self.record.is_none_or(|record| record == step.id)
            && self.state.is_none_or(|state| state == step.to)
            && self.event.as_ref().is_none_or(|event| *event == step.event)
    }
}

/// `GET /v1/events?after=&record=&state=&event=`.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let after = word(&mut query, "after")?;
    let record = query.text("record")?;
    let mut wanted = Wanted { record: None, state: word(&mut query, "state")?, event: query.text("event")? };
    query.finish()?;
    if let Some(record) = record {
        wanted.record = Some(resolve(&shared, &record).await?);
    }
    // A browser that comes back asks with the address it began with, and says in the header where it is now.
    let after = last_event_id(&headers)?.or(after);
    let source = Arc::new(Source { history: shared.handle.history(), decode: shared.decode, wanted });
    let position = blocking(&source, move |source| source.begin(after)).await??;
    let (chunks, stream) = mpsc::channel(1);
    let waiter = shared.feed.waiter()?;
    let follower = Follower { source, position, chunks };
    tokio::spawn(async move {
        let _waiter = waiter;
        match follower.follow(&shared).await {
            Ok(()) | Err(End::HungUp) => {}
            Err(End::Stalled) => tracing::info!("a follower of the events takes nothing and is let go"),
            Err(End::Failed(problem)) => {
                tracing::warn!(detail = problem.detail, "an event stream ended early");
            }
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(Chunks(stream))).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let read = value.to_str().unwrap_or_default().parse();
    read.map(Some).map_err(|error| Problem::field("Last-Event-ID", error))
}

/// Reads the history where it may block.
async fn blocking<T: Send + 'static>(
    source: &Arc<Source>,
    read: impl FnOnce(&Source) -> T + Send + 'static,
) -> Result<T, Problem> {
    let source = Arc::clone(source);
    let done = tokio::task::spawn_blocking(move || read(&source)).await;
    done.map_err(|error| Problem::internal("the history cannot be read", error))
}

fn unreadable(error: StoreError) -> Problem {
    Problem::internal("the history cannot be read", error)
}

/// What a follower reads.
struct Source {
    history: Arc<dyn History>,
    decode: fn(&[u8]) -> Option<Transition>,
    wanted: Wanted,
}

impl Source {
    /// Where to begin: there if that is retained, or now.
    fn begin(&self, after: Option<Position>) -> Result<Position, Problem> {
        let newest = self.history.newest();
        let Some(position) = after else { return Ok(Position { whole: newest, part: 0 }) };
        if position.whole.saturating_add(position.part.min(1)) > newest {
            let detail = format!("{position} is ahead of the history, which ends at {newest}");
            return Err(Problem::field("after", detail));
        }
        self.retained(position)?;
        Ok(position)
    }

    fn retained(&self, position: Position) -> Result<(), Problem> {
        let oldest = self.history.oldest().map_err(unreadable)?;
        if position.whole + 1 >= oldest {
            return Ok(());
        }
        let first = Position { whole: oldest - 1, part: 0 };
        let detail = format!("what came after {position} is not retained any more; go on after {first}");
        Err(Problem::new(410, "history_released", detail).with("oldest", json!(first.to_string())))
    }

    /// What there is after a position, as it goes over the wire, and the position after it.
    fn read(&self, from: Position) -> Result<(String, Position), Problem> {
        // Asked before reading, so that commits without transitions are passed only if they were there then.
        let newest = self.history.newest();
        let found = self.history.read(from.whole, BATCH).map_err(unreadable)?;
        // Asked after reading: what was released meanwhile may be missing in what was read.
        self.retained(from)?;
        let mut text = String::new();
        let mut at = Position { part: 0, ..from };
        for (sequence, bytes) in &found {
            let part = if at.whole + 1 == *sequence { at.part + 1 } else { 1 };
            at = Position { whole: sequence - 1, part };
            if at.whole == from.whole && at.part <= from.part {
                continue;
            }
            if let Some(step) = (self.decode)(bytes).filter(|step| self.wanted.has(step)) {
                let data = view::transition(*sequence, &step);
                write!(text, "id: {at}\ndata: {data}\n\n").unwrap_or_default();
            }
        }
        let last = found.last().map_or(from.whole, |(sequence, _)| *sequence);
        let whole = if found.len() < BATCH { last.max(newest) } else { last };
        Ok((text, Position { whole, part: 0 }))
    }
}

enum End {
    HungUp,
    /// It takes nothing.
    Stalled,
    Failed(Problem),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> End {
        End::Failed(problem)
    }
}

/// One client's stream.
struct Follower {
    source: Arc<Source>,
    position: Position,
    chunks: mpsc::Sender<Vec<u8>>,
}

impl Follower {
    /// Until the server stops, or the client is gone or stalled.
    async fn follow(mut self, shared: &Shared) -> Result<(), End> {
        // Also a client that leaves before its first event knows where to go on.
        self.send(format!("id: {}\n\n", self.position)).await?;
        loop {
            // Watching begins before the look, so no commit falls between the two.
            let mut watching = shared.feed.watch();
            self.catch_up().await?;
            let woken = async {
                tokio::select! {
                    open = watching.anything() => Ok(open),
                    () = self.chunks.closed() => Err(End::HungUp),
                }
            };
            match timeout(KEEP_ALIVE_EVERY, woken).await {
                Ok(woken) => {
                    if !woken? {
                        return Ok(());
                    }
                }
                // What the filters left out is behind the client as well.
                Err(_) => self.send(format!(": still here\nid: {}\n\n", self.position)).await?,
            }
        }
    }

    /// Sends everything after the position.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let from = self.position;
            let (text, after) = blocking(&self.source, move |source| source.read(from)).await??;
            self.position = after;
            if !text.is_empty() {
                self.send(text).await?;
            }
            if after == from {
                return Ok(());
            }
        }
    }

    async fn send(&self, text: String) -> Result<(), End> {
        match timeout(STALLED_MAX, self.chunks.send(text.into_bytes())).await {
            Ok(taken) => taken.map_err(|_| End::HungUp),
            Err(_) => Err(End::Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decode;
    use super::*;
    use crate::store::{Backend as _, Batch, Memory};

    /// Commits of 0, 1, 2, 0, 1, 2, .. transitions; as many as `commits`.
    fn store(commits: u8) -> Memory {
        let mut store = Memory::new();
        for n in 0..commits {
            let mut batch = Batch::default();
            batch.put(b"k".to_vec(), vec![n]);
            for part in 0..n % 3 {
                batch.event(vec![part, n]);
            }
            store.commit(batch).unwrap();
        }
        store
    }

    fn source(store: &Memory, record: Option<RecordId>) -> Source {
        Source { history: store.history(), decode, wanted: Wanted { record, state: None, event: None } }
    }

    fn ids(text: &str) -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    }

    /// Everything after a position, batch by batch.
    fn rest(source: &Source, mut from: Position) -> (Vec<String>, Position) {
        let mut found = Vec::new();
        loop {
            let (text, after) = source.read(from).unwrap();
            found.extend(ids(&text));
            if after == from {
                return (found, from);
            }
            from = after;
        }
    }

    #[test]
    fn a_position_reads_back_from_its_text() {
        for text in ["0", "812", "1.0", "812.3"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "x", "0.0", "1.", ".1", "-1", "1.2.3", "18446744073709551616"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn from_any_position_the_rest_is_what_came_after_it() {
        let source = source(&store(250), None);
        let (all, end) = rest(&source, Position { whole: 0, part: 0 });
        assert_eq!(all.len(), 249);
        assert_eq!(end.to_string(), "250");
        for (nth, id) in all.iter().enumerate() {
            assert_eq!(rest(&source, id.parse().unwrap()), (all[nth + 1..].to_vec(), end), "{id}");
        }
    }

    #[test]
    fn what_a_filter_leaves_out_is_passed() {
        let store = store(9);
        let source = source(&store, Some(RecordId::session(1)));
        let (found, end) = rest(&source, Position { whole: 0, part: 0 });
        assert_eq!(found, ["3.1", "6.1", "9.1"]);
        assert_eq!(end.to_string(), "9");
    }

    #[test]
    fn a_position_that_is_not_retained_is_gone_and_one_ahead_is_wrong() {
        let store = store(9);
        let source = source(&store, None);
        let begin = |text: &str| source.begin(Some(text.parse().unwrap()));
        let codes =
            |text: &str| begin(text).map(|position| position.to_string()).map_err(|refused| refused.code);
        assert_eq!(codes("0"), Ok("0".to_owned()));
        assert_eq!(source.begin(None).unwrap().to_string(), "9");
        store.release(5);
        for (text, expected) in [
            ("4", Err("history_released")),
            ("5.0", Err("history_released")),
            ("5", Ok("5".to_owned())),
            ("6.0", Ok("6.0".to_owned())),
            ("9", Ok("9".to_owned())),
            ("10", Err("bad_request")),
            ("10.0", Err("bad_request")),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
        let refused = begin("0").unwrap_err();
        assert_eq!((refused.status, &refused.extra["oldest"]), (410, &json!("5")));
        assert!(begin("5").is_ok());
        let follower_left_behind = source.read(Position { whole: 4, part: 0 });
        assert_eq!(follower_left_behind.unwrap_err().code, "history_released");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (chunks, mut stream) = mpsc::channel(1);
        let source = Arc::new(source(&store(3), None));
        let follower = Follower { source, position: Position { whole: 0, part: 0 }, chunks };
        follower.send("first".to_owned()).await.ok();
        assert!(matches!(follower.send("second".to_owned()).await, Err(End::Stalled)));
        drop(follower);
        assert_eq!(stream.recv().await.as_deref(), Some(&b"first"[..]));
        assert_eq!(stream.recv().await, None);
    }
}
