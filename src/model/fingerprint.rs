//! What two error texts have in common: the text without what differs each time, and a short name for it.
//!
//! Masked are numbers (with their units), times, ids, hashes and what stands in quotes. Absent on purpose: meaning. Two
//! texts that say the same in other words stay two.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::Fault;

/// Bytes of a message that are looked at: what is said first says what it is.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The shortest word of hexadecimal digits, one of them a number, that is taken for a hash.
const HASH_BYTES_MIN: usize = 6;

/// The shortest word of letters and digits that is taken for an id, whatever its alphabet.
const ID_BYTES_MIN: usize = 20;

/// The length of a UUID in its usual form.
const UUID_BYTES: usize = 36;

/// The name of a masked text: the beginning of its SHA-256, 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a fault's code and masked message. No fault has one of its own.
    pub fn of(fault: Option<&Fault>) -> Fingerprint {
        let digest = Sha256::digest(masked(fault));
        Fingerprint(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// From the number that [`Fingerprint::number`] gave.
    pub const fn from_number(number: u64) -> Fingerprint {
        Fingerprint(number)
    }

    /// As a number, to store.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        number.map(Fingerprint).ok_or_else(|| format!("{text:?} is no fingerprint: expected 16 hex digits"))
    }
}

/// A fault as `code: message`, on one line, with what differs each time as `#` or between its quotes as `*`.
pub fn masked(fault: Option<&Fault>) -> String {
    let Some(fault) = fault else { return String::new() };
    let mut end = fault.message.len().min(MESSAGE_BYTES_MAX);
    while !fault.message.is_char_boundary(end) {
        end -= 1;
    }
    let message = folded(&tokens(fault.message.get(..end).unwrap_or_default()));
    // A code is a stable word already, and `exit_1` is not `exit_137`.
    if message.is_empty() { fault.code.clone() } else { format!("{}: {message}", fault.code) }
}

/// A piece of a text.
#[derive(Clone, Copy)]
enum Token<'a> {
    /// Differs each time.
    Value,
    /// Part of a moment if a value is near: a month, `UTC`.
    Calendar(&'a str),
    /// What stands between values of one list, moment or address.
    Separator(char),
    /// Between these quotes.
    Quoted(char),
    /// A word.
    Word(&'a str),
    Other(char),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let (token, length) = if !in_word && is_uuid(rest) {
            (Token::Value, UUID_BYTES)
        } else if let Some(inside) = quoted(rest, first, in_word) {
            (Token::Quoted(first), inside + 2)
        } else if is_word(first) {
            let word = rest.split_once(|c| !is_word(c)).map_or(rest, |(word, _)| word);
            (classed(word), word.len())
        } else if first.is_whitespace() {
            (Token::Separator(' '), first.len_utf8())
        } else if ",:/.+-".contains(first) {
            (Token::Separator(first), first.len_utf8())
        } else {
            (Token::Other(first), first.len_utf8())
        };
        in_word = is_word(first);
        found.push(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many bytes stand between the quote that `rest` begins with and the next one of that line. An apostrophe inside
/// a word opens nothing.
fn quoted(rest: &str, quote: char, in_word: bool) -> Option<usize> {
    if !"\"'`".contains(quote) || (quote == '\'' && in_word) {
        return None;
    }
    let (inside, after) = rest.get(1..)?.split_once(quote)?;
    let apostrophe = quote == '\'' && after.starts_with(is_word);
    (!inside.contains('\n') && !apostrophe).then_some(inside.len())
}

fn is_uuid(rest: &str) -> bool {
    let shaped = rest.bytes().take(UUID_BYTES).enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    shaped && rest.get(UUID_BYTES..).is_some_and(|after| !after.starts_with(is_word))
}

fn classed(word: &str) -> Token<'_> {
    const CALENDAR: [&str; 24] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon", "tue",
        "wed", "thu", "fri", "sat", "sun", "am", "pm", "utc", "gmt", "z",
    ];
    let digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    // `ses_01K..`: what stands behind the last underscore is the id.
    let tail = word.rsplit('_').next().unwrap_or(word);
    let hash = tail.len() >= HASH_BYTES_MIN && tail.bytes().all(|byte| byte.is_ascii_hexdigit());
    if word.starts_with(|c: char| c.is_ascii_digit()) || digit(tail) && (hash || tail.len() >= ID_BYTES_MIN) {
        return Token::Value;
    }
    if CALENDAR.iter().any(|name| name.eq_ignore_ascii_case(word)) {
        return Token::Calendar(word);
    }
    Token::Word(word)
}

/// The tokens as text: values with nothing but separators between them are one `#`.
fn folded(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    let mut left = tokens;
    while let Some((first, after)) = left.split_first() {
        let run = values(left);
        if run > 0 {
            text.push('#');
            left = left.get(run..).unwrap_or_default();
            continue;
        }
        match first {
            Token::Value => text.push('#'),
            Token::Separator(' ') if text.is_empty() || text.ends_with(' ') => {}
            Token::Separator(c) | Token::Other(c) => text.push(*c),
            Token::Quoted(quote) => text.extend([*quote, '*', *quote]),
            Token::Calendar(word) => text.push_str(word),
            Token::Word(word) => digits_masked(word, &mut text),
        }
        left = after;
    }
    text.truncate(text.trim_end().len());
    text
}

/// How many tokens from the first on are one value: up to the last value or calendar word that only separators part
/// from the one before, and none if no value is among them.
fn values(tokens: &[Token<'_>]) -> usize {
    let (mut length, mut value) = (0, false);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Value => (length, value) = (at + 1, true),
            Token::Calendar(_) => length = at + 1,
            Token::Separator(_) if length > 0 => {}
            Token::Separator(_) | Token::Quoted(_) | Token::Word(_) | Token::Other(_) => break,
        }
    }
    if value { length } else { 0 }
}

