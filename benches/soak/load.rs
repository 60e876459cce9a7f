//! The load: lives that begin at a steady pace, whatever the server makes of them. Each is created, claimed and reported
//! on by clients that do one thing at a time; what a client claims may be another one's, or one that comes again.
//!
//! Absent on purpose: what answers mean for a restart (`ledger`), and what becomes of the times (`figures`).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::Connection;
use super::figures::Window;
use super::ledger::{Ledger, Said};

/// Attempts that a claim may give: more than one, so that what comes again is taken as well.
const CLAIM_MAX: u64 = 4;

/// One life in so many finds nobody at first, and comes again after its backoff.
const UNAVAILABLE_EVERY: u64 = 10;
/// One in so many is on the runtime with a limit,
const LIMITED_EVERY: u64 = 20;
/// and one in so many runs into it, which holds them all.
const LIMIT_EVERY: u64 = 2_000;
const LIMITED_FOR: Duration = Duration::from_secs(2);

/// When lives begin.
#[derive(Debug)]
pub struct Pace {
    per_s: f64,
    next: Cell<u64>,
    origin: Cell<(Instant, u64)>,
    ended: Cell<bool>,
}

impl Pace {
    pub fn new(per_s: f64) -> Pace {
        let origin = (Instant::now(), 0);
        Pace { per_s, next: Cell::new(0), origin: Cell::new(origin), ended: Cell::new(false) }
    }

    /// Goes on from now: what was not begun while there was no server is not made up for.
    pub fn go_on(&self) {
        self.origin.set((Instant::now(), self.next.get()));
    }

    pub fn end(&self) {
        self.ended.set(true);
    }

    /// Waits until the next life is to begin: its number, and since when it was to.
    async fn next(&self) -> Option<(u64, Instant)> {
        if self.ended.get() {
            return None;
        }
        let number = self.next.replace(self.next.get() + 1);
        let (origin, first) = self.origin.get();
        let due = origin + Duration::from_secs_f64((number - first) as f64 / self.per_s);
        if due <= Instant::now() {
            return Some((number, due));
        }
        tokio::time::sleep_until(due.into()).await;
        // The timer's inaccuracy is not the server's.
        Some((number, Instant::now()))
    }
}

/// What the clients share.
pub struct Load {
    pub pace: Pace,
    pub ledger: RefCell<Ledger>,
    pub window: RefCell<Window>,
}

/// One after another, until the pace ends or the server is gone.
pub async fn client(mut connection: Connection, load: Rc<Load>) -> io::Result<()> {
    while let Some((number, since)) = load.pace.next().await {
        life(&mut connection, &load, number, since).await?;
    }
    Ok(())
}

async fn life(connection: &mut Connection, load: &Load, number: u64, since: Instant) -> io::Result<()> {
    load.ledger.borrow_mut().creates.insert(number);
    let made = asked(connection, "/v1/sessions", &session(number)).await?;
    load.window.borrow_mut().durable(since.elapsed());
    match made {
        (201, record) => load.ledger.borrow_mut().created(number, record["id"].as_str().unwrap()),
        (status, problem) => panic!("a new session: {status} {problem}"),
    }
    let claim = json!({ "worker": "soak", "queue": "soak", "max": CLAIM_MAX, "lease": "30s" });
    load.ledger.borrow_mut().claims += CLAIM_MAX;
    let since = Instant::now();
    let (status, claimed) = asked(connection, "/v1/claims", &claim).await?;
    load.window.borrow_mut().answered(since.elapsed());
    load.ledger.borrow_mut().claims -= CLAIM_MAX;
    assert_eq!(status, 200, "{claimed}");
    let attempts = claimed["attempts"].as_array().unwrap();
    let named = |attempt: &Value| -> (String, u64, u64) {
        let number = |value: &Value| value.as_u64().unwrap();
        let id = attempt["id"].as_str().unwrap().to_owned();
        (id, number(&attempt["attempt"]), number(&attempt["payload"]["n"]))
    };
    let attempts: Vec<_> = attempts.iter().map(named).collect();
    for (id, attempt, _) in &attempts {
        load.ledger.borrow_mut().claimed(id, *attempt);
    }
    for (id, attempt, number) in attempts {
        let said = said(number, attempt);
        let since = Instant::now();
        report(connection, &load.ledger, &id, attempt, said).await?;
        load.window.borrow_mut().durable(since.elapsed());
        if said == Said::Succeeded {
            load.window.borrow_mut().life();
        }
    }
    Ok(())
}

/// The `number`th life; asked for again it is the same one.
pub fn session(number: u64) -> Value {
    let runtime = if number.is_multiple_of(LIMITED_EVERY) { "limited" } else { "worker" };
    json!({
        "runtime": runtime, "org": format!("org{}", number % 10), "action": { "worker": "soak" },
        "key": format!("life-{number}"), "payload": { "n": number },
    })
}

/// Only a first attempt ends otherwise.
fn said(number: u64, attempt: u64) -> Said {
    if attempt > 1 {
        Said::Succeeded
    } else if number.is_multiple_of(LIMIT_EVERY) {
        Said::Limited
    } else if number % UNAVAILABLE_EVERY == 1 {
        Said::Unavailable
    } else {
        Said::Succeeded
    }
}

/// An attempt ends.
pub async fn report(
    connection: &mut Connection,
    ledger: &RefCell<Ledger>,
    id: &str,
    attempt: u64,
    said: Said,
) -> io::Result<()> {
    let body = match said {
        Said::Succeeded => json!({ "type": "succeeded", "attempt": attempt }),
        Said::Unavailable => json!({ "type": "unavailable", "attempt": attempt }),
        Said::Limited => {
            let reset = jiff::Timestamp::now() + LIMITED_FOR;
            json!({ "type": "rate_limited", "attempt": attempt, "reset_at": reset.to_string() })
        }
    };
    ledger.borrow_mut().reporting(id, said);
    let since = Instant::now();
    let (status, answer) = asked(connection, &format!("/v1/records/{id}/reports"), &body).await?;
    let mut ledger = ledger.borrow_mut();
    if status == 200 {
        ledger.reported(id, said, since);
    } else {
        ledger.lost(id, format!("attempt {attempt} is held"), format!("{status} {answer}"));
    }
    Ok(())
}

async fn asked(connection: &mut Connection, path: &str, body: &Value) -> io::Result<(u16, Value)> {
    let (status, body) = connection.try_ask("POST", path, &body.to_string()).await?;
    Ok((status, serde_json::from_slice(body).unwrap_or_default()))
}
