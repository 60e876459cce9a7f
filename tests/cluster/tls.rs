//! A server that lets nobody in without TLS and a password: what a node needs to be let in, and what it says if it is not.

use std::path::Path;
use std::process::Command;

use dwell::fixture::{Guarded, Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::server::{DWELL, Server};
use super::{RUNTIMES, patiently, work};

const PASSWORD: &str = "correct horse battery staple";

/// An authority of our own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server of this name, certified by `authority`.
fn started(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Option<Postgres> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem();
    let guarded = Guarded { password: PASSWORD, certificate: &certificate, key: &key.serialize_pem() };
    Postgres::start_or_skip(Some(&guarded)).unwrap()
}

/// A command of a node that knows the authority in `ca.pem` and where the password stands.
fn dwell(dir: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(DWELL);
    command.args(args).current_dir(dir).env("DWELL_STORE_URL", url);
    command.env("DWELL_STORE_TLS_CA", dir.join("ca.pem"));
    command.env("DWELL_STORE_PASSWORD", "env:DATABASE_PASSWORD").env("DATABASE_PASSWORD", PASSWORD);
    command
}

/// What it says where it ends with an error, the password not among it.
fn refusal(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!said.contains(PASSWORD), "{said}");
    said
}

#[test]
fn a_node_is_let_in_with_tls_and_its_password_and_says_what_is_missing_without() {
    let authority = authority();
    let Some(postgres) = started(&authority, "127.0.0.1") else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    let url = format!("{}?sslmode=require", postgres.url("postgres"));
    let migrate = |url: &str| dwell(dir, url, &["migrate"]);

    let said = refusal(migrate(&url).env_remove("DWELL_STORE_TLS_CA"));
    assert!(said.contains("certificate") && said.contains("store.tls_ca"), "{said}");
    let said = refusal(&mut migrate(&url.replace("require", "disable")));
    assert!(said.contains("no encryption"), "{said}");
    let said = refusal(migrate(&url).env("DATABASE_PASSWORD", "another"));
    assert!(said.contains("password authentication failed"), "{said}");
    let said = refusal(migrate(&url).env_remove("DWELL_STORE_PASSWORD"));
    assert!(said.contains("password"), "{said}");

    // Without a word about it, and with libpq's strictest one.
    for url in [postgres.url("postgres"), url.replace("require", "verify-full"), url] {
        let made = migrate(&url).output().unwrap();
        assert!(made.status.success(), "{url}: {made:?}");
    }
    std::fs::write(dir.join("dwell.toml"), RUNTIMES).unwrap();
    let url = postgres.url("postgres");
    let server = Server::spawn(&mut dwell(dir, &url, &["serve", "--listen", "127.0.0.1:0"]));
    let made = patiently(|| server.post("/v1/sessions", &work("acme", "one")));
    assert_eq!(made.status, 201, "{made:?}");
    assert!(server.terminate().success());
}

#[test]
fn a_server_whose_certificate_is_of_another_name_is_not_told_the_password() {
    let authority = authority();
    let Some(postgres) = started(&authority, "elsewhere.example") else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let said = refusal(&mut dwell(dir.path(), &postgres.url("postgres"), &["migrate"]));
    assert!(said.contains("not valid for name"), "{said}");
}
