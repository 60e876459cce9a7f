//! `dwell serve` under a service manager: what it tells, and the socket that it is passed.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use super::manager::{Manager, hang_up};
use super::server::{DWELL, Server, directory, dwell, hmac_hex, send};

const QUIET: &str = "[log]\nlevel = \"error\"\n";

#[test]
fn readiness_reloads_and_the_stop_are_told() {
    let dir = directory(QUIET);
    let mut command = Server::command(dir.path(), &[]);
    let manager = Manager::of(dir.path(), &mut command);
    let server = Server::spawn(&mut command);
    assert_eq!(manager.told(), format!("READY=1\nSTATUS=listening on {}\n", server.url));
    assert_eq!(server.get("/healthz").status, 200, "it is not said before it is so");

    hang_up(&server.child);
    let told = manager.told();
    let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim();
    assert!(micros.parse::<u64>().is_ok(), "{told}");
    assert_eq!(manager.told(), "READY=1\nSTATUS=reloaded: 0 flows, no key changed\n");

    server.ask_to_stop();
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert!(server.ended().success());
}

#[test]
fn the_watchdog_is_fed_as_often_as_was_asked_and_only_if_it_was() {
    let dir = directory(QUIET);
    let mut command = Server::command(dir.path(), &[]);
    let manager = Manager::of(dir.path(), &mut command);
    let server = Server::spawn(command.env("WATCHDOG_USEC", "50000"));
    manager.until("READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told(), "WATCHDOG=1\n");
    }
    assert!(server.terminate().success());

    std::fs::remove_file(dir.path().join("notify")).unwrap();
    let mut command = Server::command(dir.path(), &[]);
    let manager = Manager::of(dir.path(), &mut command);
    let server = Server::spawn(command.env("WATCHDOG_USEC", "50000").env("WATCHDOG_PID", "1"));
    manager.until("READY=1");
    assert!(server.terminate().success());
    assert!(manager.told().starts_with("STOPPING=1\n"), "another process is watched");
}

/// How a service manager starts it that holds these sockets.
fn activated(dir: &Path, sockets: usize, socket: &TcpListener) -> Command {
    let pass = "export LISTEN_FDS=$1 LISTEN_PID=$$; exec \"$0\" serve 3<&0 4<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", pass, DWELL, &sockets.to_string()]).current_dir(dir);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}

/// What it says that does not start.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_passed_socket_is_one_and_no_wider_than_configured() {
    let dir = directory(QUIET);
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(activated(dir.path(), 2, &local));
    assert!(said.contains("2 sockets were passed: expected one"), "{said}");
    let wide = TcpListener::bind("0.0.0.0:0").unwrap();
    let said = refused(activated(dir.path(), 1, &wide));
    assert!(said.contains("expected loopback, or server.listen, 127.0.0.1:7070"), "{said}");
}

#[test]
fn a_passed_socket_that_others_reach_is_served_only_with_tokens() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = socket.local_addr().unwrap();
    let dir = directory(&format!("{QUIET}[server]\nlisten = \"{address}\"\n"));
    let output = activated(dir.path(), 1, &socket).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let why = format!("dwell: others than this machine reach {address}, so it is served only with tokens: ");
    assert!(said.starts_with(&why) && said.contains("dwell token add --scope admin"), "{said}");
    assert!(!dir.path().join("dwell-data").exists(), "a store was made");

    let added = dwell(dir.path(), &["token", "add", "--scope", "read"]);
    let bearer = format!("Bearer {}", String::from_utf8(added.stdout).unwrap().trim());
    let _server = Server::spawn(&mut activated(dir.path(), 1, &socket));
    let status = |headers: &[(&str, &str)]| {
        send("GET", &format!("http://127.0.0.1:{}/v1/status", address.port()), headers, b"").unwrap().status
    };
    assert_eq!((status(&[]), status(&[("authorization", &bearer)])), (401, 200));
}

#[test]
fn a_thousand_webhooks_across_a_socket_activated_restart_are_all_taken() {
    const WEBHOOKS: usize = 1_000;
    const SENDERS: usize = 4;
    const RESTARTS: usize = 3;
    let dir = directory(&format!("{QUIET}[sources.hub]\nkind = \"github\"\nsecrets = [\"plain:s\"]\n"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/hub", socket.local_addr().unwrap());
    let mut server = Server::spawn(&mut activated(dir.path(), 1, &socket));
    let (tell, taken) = mpsc::channel();
    let signature = format!("sha256={}", hmac_hex("s", b"{}"));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (url, tell, signature) = (&url, tell.clone(), &signature);
            scope.spawn(move || {
                for n in 0..WEBHOOKS / SENDERS {
                    let delivery = format!("{sender}-{n}");
                    let headers = [
                        ("content-type", "application/json"),
                        ("x-github-event", "push"),
                        ("x-github-delivery", delivery.as_str()),
                        ("x-hub-signature-256", signature.as_str()),
                    ];
                    // A connection of its own, and never a second try.
                    let answer = send("POST", url, &headers, b"{}");
                    assert_eq!(answer.map(|answer| answer.status), Some(202), "{delivery}");
                    tell.send(()).unwrap();
                }
            });
        }
        drop(tell);
        for _ in 0..RESTARTS {
            assert_eq!(taken.iter().take(WEBHOOKS / (RESTARTS + 1)).count(), WEBHOOKS / (RESTARTS + 1));
            server.ask_to_stop();
            assert!(server.child.wait().unwrap().success());
            server = Server::spawn(&mut activated(dir.path(), 1, &socket));
        }
    });
    let triggers = server.get("/v1/triggers?limit=1000").body;
    assert_eq!(triggers["items"].as_array().unwrap().len(), WEBHOOKS);
}
