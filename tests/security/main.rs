//! Who may ask a server what, and what gets through to whom: the real binary, on an address that others could reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod children;
mod limits;
mod redaction;
mod routes;
mod tokens;

#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

use std::path::Path;
use std::process::Command;

use dwell::model::Time;
use dwell::shell::http::OPENAPI;
use dwell::shell::keyring::{Right, TokenFile};
use serde_json::Value;
use server::{Answer, DWELL, Server};

/// One operation of the contract.
struct Operation {
    method: String,
    path: String,
    /// What it asks for, as the contract has it.
    security: Value,
}

impl Operation {
    /// Every one there is.
    fn all() -> Vec<Operation> {
        let document: Value = serde_saphyr::from_str(OPENAPI).unwrap();
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let security = operation.get("security").unwrap_or(&document["security"]).clone();
                all.push(Operation { method: method.to_uppercase(), path: path.clone(), security });
            }
        }
        assert!(all.len() > 40, "only {} operations", all.len());
        all
    }

    /// The scope a token needs; none where no token is asked for.
    fn scope(&self) -> Option<&str> {
        self.security[0]["token"][0].as_str()
    }

    /// With something in the place of each name.
    fn filled(&self, id: &str) -> String {
        let filled = self.path.replace("/records/{id}", &format!("/records/{id}"));
        let filled = filled.replace("{source}", "gh").replace("{scope}", "all");
        filled.replace("{id}", "trg_7ZZZZZZZZZZZZZZZZZZZZZZZZZ").replace("{name}", "shell")
    }

    fn ask(&self, server: &Server, id: &str, token: Option<&str>) -> Answer {
        ask(server, &self.method, &self.filled(id), token, b"{}")
    }
}

fn ask(server: &Server, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let body = if method == "GET" { b"" } else { body };
    server::send(method, &format!("{}{path}", server.url), &headers, body).expect("an answer")
}

/// How a server is started that others than this machine could reach.
fn exposed(dir: &Path) -> Command {
    let mut command = Command::new(DWELL);
    command.args(["serve", "--listen", "0.0.0.0:0"]).current_dir(dir);
    command
}

/// Tokens of every scope, in the order of `Right::ALL`.
fn tokens(dir: &Path) -> [String; 3] {
    let file = TokenFile::at(dir.join("dwell-data/tokens"));
    Right::ALL.map(|right| file.add(Some(right.as_str()), right, None::<Time>).unwrap().1)
}
