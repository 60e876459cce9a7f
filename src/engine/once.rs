//! Calls under an idempotency key: the first answer is kept in the commit of what it answers, and repeated.
//!
//! Only what was accepted is kept. A refusal changed nothing, so asking again is harmless and may go better.

use super::answer::{Answer, Told};
use super::arrivals;
use super::draft::{Draft, Fail};
use super::request::Once;
use super::settings::ANSWER_BYTES_MAX;
use crate::model::Rejected;
use crate::store::{KeptAnswer, Stored, keys};

/// Decides the request inside, unless it was decided before.
pub(super) fn once(draft: &mut Draft<'_>, once: Once) -> Result<Answer, Fail> {
    let Once { name, fingerprint, request, tell } = once;
    let key = keys::answer(&name);
    if let Some(row) = draft.row(&key)? {
        let kept = KeptAnswer::decode(&row)?;
        if kept.fingerprint != fingerprint {
            return Err(Rejected::KeyReused.into());
        }
        return Ok(Answer::Told(Told { status: kept.status, body: kept.body, again: true }));
    }
    let (status, body) = tell(arrivals::answer(draft, request)?);
    let kept = if body.len() > ANSWER_BYTES_MAX { Vec::new() } else { body.clone() };
    draft.put(key, KeptAnswer { fingerprint, status, body: kept }.encode());
    let given = keys::answered(draft.now, &name);
    draft.core.oldest.answers.add((draft.now, name), &given);
    draft.put(given, Vec::new());
    draft.core.answers += 1;
    Ok(Answer::Told(Told { status, body, again: false }))
}
