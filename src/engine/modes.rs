//! Modes: which flows act. What an operator named is a durable row and held here; it is read at every admission, so a
//! flip is in force for the next trigger and there is nothing to build, restart or leave behind.
//!
//! A mode decides about admission only: what is queued or outstanding goes on in any mode. Absent on purpose: whether a
//! flow could act. The shell looks at programs and secrets, and hands what is missing in with the flip that asks.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{Answer, Flipped, FlowView, ModesView};
use super::core::{Core, EngineError};
use super::draft::{Draft, Fail};
use super::request::{Flip, Target};
use super::settings::{FLIP_FAULTS_MAX, RECORDS_PER_SCAN};
use crate::model::{
    Early, Missing, Mode, Name, Origin, Record, Rejected, Standing, Submission, Time, Trigger,
};
use crate::store::{Backend, Direction, Stored, keys};

/// The setting of the mode for all flows.
pub(super) const GLOBAL: &str = "mode";

/// The settings of single flows begin with this; the rest is the flow's name.
pub(super) const FLOW: &str = "mode:";

/// What the rows say.
#[derive(Default)]
pub(super) struct Modes {
    global: Option<Mode>,
    /// Every flow that ever was loaded.
    flows: BTreeMap<Name, Standing>,
    /// Whether the rows of loaded flows say what is in force.
    settled: bool,
}

impl Modes {
    /// Reads all of them.
    pub(super) fn read(disk: &dyn Backend) -> Result<Modes, EngineError> {
        let global = disk.get(&keys::setting(GLOBAL))?.map(|row| Mode::decode(&row)).transpose()?;
        let mut modes = Modes { global, ..Modes::default() };
        let (mut from, to) = keys::settings(FLOW);
        loop {
            let found = disk.scan(&from, &to, Direction::Ascending, RECORDS_PER_SCAN)?;
            for (key, value) in &found {
                if let Some(name) = keys::setting_name(key).and_then(|name| name.strip_prefix(FLOW)) {
                    modes.flows.insert(name.into(), Standing::decode(value)?);
                }
            }
            let Some((mut last, _)) = found.into_iter().last() else { return Ok(modes) };
            last.push(0);
            from = last;
        }
    }
}

impl Core {
    /// The mode in force for a flow, loaded or not, and who named it.
    pub(super) fn mode(&self, flow: &Name) -> (Mode, Origin) {
        let named = self.modes.flows.get(flow).and_then(|row| row.named);
        self.in_force(flow, named, self.modes.global)
    }

    /// As if an operator had named these.
    fn in_force(&self, flow: &Name, named: Option<Mode>, global: Option<Mode>) -> (Mode, Origin) {
        let file = self.settings.flows.get(flow).and_then(|flow| flow.mode);
        let mode = |origin| move |mode| (mode, origin);
        (named.map(mode(Origin::Override)))
            .or_else(|| file.map(mode(Origin::Flow)))
            .or_else(|| global.map(mode(Origin::Global)))
            .unwrap_or((self.settings.mode, Origin::Default))
    }

    /// Whether any loaded flow makes records of its triggers.
    fn any_flow_on(&self) -> bool {
        self.settings.flows.keys().any(|flow| self.mode(flow).0 != Mode::Off)
    }
}

/// The runs of one trigger, by what becomes of them.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) live: Vec<Submission>,
    pub(super) shadow: Vec<Submission>,
    /// Flows that make none.
    pub(super) off: BTreeSet<Name>,
}

/// Sorts runs by the modes of their flows.
pub(super) fn sort(core: &Core, runs: Vec<Submission>) -> Sorted {
    let mut sorted = Sorted::default();
    for run in runs {
        match run.flow.as_ref().map_or(Mode::Live, |flow| core.mode(flow).0) {
            Mode::Live => sorted.live.push(run),
            Mode::Shadow => sorted.shadow.push(run),
            Mode::Off => sorted.off.extend(run.flow),
        }
    }
    sorted
}

/// Makes the rows of loaded flows say what is in force, and since when: after open (files and configuration may have
/// changed) and after a flip.
pub(super) fn settle(draft: &mut Draft<'_>) {
    if draft.core.modes.settled {
        return;
    }
    let flows: Vec<Name> = draft.core.settings.flows.keys().cloned().collect();
    for flow in flows {
        let (mode, _) = draft.core.mode(&flow);
        let row = draft.core.modes.flows.get(&flow);
        if row.is_none_or(|row| row.mode != mode) {
            let fresh = Standing { named: None, mode, since: draft.now, matched: None, started: None };
            let before = row.map(|row| row.mode);
            let row = row.map_or(fresh, |row| Standing { mode, since: draft.now, ..row.clone() });
            let flipped = before.map(|before| (flow.clone(), before, mode));
            draft.core.notices.modes.extend(flipped);
            put(draft, &flow, row);
        }
    }
    draft.core.modes.settled = true;
}

