//! Values of keys: from text (defaults, environment, flags) and from TOML, and back to text for people.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Kind;
use super::secret::SecretRef;
use crate::model::{Size, SizeError};
use crate::shell::time;

/// A value, checked by its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of `Address`.
    Address(SocketAddr),
    /// Of `StoreUrl`.
    Store(StoreUrl),
    /// Of `Path`.
    Path(PathBuf),
    /// Of `Text` and `Choice`.
    Text(String),
    /// Of `Number`, and of `Percent` and `Factor` in percent.
    Number(u32),
    /// Of `Flag`.
    Flag(bool),
    /// Of `Span`, and of `SpanOrOff`, where `None` is off.
    Span(Option<Duration>),
    /// Of `Size`, in bytes.
    Size(u64),
    /// Of `Texts`.
    Texts(Vec<String>),
    /// Of `Table`.
    Table(BTreeMap<String, String>),
    /// Of `Secrets`, and of `Secret`, which is at most one.
    Secrets(Vec<SecretRef>),
}

/// Where records are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// In a directory.
    File(PathBuf),
    /// In PostgreSQL; the URL may have a password in it, which is never shown.
    Postgres(String),
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::File(path) => write!(f, "file:{}", path.display()),
            StoreUrl::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL with `***` for its password, whether that stands before the host or among the parameters.
fn without_password(url: &str) -> String {
    let begin = url.find("://").map_or(0, |scheme| scheme + 3);
    // Up to the last one: whatever is not escaped in a password, none of it is shown.
    let at = url.rfind('@').filter(|at| *at > begin).unwrap_or(begin);
    let (user, secret) = match url[begin..at].split_once(':') {
        Some((user, _)) => (user, ":***"),
        None => (&url[begin..at], ""),
    };
    let hidden = format!("{}{user}{secret}", &url[..begin]);
    let rest = &url[at..];
    let Some((host, query)) = rest.split_once('?') else { return format!("{hidden}{rest}") };
    let parameter = |text: &str| match text.split_once('=') {
        Some(("password", _)) => "password=***".to_owned(),
        Some(_) | None => text.to_owned(),
    };
    let parameters = query.split('&').map(parameter).collect::<Vec<_>>().join("&");
    format!("{hidden}{host}?{parameters}")
}

/// A value as text would give it; `Err` says what is there and what is accepted.
pub fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Address => {
            let address = text.parse().map(Value::Address);
            address.map_err(|_| format!("{text:?} is not an address: expected ip:port, like 127.0.0.1:7070"))
        }
        Kind::StoreUrl => store_url(text).map(Value::Store),
        Kind::Secret | Kind::Secrets if text.is_empty() => Ok(Value::Secrets(Vec::new())),
        Kind::Secret => match text.parse() {
            // Not quoted: it may be the secret.
            Err(_) | Ok(SecretRef::Plain(_)) => Err("expected file:PATH or env:NAME".to_owned()),
            Ok(secret) => Ok(Value::Secrets(vec![secret])),
        },
        Kind::Path => Ok(Value::Path(PathBuf::from(text))),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => Err(format!("{text:?} is not one of {}", words.join(", "))),
        Kind::Number(min) => {
            let wrong = || format!("{text:?} is not a whole number of at least {min}");
            text.parse().ok().filter(|number| *number >= min).map(Value::Number).ok_or_else(wrong)
        }
        Kind::Flag => {
            let flag = text.parse().map(Value::Flag);
            flag.map_err(|_| format!("{text:?} is not a flag: expected true or false"))
        }
        Kind::SpanOrOff if text == "off" => Ok(Value::Span(None)),
        Kind::Span | Kind::SpanOrOff => {
            time::parse_span(text).map(|span| Value::Span(Some(span))).map_err(|error| error.to_string())
        }
        Kind::Size(min, max) => {
            let size: Size = text.parse().map_err(|error: SizeError| error.to_string())?;
            if (min..=max).contains(&size.0) {
                return Ok(Value::Size(size.0));
            }
            Err(format!("{text:?} is not accepted here: expected {} to {}", Size(min), Size(max)))
        }
        Kind::Percent => {
            let number =
                text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|percent| *percent <= 1_000);
            number
                .map(Value::Number)
                .ok_or_else(|| format!("{text:?} is not a percentage: expected 0% to 1000%"))
        }
        Kind::Factor => factor(text),
        Kind::Texts if text.is_empty() => Ok(Value::Texts(Vec::new())),
        Kind::Table if text.is_empty() => Ok(Value::Table(BTreeMap::new())),
        Kind::Texts | Kind::Table | Kind::Secrets => Err("set it in the file".to_owned()),
    }
}

