//! Attempt tokens: what an attempt shows to be believed about itself, and about nothing else.
//!
//! A token names its attempt, with an HMAC of that under a key that never leaves the data directory as the proof. So none is
//! stored, and an old attempt's token reports nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::hex::{hex, unhex};
use crate::model::RecordId;

const KEY_FILE: &str = "attempt.key";
const KEY_BYTES: usize = 32;

/// Makes and checks attempt tokens.
#[derive(Clone)]
pub struct Tokens {
    keyed: Hmac<Sha256>,
}

impl Tokens {
    /// Reads the key of a data directory, or makes it (readable by its owner only).
    pub fn open(data: &Path) -> io::Result<Tokens> {
        let path = data.join(KEY_FILE);
        let mut key = Vec::with_capacity(KEY_BYTES);
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut key)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                key.extend(uuid::Uuid::new_v4().as_bytes());
                key.extend(uuid::Uuid::new_v4().as_bytes());
                // Put in place whole: a crash in between leaves no half of a key.
                let partial = data.join("attempt.key.new");
                let mut file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
                file.write_all(&key)?;
                file.sync_all()?;
                std::fs::rename(&partial, &path)?;
                File::open(data)?.sync_all()?;
            }
            Err(error) => return Err(error),
        }
        if key.len() != KEY_BYTES {
            let message = format!("{} holds {} bytes, not {KEY_BYTES}", path.display(), key.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Tokens::of_key(&key)
    }

    /// With a key that stands elsewhere, so that several processes believe each other's.
    pub fn of_key(key: &[u8]) -> io::Result<Tokens> {
        let keyed = Hmac::new_from_slice(key).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Tokens { keyed })
    }

    /// What a process shows to others with this key to be taken for one of them.
    pub fn node(&self) -> String {
        hex(&self.of_node().finalize().into_bytes())
    }

    /// Whether this is what such a process shows.
    pub fn is_node(&self, shown: &str) -> bool {
        unhex(shown).is_some_and(|bytes| self.of_node().verify_slice(&bytes).is_ok())
    }

    fn of_node(&self) -> Hmac<Sha256> {
        // No attempt is named like this.
        self.of("node")
    }

    /// The token of one attempt: which it is, and the proof.
    pub fn token(&self, id: RecordId, attempt: u32) -> String {
        let named = format!("{id}.{attempt}");
        let proof = hex(&self.of(&named).finalize().into_bytes());
        [&named, ".", &proof].concat()
    }

    /// Whether this is the token of that attempt; takes as long whether its proof is right or not.
    pub fn is(&self, id: RecordId, attempt: u32, token: &str) -> bool {
        let Some((named, proof)) = token.rsplit_once('.') else { return false };
        if named != format!("{id}.{attempt}") {
            return false;
        }
        unhex(proof).is_some_and(|bytes| self.of(named).verify_slice(&bytes).is_ok())
    }

    /// Of an attempt, as a token names it.
    fn of(&self, named: &str) -> Hmac<Sha256> {
        self.keyed.clone().chain_update(named)
    }
}

/// The attempt that a token names, proven or not.
pub fn named(token: &str) -> Option<(RecordId, u32)> {
    let (named, _) = token.rsplit_once('.')?;
    let (id, attempt) = named.split_once('.')?;
    Some((id.parse().ok()?, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_attempt_only_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (id, other) = (RecordId::session(1), RecordId::session(2));
        let token = Tokens::open(dir.path()).unwrap().token(id, 3);
        let tokens = Tokens::open(dir.path()).unwrap();
        assert!(tokens.is(id, 3, &token));
        assert!(!tokens.is(id, 4, &token) && !tokens.is(other, 3, &token));
        let proof = token.rsplit_once('.').unwrap().1;
        for wrong in ["", "zz", proof, &token[..token.len() - 2], &format!("{id}.4.{proof}")] {
            assert!(!tokens.is(id, 3, wrong) && !tokens.is(id, 4, wrong), "{wrong}");
        }
        assert_eq!((named(&token), named(proof), named("ses_1.3.00")), (Some((id, 3)), None, None));
    }
}
