//! The token file: a line for each token, with a digest in the token's place. It is put in place whole, readable by its
//! owner only, and works without a server.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Right;
use crate::model::Time;
use crate::shell::hex::{hex, unhex};
use crate::shell::time;

/// The most tokens of one server.
pub const TOKENS_MAX: usize = 1000;

/// The longest name of a token.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest file: every token with the longest name.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a token begins with, so that people and scanners of secrets know one when they see it.
const PREFIX: &str = "dwell_";

/// The random part of a token.
const TOKEN_BYTES: usize = 32;

const HEAD: &str = "# The tokens of a dwell server, made by: dwell token add. Of each line: name, scope, when it expires, digest.\n";

/// What is the matter with a token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// Nobody has made one.
    #[error("there is no token file {}: make one with: dwell token add --scope admin", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Somebody else than its owner may read or write it.
    #[error("{0} can be read or written by others than its owner (mode {mode:03o}): chmod 600 {0}", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not as `dwell token` writes it.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was expected.
        message: String,
    },
    /// The name is taken.
    #[error("there is a token {name:?} already: revoke it first, or choose another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// There is no token of that name.
    #[error("there is no token {name:?}: dwell token ls shows those there are")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It cannot be used as a name.
    #[error("{name:?} is not a name of a token: expected 1 to 64 letters, digits, - _ and .")]
    Name {
        /// The name.
        name: String,
    },
    /// No more fit.
    #[error("there are {TOKENS_MAX} tokens, which is the most: revoke some")]
    Full,
    /// It cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// What is kept of a token.
#[derive(Clone)]
pub struct Entry {
    /// Unique in its file.
    pub name: String,
    /// What its holder may do.
    pub right: Right,
    /// From then on it is worth nothing.
    pub expires: Option<Time>,
    digest: [u8; 32],
}

impl Entry {
    /// A new token, and what is kept of it.
    pub(super) fn make(
        name: &str,
        right: Right,
        expires: Option<Time>,
    ) -> Result<(Entry, String), TokenFileError> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| TokenFileError::Io { path: PathBuf::from("getrandom"), cause: error.into() })?;
        let token = format!("{PREFIX}{}", hex(&random));
        let digest = mac(&token).finalize().into_bytes().into();
        Ok((Entry { name: name.to_owned(), right, expires, digest }, token))
    }

    /// Whether it was made of this token; takes as long whether it was or not.
    pub(super) fn is_of(&self, token: &str) -> bool {
        mac(token).verify_slice(&self.digest).is_ok()
    }

    fn parse(line: &str) -> Result<Entry, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, right, expires, digest] = words[..] else {
            return Err("expected a name, a scope, a time or never, and a digest".to_owned());
        };
        let name = checked(name).map_err(|error| error.to_string())?.to_owned();
        let right = Right::ALL.into_iter().find(|known| known.as_str() == right);
        let right = right.ok_or("the scope is none of read, operate and admin")?;
        let expires = match expires {
            "never" => None,
            text => Some(time::parse(text).map_err(|error| error.to_string())?),
        };
        let digest = unhex(digest)
            .and_then(|digest| digest.try_into().ok())
            .ok_or("the digest is not 64 hex digits")?;
        Ok(Entry { name, right, expires, digest })
    }

    fn line(&self) -> String {
        let expires = self.expires.map_or_else(|| "never".to_owned(), time::format);
        format!("{} {} {expires} {}\n", self.name, self.right.as_str(), hex(&self.digest))
    }
}

