//! The row of what somebody was told, and is to be told.

use serde::{Deserialize, Serialize};

use super::numbers::Numbered;
use super::rows::{IdV1, id_v1};
use super::{Stored, V1, body, wire};
use crate::model::{Notice, NoticeEvent, Time};
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct NoticeV1<'a> {
    to: &'a str,
    event: u8,
    subject: &'a str,
    next_at: u64,
    pending: u64,
    about: Option<IdV1>,
    #[serde(borrow)]
    detail: Option<&'a str>,
}

impl Stored for Notice {
    fn encode(&self) -> Vec<u8> {
        let value = NoticeV1 {
            to: &self.to,
            event: self.event.number(),
            subject: &self.subject,
            next_at: self.next_at.millis(),
            pending: self.pending,
            about: self.about.map(id_v1),
            detail: self.detail.as_deref(),
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: NoticeV1<'_> = wire::decode("notice", body("notice", bytes)?)?;
        Ok(Notice {
            to: value.to.into(),
            event: NoticeEvent::numbered(value.event)?,
            subject: value.subject.into(),
            next_at: Time::from_millis(value.next_at),
            pending: value.pending,
            about: value.about.map(IdV1::read).transpose()?,
            detail: value.detail.map(str::to_owned),
        })
    }
}
