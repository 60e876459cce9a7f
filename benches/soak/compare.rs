//! The ledger held against the server, while no client works: what was asked for without an answer is asked for again,
//! every record is listed, the sums are compared, and who holds an attempt reports on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::connection::Connection;
use super::ledger::{Ledger, Said};
use super::load;

const PAGE: usize = 1_000;

pub async fn compare(connection: &mut Connection, ledger: &RefCell<Ledger>) {
    let creates: Vec<u64> = ledger.borrow().creates.iter().copied().collect();
    ledger.borrow_mut().verdict.unanswered += creates.len() as u64;
    for number in creates {
        let made: Value = connection.read("/v1/sessions", &load::session(number).to_string()).await;
        ledger.borrow_mut().created(number, made["id"].as_str().unwrap());
    }
    let found = listed(connection).await;
    let held = ledger.borrow_mut().compare(&found, Instant::now());
    let status = get(connection, "/v1/status").await;
    let number = |value: &Value| value.as_u64().unwrap();
    let [admitted, started] = ["admitted", "attempts_started"].map(|name| number(&status[name]));
    ledger.borrow_mut().sums([admitted, started, number(&status["counts"]["completed"])]);
    for (id, attempt) in held {
        load::report(connection, ledger, &id, attempt, Said::Succeeded).await.unwrap();
    }
}

async fn get(connection: &mut Connection, path: &str) -> Value {
    serde_json::from_slice(connection.ask("GET", path, "").await).unwrap()
}

/// State and attempt of every session.
async fn listed(connection: &mut Connection) -> BTreeMap<String, (String, u64)> {
    let mut found = BTreeMap::new();
    let mut path = format!("/v1/sessions?limit={PAGE}");
    loop {
        let page = get(connection, &path).await;
        for record in page["items"].as_array().unwrap() {
            let [id, state] = ["id", "state"].map(|name| record[name].as_str().unwrap().to_owned());
            found.insert(id, (state, record["attempt"].as_u64().unwrap()));
        }
        let Some(cursor) = page["cursor"].as_str() else { return found };
        path = format!("/v1/sessions?limit={PAGE}&cursor={cursor}");
    }
}
