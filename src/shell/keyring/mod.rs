//! Who may ask a server what: bearer tokens with a right each, as the token file has them at this moment.
//!
//! Tokens are 256 random bits, so what is kept of one is a plain keyed digest: there is nothing to guess that a slow hash
//! would protect. Absent on purpose: attempt tokens, of which nothing is kept at all (`shell::tokens`).

mod file;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use file::{Entry, NAME_BYTES_MAX, TOKENS_MAX, TokenFile, TokenFileError, read_private};

use crate::model::Time;

/// What a token lets its holder do; each may do what the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look at everything but a backup.
    Read,
    /// Give work, take it, and end, wait or redrive it. Work may be a command, so this is a shell on dwell's machine.
    Operate,
    /// Change what flows do, move the test clock, and take a backup, which holds every payload and header as it is.
    Admin,
}

impl Right {
    /// All of them, the least first.
    pub const ALL: [Right; 3] = [Right::Read, Right::Operate, Right::Admin];

    /// As the token file, the command line and the contract have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Operate => "operate",
            Right::Admin => "admin",
        }
    }
}

/// What a request's token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// There is no token file, so nobody is asked.
    Open,
    /// The holder has this right.
    Holds(Right),
    /// No token is this one, or it has expired.
    Nothing,
}

/// The tokens of one server. Its default asks nobody.
#[derive(Default)]
pub struct Keyring {
    file: Option<TokenFile>,
    /// Of the token that this process alone knows.
    own: Option<Entry>,
    seen: Mutex<Seen>,
}

/// What was read last, and of which file.
#[derive(Default)]
struct Seen {
    stamp: Option<Stamp>,
    /// From the first sight of a token file on: one that is gone opens nothing.
    in_force: bool,
    entries: Vec<Entry>,
}

/// Another stamp is another content, owner or mode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 2], [u64; 2]);

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp([metadata.ctime(), metadata.ctime_nsec()], [metadata.ino(), metadata.len()])
    }
}

impl Keyring {
    /// The tokens at `path`, from now on and as they change. Without a file nobody is asked, which is an error where
    /// `required`.
    pub fn open(path: PathBuf, required: bool) -> Result<Keyring, TokenFileError> {
        let file = TokenFile::at(path);
        match file.read() {
            Ok(_) => {}
            Err(TokenFileError::Missing { .. }) if !required => {}
            Err(error) => return Err(error),
        }
        Ok(Keyring { file: Some(file), ..Keyring::default() })
    }

    /// With one more token, an admin's, that stands in no file and ends with this process.
    pub fn with_own(mut self) -> Result<(Keyring, String), TokenFileError> {
        let (entry, token) = Entry::make("own", Right::Admin, None)?;
        self.own = Some(entry);
        Ok((self, token))
    }

    /// Whether requests need a token.
    pub fn in_force(&self) -> bool {
        self.look().in_force
    }

    /// What `token` is worth now. The file is looked at each time, so a change is in force for the next request.
    pub fn worth(&self, token: Option<&str>, now: Time) -> Worth {
        let seen = self.look();
        if !seen.in_force {
            return Worth::Open;
        }
        let Some(token) = token else { return Worth::Nothing };
        let mut worth = Worth::Nothing;
        // Every entry is compared, so the time does not tell which one fits.
        for entry in seen.entries.iter().chain(&self.own) {
            if entry.is_of(token) && entry.expires.is_none_or(|expires| now < expires) {
                worth = Worth::Holds(entry.right);
            }
        }
        worth
    }

    /// What the file holds now. One that is gone or cannot be read opens nothing, also not what was open before.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &self.file else { return seen };
        let stamp = std::fs::metadata(file.path()).ok().map(|metadata| Stamp::of(&metadata));
        if stamp == seen.stamp {
            return seen;
        }
        seen.stamp = stamp;
        match file.read() {
            Ok(entries) => {
                tracing::info!(tokens = entries.len(), "{} is in force", file.path().display());
                *seen = Seen { stamp, in_force: true, entries };
            }
            Err(TokenFileError::Missing { .. }) if !seen.in_force => {}
            Err(error) => {
                tracing::error!("no token is accepted: {error}");
                *seen = Seen { stamp, in_force: true, entries: Vec::new() };
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, TokenFile, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let keyring = Keyring::open(path.clone(), false).unwrap();
        (dir, TokenFile::at(path), keyring)
    }

    const NOW: Time = Time::from_millis(1_000_000);

    #[test]
    fn without_a_file_nobody_is_asked_and_where_one_is_required_it_is_missed() {
        let (dir, _, keyring) = place();
        assert_eq!(keyring.worth(None, NOW), Worth::Open);
        assert_eq!(keyring.worth(Some("anything"), NOW), Worth::Open);
        let missing = Keyring::open(dir.path().join("tokens"), true).err().unwrap().to_string();
        assert!(missing.contains("there is no token file"), "{missing}");
    }

    #[test]
    fn a_change_of_the_file_is_in_force_for_the_next_request() {
        let (_dir, file, keyring) = place();
        let read = file.add(Some("a"), Right::Read, None).unwrap().1;
        let admin = file.add(None, Right::Admin, None).unwrap().1;
        assert_eq!(keyring.worth(None, NOW), Worth::Nothing);
        assert_eq!(keyring.worth(Some(&read), NOW), Worth::Holds(Right::Read));
        assert_eq!(keyring.worth(Some(&admin), NOW), Worth::Holds(Right::Admin));
        assert_eq!(keyring.worth(Some(&admin[..admin.len() - 1]), NOW), Worth::Nothing);
        file.revoke("a").unwrap();
        assert_eq!(keyring.worth(Some(&read), NOW), Worth::Nothing);
        assert_eq!(keyring.worth(Some(&admin), NOW), Worth::Holds(Right::Admin));
    }

    #[test]
    fn a_file_that_is_gone_broken_or_open_to_others_opens_nothing() {
        let (_dir, file, keyring) = place();
        let token = file.add(None, Right::Admin, None).unwrap().1;
        let worth = || keyring.worth(Some(&token), NOW);
        assert_eq!(worth(), Worth::Holds(Right::Admin));
        let text = fs::read(file.path()).unwrap();
        fs::set_permissions(file.path(), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(worth(), Worth::Nothing);
        fs::set_permissions(file.path(), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(worth(), Worth::Holds(Right::Admin));
        fs::write(file.path(), "nonsense\n").unwrap();
        assert_eq!(worth(), Worth::Nothing);
        fs::write(file.path(), text).unwrap();
        assert_eq!(worth(), Worth::Holds(Right::Admin));
        fs::remove_file(file.path()).unwrap();
        assert_eq!(worth(), Worth::Nothing);
    }

    #[test]
    fn a_token_ends_when_it_expires() {
        let (_dir, file, keyring) = place();
        let token = file.add(None, Right::Read, Some(NOW)).unwrap().1;
        assert_eq!(keyring.worth(Some(&token), Time::from_millis(999_999)), Worth::Holds(Right::Read));
        assert_eq!(keyring.worth(Some(&token), NOW), Worth::Nothing);
    }

    #[test]
    fn a_server_s_own_token_is_of_no_use_elsewhere() {
        let (dir, file, _) = place();
        file.add(None, Right::Read, None).unwrap();
        let open = || Keyring::open(dir.path().join("tokens"), true).unwrap().with_own().unwrap();
        let ((here, own), (there, _)) = (open(), open());
        assert_eq!(here.worth(Some(&own), NOW), Worth::Holds(Right::Admin));
        assert_eq!(there.worth(Some(&own), NOW), Worth::Nothing);
    }
}
