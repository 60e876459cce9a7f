//! `on.schedule`: the times at which a flow starts by itself.
//!
//! Owns: cron expressions and their time zones (croner, jiff). Pure: it is told the time. Absent on purpose: remembering
//! which times were there already (`engine::schedule`).

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::keys::SCHEDULE;
use super::read::Reader;
use super::tree::Node;
use crate::model::{Name, Time, Trigger};

/// The source of the triggers that schedules make.
pub const SOURCE: &str = "schedule";

/// Their event; their action is the flow's name.
pub const EVENT: &str = "cron";

/// A cron expression in a time zone.
///
/// A time of day that a clock set forward skips is the first moment after it, and one that a clock set back repeats is
/// the first of both; what comes every so often (`*/15 * * * *`) goes on through either.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    /// As they stand in the file.
    expression: String,
    zone: TimeZone,
}

impl Schedule {
    /// The first time after `after`, if there is one before the year 5000.
    pub fn next(&self, after: Time) -> Option<Time> {
        let after = Timestamp::from_millisecond(i64::try_from(after.millis()).ok()?).ok()?;
        let next = self.cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok().map(Time::from_millis)
    }

    /// Whether `trigger` is one of the schedule of the flow `name`.
    pub(super) fn made(trigger: &Trigger, name: &Name) -> bool {
        &*trigger.source == SOURCE && trigger.event == EVENT && trigger.action.as_deref() == Some(name)
    }
}

impl fmt::Display for Schedule {
    /// `0 9 * * 1-5 Europe/Vienna`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

impl Reader<'_> {
    /// `on.schedule`.
    pub(super) fn schedule(&mut self, node: &Node) -> Option<Schedule> {
        let fields = self.fields(node, &SCHEDULE)?;
        let zone = match fields.get("tz") {
            None => Some((TimeZone::UTC, String::new())),
            Some((node, key)) => {
                const EXPECTED: &str = "a time zone of the IANA database, like Europe/Vienna";
                let name = self.text(node, &key, EXPECTED)?;
                let zone = TimeZone::get(name).ok();
                if zone.is_none() {
                    self.wrong(node, &key, EXPECTED);
                }
                zone.map(|zone| (zone, format!(" {name}")))
            }
        };
        let cron = self.required(node, &fields, "cron", "five fields like \"0 9 * * 1-5\"")?;
        let text = self.text(cron, "on.schedule.cron", "text with five fields, like \"0 9 * * 1-5\"")?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = match parser.parse(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let what = error.to_string();
                let what = what.rsplit(": ").next().unwrap_or_default().trim_end_matches('.').to_lowercase();
                let expected = "minute, hour, day of month, month and day of week, like \"0 9 * * 1-5\"";
                self.wrong(cron, "on.schedule.cron", &format!("{expected} ({what})"));
                return None;
            }
        };
        let (zone, name) = zone?;
        let schedule = Schedule { cron: parsed, expression: format!("{}{name}", text.trim()), zone };
        if schedule.next(Time::ZERO).is_none() {
            self.wrong(cron, "on.schedule.cron", "a time that comes; this one never does");
            return None;
        }
        Some(schedule)
    }
}
