//! Tells other nodes of a window that changed, on a thread that may wait for them. What one of them does not hear it learns
//! from its provider; so nothing is tried twice, and a queue that is full drops what is oldest news soon.

use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use ureq::Agent;

use crate::model::Runtime;
use crate::shell::http::front::{NODE_HEADER, WINDOWS_PATH};
use crate::store::Stored as _;

/// Windows that may wait to be told.
const WAITING_MAX: usize = 1024;

/// Another node hears it within this, or not at all.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

type News = (Vec<String>, Runtime);

/// The near end.
pub(super) struct Windows(Sender<News>);

impl Windows {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start(proof: String) -> io::Result<Windows> {
        let (tell, told) = bounded(WAITING_MAX);
        thread::Builder::new().name("windows".to_owned()).spawn(move || run(&told, &proof))?;
        Ok(Windows(tell))
    }

    /// Tells these nodes, in its time.
    pub(super) fn tell(&self, addresses: Vec<String>, row: Runtime) {
        if !addresses.is_empty() && self.0.try_send((addresses, row)).is_err() {
            tracing::warn!("other nodes are not told of a window: too many wait to be told");
        }
    }
}

fn run(told: &Receiver<News>, proof: &str) {
    let config = Agent::config_builder().timeout_global(Some(TOLD_WITHIN)).proxy(None).build();
    let agent: Agent = config.into();
    for (addresses, row) in told {
        let body = row.encode();
        for address in addresses {
            let url = format!("{}{WINDOWS_PATH}", address.trim_end_matches('/'));
            if let Err(error) = agent.post(&url).header(NODE_HEADER.as_str(), proof).send(&body) {
                tracing::warn!(window = %row.name, "a node is not told of a window: {address}: {error}");
            }
        }
    }
}