/// `worker17` and `worker3` are alike.
fn digits_masked(word: &str, text: &mut String) {
    for c in word.chars() {
        if !c.is_ascii_digit() {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_is_masked_and_the_rest_is_kept() {
        let table = [
            ("", "c"),
            ("no space left on device", "c: no space left on device"),
            ("took 17 ms, 3 of 5 tries", "c: took # ms, # of # tries"),
            ("took 1.5s", "c: took #"),
            ("worker17 in x86_64 says utf8", "c: worker# in x#_# says utf#"),
            ("at 2026-11-21T02:10:00.123Z it broke", "c: at # it broke"),
            ("at 2026-11-21 02:10:00 +01:00 it broke", "c: at # it broke"),
            ("try again on Sat, 21 Nov 2026 02:10:00 GMT.", "c: try again on #."),
            ("try again at Mar 10th, 2026 3:39 AM", "c: try again at #"),
            ("it may break", "c: it may break"),
            ("connect 127.0.0.1:7070: refused", "c: connect #: refused"),
            ("no record ses_01KAJ5W0Q9ABCDEFGHJKMNPQRS", "c: no record #"),
            ("trace 01kaj5w0q9abcdefghjkmnpqrs", "c: trace #"),
            ("request 6ba7b810-9dad-11d1-80b4-00c04fd430c8 gone", "c: request # gone"),
            ("request deadbeef-dead-beef-dead-c0ffeec0ffee gone", "c: request # gone"),
            ("commit 4f2a1bc is bad, so is 0x7ffee", "c: commit # is bad, so is #"),
            ("a facade and a decade", "c: a facade and a decade"),
            (r#"no file "/tmp/a b" here"#, r#"c: no file "*" here"#),
            ("can't open 'x.txt', don't know `y`", "c: can't open '*', don't know `*`"),
            ("a \"quote that\nnever ends", "c: a \"quote that never ends"),
            ("two\n\n   lines  ", "c: two lines"),
            ("größe 5 €", "c: größe # €"),
        ];
        for (message, expected) in table {
            assert_eq!(masked(Some(&Fault::new("c", message))), expected, "{message:?}");
        }
        assert_eq!(masked(None), "");
        assert_eq!(masked(Some(&Fault::new("exit_137", ""))), "exit_137", "a code is kept as it is");
    }

    #[test]
    fn a_fingerprint_is_of_the_masked_text_and_reads_back() {
        let of = |code: &str, message: &str| Fingerprint::of(Some(&Fault::new(code, message)));
        assert_eq!(of("c", "took 17 ms"), of("c", "took 4 ms"));
        assert_ne!(of("c", "took 17 ms"), of("d", "took 17 ms"));
        assert_ne!(of("c", "took 17 ms"), of("c", "took 17 s"));
        let found = of("exit_1", "took 17 ms");
        assert_eq!(
            found.to_string(),
            "2d4d4d9952459c14",
            "it is the same on every machine and for every build"
        );
        assert_eq!(found.to_string().parse(), Ok(found));
        for wrong in ["", "1", "x8f1d8e6f1b6a3b2", "002d4d4d9952459c14"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_long_message_counts_by_its_beginning() {
        let long = |tail: &str| Fault::new("c", &format!("{}{tail}", "é".repeat(MESSAGE_BYTES_MAX / 2)));
        assert_eq!(masked(Some(&long("a"))), masked(Some(&long("b"))));
    }
}
