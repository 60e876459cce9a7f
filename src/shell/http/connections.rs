//! Connections: how many there are, how long each may take to say what it wants, and which one goes when there is no room.
//!
//! A connection that asks nothing, or takes its time asking, keeps its seat only while nobody else needs it. So any number of
//! slow clients costs a bounded number of seats and never keeps out one that asks. Absent on purpose: what an answer is.

use std::collections::BTreeMap;
use std::net::{self, IpAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::door::Door;
use super::rates::Rates;
use crate::shell::problem::Problem;

/// How long a request's head may take, and how long a connection may be silent between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// The longest head of a request (as much again may be read before it is noticed), and the most header fields in it; beyond
/// them it is 431.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 100;

/// How long a client may take to read the rest of its last answer once its seat is needed.
const LINGER: Duration = Duration::from_secs(5);

/// Serves until `stopped`, and then until every answer under way is out. The runtimes take turns with the connections, and
/// each stays where it is: between threads that share their tasks, every request would wake several of them.
pub(super) async fn serve(
    mut door: Door,
    router: Router,
    connections_max: usize,
    rates: Arc<Rates>,
    runtimes: Vec<Handle>,
    stopped: oneshot::Receiver<()>,
) {
    let room = Room::of(connections_max);
    let mut connections = JoinSet::new();
    let accepting = async {
        for runtime in runtimes.iter().cycle() {
            let (stream, peer) = door.accept().await;
            let seat = Arc::new(Room::seat(&room).await);
            // Another runtime waits for it from now on. One that is broken already has nobody at its other end.
            let Ok(stream) = stream.into_std() else { continue };
            let connection = connection(stream, peer.ip(), seat, router.clone(), Arc::clone(&rates));
            connections.spawn_on(connection, runtime);
            // What has ended is forgotten, so the set holds no more than there are seats.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        // A dropped sender stops it as well.
        _ = stopped => {}
    }
    drop(door);
    room.close();
    while connections.join_next().await.is_some() {}
}

/// One connection to its end, which a client may bring about as well; then there is nobody to tell.
async fn connection(
    stream: net::TcpStream,
    peer: IpAddr,
    seat: Arc<Seat>,
    router: Router,
    rates: Arc<Rates>,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        if request.body().is_end_stream() {
            seat.answers();
        }
        let admitted = rates.admit(peer, request.headers(), Instant::now());
        let request =
            request.map(|body| Body::new(Watched { body, seat: Arc::clone(&seat), then: Seat::answers }));
        let (inner, seat) = (&inner, &seat);
        async move {
            let response = match admitted {
                Ok(()) => inner.call(request).await?,
                Err(refused) => unread(refused),
            };
            Ok::<_, std::convert::Infallible>(response.map(|body| Watched {
                body,
                seat: Arc::clone(seat),
                then: Seat::waits,
            }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    loop {
        tokio::select! {
            // An answer that is ready goes out before its seat is given away.
            biased;
            _ = &mut served => return,
            () = seat.leave.notified() => match seat.doing() {
                Doing::Waiting { answered: None, .. } => return,
                Doing::Waiting { answered: Some(at), .. } => {
                    served.as_mut().graceful_shutdown();
                    // Once that is over, what was not read is not sent.
                    timeout_at(at + LINGER, served).await.ok();
                    return;
                }
                // It asked in the same moment, so it stays and another goes.
                Doing::Answering => seat.room.make_room(),
            }
        }
    }
}

/// Refused before anything is read of it, so the connection cannot go on.
fn unread(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Seats for connections.
struct Room {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// Those that could go, the longest waiting first.
#[derive(Default)]
struct Waiting {
    next: u64,
    by_turn: BTreeMap<u64, Arc<Notify>>,
    /// Somebody stands at the door and nobody could go: the next that could, goes.
    wanted: bool,
    closed: bool,
}

impl Room {
    fn of(seats: usize) -> Arc<Room> {
        let free = Arc::new(Semaphore::new(seats.min(Semaphore::MAX_PERMITS)));
        Arc::new(Room { free, waiting: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat; where none is free, that of who waits longest, once it is.
    async fn seat(room: &Arc<Room>) -> Seat {
        let mut permit = Arc::clone(&room.free).try_acquire_owned().ok();
        if permit.is_none() {
            room.make_room();
            // It is never closed.
            permit = Arc::clone(&room.free).acquire_owned().await.ok();
        }
        let doing = Mutex::new(Doing::Answering);
        let seat = Seat { room: Arc::clone(room), leave: Arc::default(), doing, _permit: permit };
        seat.wait(None);
        seat
    }

    /// Lets go who waits longest, or else who first begins to.
    fn make_room(&self) {
        let mut waiting = self.waiting();
        match waiting.by_turn.pop_first() {
            Some((_, leave)) => leave.notify_one(),
            None => waiting.wanted = true,
        }
    }

    /// Who waits goes, and who begins to.
    fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        for leave in std::mem::take(&mut waiting.by_turn).into_values() {
            leave.notify_one();
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy)]
enum Doing {
    /// Nothing is asked yet, or not all of it; since then, if anything was before.
    Waiting { turn: u64, answered: Option<Instant> },
    /// A request is carried out, or its answer made.
    Answering,
}

/// A connection's place.
struct Seat {
    room: Arc<Room>,
    leave: Arc<Notify>,
    doing: Mutex<Doing>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    fn doing(&self) -> Doing {
        *self.change()
    }

    fn change(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its answer is made; it may ask again.
    fn waits(&self) {
        self.wait(Some(Instant::now()));
    }

    fn wait(&self, answered: Option<Instant>) {
        let mut waiting = self.room.waiting();
        let turn = waiting.next;
        waiting.next += 1;
        *self.change() = Doing::Waiting { turn, answered };
        if waiting.closed || std::mem::take(&mut waiting.wanted) {
            self.leave.notify_one();
        } else {
            waiting.by_turn.insert(turn, Arc::clone(&self.leave));
        }
    }

    /// It has asked, whole.
    fn answers(&self) {
        let mut waiting = self.room.waiting();
        if let Doing::Waiting { turn, .. } = std::mem::replace(&mut *self.change(), Doing::Answering) {
            waiting.by_turn.remove(&turn);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.answers();
    }
}

/// A body at whose end something becomes of the connection's seat.
struct Watched<B> {
    body: B,
    seat: Arc<Seat>,
    then: fn(&Seat),
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        (self.then)(&self.seat);
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// A server whose `/slow` answers when it is told to.
    struct Served {
        address: SocketAddr,
        go_on: Arc<Notify>,
        asked: Arc<Notify>,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
        _close: oneshot::Sender<()>,
    }

    async fn served(seats: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go_on, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (Arc::clone(&go_on), Arc::clone(&asked));
        let slow = async move || {
            tell.notify_one();
            wait.notified().await;
            "done"
        };
        let router = Router::new().route("/slow", get(slow)).route("/", get(async || "hi"));
        let (stop, stopped) = oneshot::channel();
        let (door, close) = Door::open(listener);
        let serving = tokio::spawn(serve(
            door,
            router,
            seats,
            Arc::new(Rates::of(1, Box::new(|_| false))),
            vec![Handle::current()],
            stopped,
        ));
        Served { address, go_on, asked, stop, serving, _close: close }
    }

    impl Served {
        async fn ask(&self, bytes: &str) -> TcpStream {
            let stream = TcpStream::connect(self.address).await.unwrap();
            stream.writable().await.unwrap();
            assert_eq!(stream.try_write(bytes.as_bytes()).unwrap(), bytes.len());
            stream
        }
    }

    /// All that comes until the server hangs up.
    async fn heard(stream: TcpStream) -> String {
        let mut heard = Vec::new();
        loop {
            stream.readable().await.unwrap();
            let mut part = [0; 1024];
            match stream.try_read(&mut part) {
                Ok(0) => return String::from_utf8(heard).unwrap(),
                Ok(read) => heard.extend_from_slice(&part[..read]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

    // The clock moves by itself as soon as all wait, so a test that ends is one in which time ran out.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_ask_in_time_is_closed() {
        let served = served(4).await;
        assert_eq!(heard(served.ask("").await).await, "");
        assert_eq!(heard(served.ask("GET / HTTP/1.1\r\nHost: ").await).await, "");
        let told = heard(served.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
        assert!(told.ends_with("hi"), "{told}");
    }

    #[tokio::test]
    async fn a_full_house_lets_the_next_in_and_cuts_no_answer_off() {
        let served = served(1).await;
        let first = served.ask(SLOW).await;
        served.asked.notified().await;
        // It has no seat, and nobody waits who could go.
        let second = served.ask(SLOW).await;
        served.go_on.notify_one();
        assert!(heard(first).await.ends_with("done"));
        served.asked.notified().await;
        served.go_on.notify_one();
        // A third takes the place of the second, which is answered and silent.
        let third = served.ask(SLOW).await;
        assert!(heard(second).await.ends_with("done"));
        served.asked.notified().await;
        served.go_on.notify_one();
        drop(served.stop);
        assert!(heard(third).await.ends_with("done"));
        served.serving.await.unwrap();
    }

    #[tokio::test]
    async fn who_has_asked_nothing_does_not_hold_up_the_end() {
        let served = served(4).await;
        let silent = served.ask("").await;
        let begun = served.ask("GET / HTTP/1.1\r\n").await;
        let asked = served.ask(SLOW).await;
        served.asked.notified().await;
        drop(served.stop);
        assert_eq!((heard(silent).await, heard(begun).await), (String::new(), String::new()));
        served.go_on.notify_one();
        assert!(heard(asked).await.ends_with("done"));
        served.serving.await.unwrap();
    }
}