/// Keeps for every loaded flow which trigger last asked it for a run.
pub(super) fn matched(draft: &mut Draft<'_>, trigger: &Trigger, flows: &BTreeSet<Name>) {
    for flow in flows {
        let last = Some((draft.now, trigger.id));
        change(draft, flow, |row| row.matched = last);
    }
}

/// Keeps which run of its flow started last, by its first attempt.
pub(super) fn started(draft: &mut Draft<'_>, record: &Record) {
    if let Some(flow) = &record.flow {
        let last = Some((draft.now, record.id));
        change(draft, flow, |row| row.started = last);
    }
}

fn change(draft: &mut Draft<'_>, flow: &Name, change: impl FnOnce(&mut Standing)) {
    let row = draft.core.modes.flows.get(flow).filter(|_| draft.core.settings.flows.contains_key(flow));
    if let Some(mut row) = row.cloned() {
        change(&mut row);
        put(draft, flow, row);
    }
}

fn put(draft: &mut Draft<'_>, flow: &Name, row: Standing) {
    draft.put(keys::setting(&format!("{FLOW}{flow}")), row.encode());
    draft.core.modes.flows.insert(flow.clone(), row);
}

/// Names a mode, or takes an override back. Refused as a whole or done as a whole.
pub(super) fn flip(draft: &mut Draft<'_>, asked: &Flip) -> Result<Answer, Fail> {
    if let Target::Flow(name, _) = &asked.target
        && !draft.core.settings.flows.contains_key(name)
    {
        return Err(Rejected::UnknownFlow { name: name.clone() }.into());
    }
    check(draft.core, asked, draft.now)?;
    let was_on = draft.core.any_flow_on();
    let (from, to) = match &asked.target {
        Target::Global(mode) => {
            let from = draft.core.modes.global.replace(*mode);
            if from != Some(*mode) {
                draft.put(keys::setting(GLOBAL), mode.encode());
            }
            (from.unwrap_or(draft.core.settings.mode), *mode)
        }
        Target::Flow(name, named) => {
            let (from, _) = draft.core.mode(name);
            if draft.core.modes.flows.get(name).is_some_and(|row| row.named != *named) {
                change(draft, name, |row| row.named = *named);
            }
            (from, draft.core.mode(name).0)
        }
    };
    draft.core.modes.settled = false;
    settle(draft);
    let woke = !was_on && draft.core.any_flow_on();
    let flow = match &asked.target {
        Target::Global(_) => None,
        Target::Flow(name, _) => Some(name.clone()),
    };
    Ok(Answer::Flipped(Flipped { flow, from, to, woke }))
}

/// Whether every flow that the flip makes live, or names live once more, can act and may go live.
fn check(core: &Core, asked: &Flip, now: Time) -> Result<(), Rejected> {
    let mut live: BTreeMap<&Name, &Standing> = BTreeMap::new();
    for (flow, row) in core.settings.flows.keys().filter_map(|flow| core.modes.flows.get_key_value(flow)) {
        let (after, names_it) = match &asked.target {
            Target::Flow(name, _) if name != flow => continue,
            Target::Flow(_, named) => (core.in_force(flow, *named, core.modes.global).0, named.is_some()),
            Target::Global(mode) => {
                let (after, origin) = core.in_force(flow, row.named, Some(*mode));
                (after, origin == Origin::Global)
            }
        };
        if after == Mode::Live && (names_it || row.mode != Mode::Live) {
            live.insert(flow, row);
        }
    }
    let missing = asked.missing.iter().filter(|missing| live.contains_key(&missing.flow));
    let missing: Vec<Missing> = missing.take(FLIP_FAULTS_MAX).cloned().collect();
    if !missing.is_empty() {
        return Err(Rejected::CapabilitiesMissing { missing });
    }
    let min_shadow = core.settings.min_shadow;
    if asked.force || min_shadow.is_zero() {
        return Ok(());
    }
    let early = live.into_iter().filter(|(_, row)| row.mode != Mode::Live).filter_map(|(flow, row)| {
        let earliest = (row.mode == Mode::Shadow).then(|| row.since.after(min_shadow));
        let early = earliest.is_none_or(|at| at > now);
        early.then(|| Early { flow: flow.clone(), earliest })
    });
    let flows: Vec<Early> = early.take(FLIP_FAULTS_MAX).collect();
    if flows.is_empty() { Ok(()) } else { Err(Rejected::CutoverEarly { flows }) }
}

/// Makes the rows agree with flows and modes that were loaded anew.
pub(super) fn reload(draft: &mut Draft<'_>) {
    draft.core.modes.settled = false;
    settle(draft);
}

/// Every loaded flow, by name.
pub(super) fn view(core: &Core) -> ModesView {
    let flows = core.settings.flows.keys().filter_map(|flow| {
        let (standing, (_, origin)) = (core.modes.flows.get(flow)?.clone(), core.mode(flow));
        Some(FlowView { name: flow.clone(), origin, standing })
    });
    ModesView {
        global: core.modes.global.unwrap_or(core.settings.mode),
        named: core.modes.global.is_some(),
        flows: flows.collect(),
    }
}
