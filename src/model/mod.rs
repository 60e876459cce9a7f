//! L0, the nouns. What a record is, what can happen to it, and the numbers that bound it.
//!
//! Owns: plain types and their text forms. Absent on purpose: rules (`machine`), bytes (`store::codec`),
//! clocks, serde. Only std, the `ulid` alphabet and SHA-256 are used here.

mod effect;
mod event;
mod fingerprint;
mod ids;
mod limit;
mod mode;
mod name;
mod notice;
mod outcome;
mod policy;
mod record;
mod redrive;
mod runtime;
mod scope;
mod space;
mod start;
mod state;
mod time;
mod transition;
mod trigger;
mod usage;

pub use effect::Effect;
pub use event::{Command, Event, Rejected};
pub use fingerprint::{Fingerprint, masked};
pub use ids::{IdError, IdRange, Kind, RecordId, RedriveId, Slot, TriggerId};
pub use limit::{Limit, LimitReport, Overage, Pause, Reset, Source};
pub use mode::{Early, Missing, Mode, Origin, Standing};
pub use name::Name;
pub(crate) use name::head;
pub use notice::{Notice, NoticeEvent};
pub use outcome::{Fault, Particulars, Report, code};
pub use policy::{Curve, LimitPolicy, Policy, Retry, Timeouts};
pub use record::{
    Action, Budget, Child, Debounce, Group, HttpRequest, Measure, Meter, Record, Streak, Streaks, Submission,
    Terms, Work,
};
pub use redrive::{Pace, Redrive};
pub use runtime::{MODEL_BYTES_MAX, Runtime};
pub use scope::{Drain, Scope, ScopeError};
pub use space::{Size, SizeError, Space};
pub use start::{Prompt, Start};
pub use state::{Cause, Lane, State, StateName};
pub use time::Time;
pub use transition::Transition;
pub use trigger::Trigger;
pub use usage::{USAGE_MAX, Usage, micros};

/// The longest stored free text (an error message, a result): 4 KiB, cut at a character boundary.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Cuts `text` to [`TEXT_BYTES_MAX`] bytes, at a character boundary.
pub fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Defines an enum whose variants have one fixed text each, with `as_str`, `ALL` and `FromStr`.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The text used in JSON, on the command line and in logs.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(format!("unknown value {text:?}: expected one of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use text_enum;
