//! What pull workers are shown.

use super::{Document, Object, Plain, action, labels, moment, raw};
use crate::engine::{Claimed, QueueView};

/// An attempt for who claimed it; `prompt` is what to resume a provider's session with.
pub fn claimed(claimed: &Claimed, prompt: Option<&str>, token: &str) -> Document {
    let Claimed { start, lease_until } = claimed;
    let labels = (!start.work.labels.is_empty()).then(|| labels(&start.work.labels));
    Object::roomy(1024)
        .with("id", Plain(start.id))
        .with("attempt", start.attempt)
        .with("token", token)
        .with("lease_until", moment(*lease_until))
        .with("org", &*start.org)
        .with("env", &*start.env)
        .with("runtime", &*start.runtime)
        .maybe("model", start.model.as_deref())
        .maybe("flow", start.flow.as_deref())
        .maybe("task", start.work.task.as_deref())
        .maybe("labels", labels)
        .with("action", action(&start.work.action))
        .with("payload", (!start.work.payload.is_empty()).then(|| raw(&start.work.payload)))
        .maybe("resume_token", start.session.as_deref())
        .maybe("prompt", prompt)
        .done()
}

/// A queue of workers.
pub fn queue(view: &QueueView) -> Document {
    Object::default()
        .with("queue", &*view.queue)
        .with("queued", view.queued)
        .with("claims", view.claims)
        .maybe("asked_at", view.asked_at.map(moment))
        .done()
}