/// The file at one path, which need not be there.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// At this path.
    pub const fn at(path: PathBuf) -> TokenFile {
        TokenFile(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What it holds, in its order.
    pub fn read(&self) -> Result<Vec<Entry>, TokenFileError> {
        let text = read_private(&self.0)?;
        let mut entries: Vec<Entry> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |message| TokenFileError::Line { path: self.0.clone(), line: at + 1, message };
            let entry = Entry::parse(line).map_err(wrong)?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(wrong(format!("{:?} is there twice", entry.name)));
            }
            entries.push(entry);
        }
        if entries.len() > TOKENS_MAX { Err(TokenFileError::Full) } else { Ok(entries) }
    }

    /// Makes a token, and the file if there is none; without a name it gets the first free `token-N`. The token itself
    /// is kept nowhere.
    pub fn add(
        &self,
        name: Option<&str>,
        right: Right,
        expires: Option<Time>,
    ) -> Result<(Entry, String), TokenFileError> {
        self.change(|entries| {
            let taken = |name: &str| entries.iter().any(|entry| entry.name == name);
            let name = match name {
                Some(name) if taken(name) => return Err(TokenFileError::Taken { name: name.to_owned() }),
                Some(name) => checked(name)?.to_owned(),
                None => (1..=TOKENS_MAX)
                    .map(|number| format!("token-{number}"))
                    .find(|name| !taken(name))
                    .ok_or(TokenFileError::Full)?,
            };
            if entries.len() >= TOKENS_MAX {
                return Err(TokenFileError::Full);
            }
            let (entry, token) = Entry::make(&name, right, expires)?;
            entries.push(entry.clone());
            Ok((entry, token))
        })
    }

    /// Takes a token away; answers with how many are left.
    pub fn revoke(&self, name: &str) -> Result<usize, TokenFileError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.name != name);
            if entries.len() == before {
                return Err(TokenFileError::Unknown { name: name.to_owned() });
            }
            Ok(entries.len())
        })
    }

    /// One change at a time: of two at once neither undoes the other.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<T, TokenFileError>,
    ) -> Result<T, TokenFileError> {
        if let Some(dir) = self.0.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|cause| failed(dir, cause))?;
        }
        let lock = with_suffix(&self.0, ".lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let held = opened.map_err(|cause| failed(&lock, cause))?;
        self.give(&held).map_err(|cause| failed(&lock, cause))?;
        held.lock().map_err(|cause| failed(&lock, cause))?;
        let mut entries = match self.read() {
            Err(TokenFileError::Missing { .. }) => Vec::new(),
            read => read?,
        };
        let changed = change(&mut entries)?;
        let lines: String = entries.iter().map(Entry::line).collect();
        self.replace(&format!("{HEAD}{lines}")).map_err(|cause| failed(&self.0, cause))?;
        Ok(changed)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let new = with_suffix(&self.0, ".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        self.give(&file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        File::open(self.dir())?.sync_all()
    }

    /// What root makes belongs to the directory's owner: the server runs as that user, and has to read it.
    fn give(&self, file: &File) -> io::Result<()> {
        let owner = fs::metadata(self.dir())?;
        if file.metadata()?.uid() != 0 || owner.uid() == 0 {
            return Ok(());
        }
        fchown(file, Some(owner.uid()), Some(owner.gid()))
    }

    fn dir(&self) -> &Path {
        self.0.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// The text of a file that holds tokens or their digests; refused if others than its owner can get at it.
pub fn read_private(path: &Path) -> Result<String, TokenFileError> {
    let opened = match File::open(path) {
        Err(cause) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&cause.kind()) => {
            return Err(TokenFileError::Missing { path: path.to_owned() });
        }
        opened => opened.map_err(|cause| failed(path, cause))?,
    };
    // Asked of the open file, so it is the one that is read.
    let metadata = opened.metadata().map_err(|cause| failed(path, cause))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|cause| failed(path, cause))?;
    Ok(text)
}

fn checked(name: &str) -> Result<&str, TokenFileError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(TokenFileError::Name { name: name.to_owned() })
}

fn failed(path: &Path, cause: io::Error) -> TokenFileError {
    TokenFileError::Io { path: path.to_owned(), cause }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The key is no secret: it sets these digests apart from others of the same bytes, and HMAC compares in constant time.
fn mac(token: &str) -> Hmac<Sha256> {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(b"dwell token") else { unreachable!("any key will do") };
    mac.chain_update(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::at(dir.path().join("data/tokens"));
        (dir, file)
    }

    #[test]
    fn what_is_added_reads_back_and_the_token_stands_nowhere() {
        let (_dir, file) = place();
        let expires = time::parse("2027-01-01T00:00:00Z").unwrap();
        let (first, token) = file.add(None, Right::Read, None).unwrap();
        file.add(Some("ci.1"), Right::Operate, Some(expires)).unwrap();
        assert_eq!((first.name.as_str(), token.len()), ("token-1", PREFIX.len() + 2 * TOKEN_BYTES));
        let read = file.read().unwrap();
        assert!(read[0].is_of(&token) && !read[1].is_of(&token));
        let told = |entry: &Entry| (entry.name.clone(), entry.right, entry.expires);
        assert_eq!(told(&read[1]), ("ci.1".to_owned(), Right::Operate, Some(expires)));
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(&token[PREFIX.len()..]), "{text}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_directory() {
        let (_dir, file) = place();
        let data = file.path().parent().unwrap();
        fs::create_dir(data).unwrap();
        // Root gives it away; anybody else owns it.
        if fs::metadata(data).unwrap().uid() == 0 {
            std::os::unix::fs::chown(data, Some(65534), Some(65534)).unwrap();
        }
        file.add(None, Right::Admin, None).unwrap();
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(file.path()), owner(data));
        assert_eq!(owner(&with_suffix(file.path(), ".lock")), owner(data));
    }

    #[test]
    fn a_name_is_there_once_and_can_be_revoked_once() {
        let (_dir, file) = place();
        file.add(Some("a"), Right::Read, None).unwrap();
        assert!(matches!(file.add(Some("a"), Right::Admin, None), Err(TokenFileError::Taken { .. })));
        assert!(matches!(file.add(Some("a b"), Right::Admin, None), Err(TokenFileError::Name { .. })));
        assert_eq!(file.revoke("a").unwrap(), 0);
        assert!(matches!(file.revoke("a"), Err(TokenFileError::Unknown { .. })));
        assert!(file.read().unwrap().is_empty());
    }

    #[test]
    fn what_dwell_does_not_write_is_refused_by_line() {
        let (_dir, file) = place();
        file.add(Some("a"), Right::Read, None).unwrap();
        let good = fs::read_to_string(file.path()).unwrap();
        for (line, message) in [
            ("b read never", "expected a name, a scope, a time or never, and a digest"),
            ("b reed never 00", "the scope is none of read, operate and admin"),
            ("b read never 00", "the digest is not 64 hex digits"),
            (good.lines().last().unwrap(), "\"a\" is there twice"),
        ] {
            fs::write(file.path(), format!("{good}{line}\n")).unwrap();
            let refused = file.read().err().unwrap().to_string();
            assert_eq!(refused, format!("{}:3: {message}", file.path().display()));
        }
    }
}