/// A value as TOML gives it.
pub fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    let mismatch = |expected: &str| format!("{} is not accepted here: expected {expected}", value.type_str());
    match (kind, value) {
        (Kind::Texts, DeValue::Array(_)) => Ok(Value::Texts(texts(value)?)),
        (Kind::Secrets, DeValue::Array(_)) => {
            texts(value)?.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Value::Secrets)
        }
        (Kind::Table, DeValue::Table(table)) => {
            let pairs = table.iter().map(|(name, value)| match value.get_ref().as_str() {
                Some(text) => Ok((name.get_ref().to_string(), text.to_owned())),
                None => {
                    Err(format!("{} is {}: expected a string", name.get_ref(), value.get_ref().type_str()))
                }
            });
            pairs.collect::<Result<_, _>>().map(Value::Table)
        }
        (
            Kind::Number(_) | Kind::Span | Kind::SpanOrOff | Kind::Percent | Kind::Factor | Kind::Size(..),
            DeValue::Integer(number),
        ) => from_text(kind, number.as_str()),
        (Kind::Texts | Kind::Secrets, _) => Err(mismatch("an array of strings")),
        (Kind::Table, _) => Err(mismatch("a table of strings")),
        (Kind::Number(_), _) => Err(mismatch("an integer")),
        (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Flag, _) => Err(mismatch("true or false")),
        (_, DeValue::String(text)) => from_text(kind, text),
        (Kind::Factor, DeValue::Float(number)) => from_text(kind, number.as_str()),
        (_, _) => Err(mismatch("a string")),
    }
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let elements = value.as_array().into_iter().flatten().map(|element| match element.get_ref().as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("the array holds {}: expected strings", element.get_ref().type_str())),
    });
    elements.collect()
}

fn store_url(url: &str) -> Result<StoreUrl, String> {
    match url.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(StoreUrl::File(PathBuf::from(path))),
        Some(("postgres" | "postgresql", _)) => Ok(StoreUrl::Postgres(url.to_owned())),
        Some(_) | None => {
            let shown = without_password(url);
            Err(format!("{shown:?} is not a store: expected file:DIR or postgres://USER@HOST/DATABASE"))
        }
    }
}

fn factor(text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is not a growth factor: expected 1 to 100, with at most two decimals");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let percent = format!("{part:0<2}").parse::<u32>().ok().filter(|_| digits).ok_or_else(wrong)?;
    let whole = whole.parse::<u32>().ok().filter(|whole| *whole <= 100).ok_or_else(wrong)?;
    let percent = whole * 100 + percent;
    if (100..=10_000).contains(&percent) { Ok(Value::Number(percent)) } else { Err(wrong()) }
}

/// How a value is written; secrets show where they are, never what.
pub struct Shown<'a>(pub Kind, pub &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (_, Value::Address(address)) => write!(f, "\"{address}\""),
            (_, Value::Store(url)) => write!(f, "\"{url}\""),
            (Kind::Secret, Value::Secrets(secrets)) => {
                write!(f, "\"{}\"", secrets.first().map(ToString::to_string).unwrap_or_default())
            }
            (_, Value::Path(path)) => write!(f, "{:?}", path.display().to_string()),
            (_, Value::Text(text)) => write!(f, "{text:?}"),
            (Kind::Percent, Value::Number(percent)) => write!(f, "\"{percent}%\""),
            (Kind::Factor, Value::Number(percent)) if percent % 100 == 0 => write!(f, "{}", percent / 100),
            (Kind::Factor, Value::Number(percent)) => write!(f, "{}.{:02}", percent / 100, percent % 100),
            (_, Value::Number(number)) => write!(f, "{number}"),
            (_, Value::Flag(flag)) => write!(f, "{flag}"),
            (_, Value::Span(None)) => f.write_str("\"off\""),
            (_, Value::Span(Some(span))) => write!(f, "\"{}\"", time::format_span(*span)),
            (_, Value::Size(bytes)) => write!(f, "\"{:#}\"", Size(*bytes)),
            (_, Value::Texts(texts)) => write!(f, "{texts:?}"),
            (_, Value::Table(table)) => {
                // Names only: an attempt's environment is where people put tokens.
                let pairs: Vec<String> = table.keys().map(|name| format!("{name} = \"***\"")).collect();
                if pairs.is_empty() { f.write_str("{}") } else { write!(f, "{{ {} }}", pairs.join(", ")) }
            }
            (_, Value::Secrets(secrets)) => {
                let shown: Vec<String> = secrets.iter().map(|secret| format!("\"{secret}\"")).collect();
                write!(f, "[{}]", shown.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_password_is_shown_wherever_and_however_it_is_written() {
        for (url, shown) in [
            ("postgres://h/db", "postgres://h/db"),
            ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
            ("postgres://u:secret@h:5432/db?sslmode=require", "postgres://u:***@h:5432/db?sslmode=require"),
            ("postgres://u:se?cr@et@h/db", "postgres://u:***@h/db"),
            (
                "postgres://u@h/db?password=secret&sslmode=require",
                "postgres://u@h/db?password=***&sslmode=require",
            ),
        ] {
            assert_eq!(StoreUrl::Postgres(url.to_owned()).to_string(), shown);
        }
        let told = store_url("postgress://u:secret@h/db").unwrap_err();
        assert!(told.contains("postgress://u:***@h/db"), "{told}");
    }
}
