//! Whose a shard is: for how long this process may act as its owner, by a clock that no server has to be asked for, and the
//! thread that keeps it so.
//!
//! A lease is counted from before it is asked for, so it is over here no later than there. The clock goes on while the machine
//! sleeps, so who wakes up late knows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::time::{ClockId, clock_gettime};

use super::connection::Connection;
use super::{millis, now};

/// How much sooner a lease is over here than there: what is under way has to come to its end.
const MARGIN: u32 = 5;

/// How long this process owns a shard.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) shard: i64,
    pub(super) epoch: i64,
    /// In milliseconds since the machine was started; 0 once it is lost for good.
    until: AtomicU64,
}

impl Lease {
    /// Of a shard that was taken with this epoch, by a statement that was asked at `asked`.
    pub(super) fn of(shard: i64, epoch: i64, asked: u64, length: Duration) -> Lease {
        Lease { shard, epoch, until: AtomicU64::new(end(asked, length)) }
    }

    /// Its shard.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.shard).unwrap_or(u32::MAX)
    }

    /// Until when it lasts, on the clock of [`uptime`]; 0 once it is lost for good.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// When it is over; `None` if it is. What is asked in its name must have an answer by then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let left = self.until().checked_sub(uptime()).filter(|left| *left > 0)?;
        Some(now() + Duration::from_millis(left))
    }

    /// It goes on, as the server says; one that was over stays so, for others may have noticed.
    fn renewed(&self, asked: u64, length: Duration) {
        let longer = |until| (until > uptime()).then(|| end(asked, length).max(until));
        // What is over here may be another's there by now.
        self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, longer).ok();
    }

    /// It is over for good.
    pub(super) fn lose(&self) {
        self.until.store(0, Ordering::Release);
    }
}

fn end(asked: u64, length: Duration) -> u64 {
    let length = length.saturating_sub(length / MARGIN);
    asked.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since the machine was started, those included in which it slept.
pub fn uptime() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec.cast_unsigned() * 1_000 + since.tv_nsec.cast_unsigned() / 1_000_000
}

type Leases = Arc<Mutex<BTreeMap<i64, Arc<Lease>>>>;

/// What becomes of the lease of a shard that this process has taken and not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It lasts until then, on the clock of [`uptime`].
    Kept(u32, u64),
    /// It is over.
    Lost(u32),
}

/// Is told of it, on a thread that does nothing else but keep leases.
pub type OnLease = Box<dyn Fn(Heard) + Send>;

/// The thread that renews what this process owns.
pub(super) struct Keeper {
    leases: Leases,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(connection: Connection, length: Duration, tell: OnLease) -> std::io::Result<Keeper> {
        let leases = Leases::default();
        let (stop, stopped) = bounded(0);
        let run = Run { connection, length, leases: Arc::clone(&leases), tell };
        let thread =
            std::thread::Builder::new().name("leases".to_owned()).spawn(move || run.run(&stopped))?;
        Ok(Keeper { leases, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn keep(&self, lease: Arc<Lease>) {
        lock(&self.leases).insert(lease.shard, lease);
    }

    /// Lets go of a lease, if it is still this one.
    pub(super) fn let_go(&self, lease: &Lease) {
        let mut leases = lock(&self.leases);
        if leases.get(&lease.shard).is_some_and(|kept| kept.epoch == lease.epoch) {
            leases.remove(&lease.shard);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that renews leases panicked");
        }
    }
}

fn lock(leases: &Leases) -> MutexGuard<'_, BTreeMap<i64, Arc<Lease>>> {
    leases.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run {
    connection: Connection,
    length: Duration,
    leases: Leases,
    tell: OnLease,
}

const RENEW: &str = "update dwell_shard as s \
    set expires_at = (extract(epoch from clock_timestamp()) * 1000)::int8 + $1::int8 \
    from unnest($2::int8[], $3::int8[]) as mine (shard, epoch) \
    where s.shard = mine.shard and s.epoch = mine.epoch and s.expires_at > 0 \
    returning s.shard";

impl Run {
    fn run(mut self, stopped: &Receiver<()>) {
        while matches!(stopped.recv_timeout(self.next()), Err(RecvTimeoutError::Timeout)) {
            self.renew();
        }
    }

    /// A third of the lease; sooner where one would be over before that.
    fn next(&self) -> Duration {
        let third = self.length / 3;
        let leases = lock(&self.leases);
        let left = leases.values().filter_map(|lease| lease.deadline());
        let left = left.map(|deadline| deadline.saturating_duration_since(now())).min();
        left.map_or(third, |left| third.min(left))
    }

    fn renew(&mut self) {
        self.drop_lost();
        let kept: Vec<Arc<Lease>> = lock(&self.leases).values().map(Arc::clone).collect();
        let Some(deadline) = kept.iter().filter_map(|lease| lease.deadline()).min() else { return };
        let (shards, epochs): (Vec<i64>, Vec<i64>) =
            kept.iter().map(|lease| (lease.shard, lease.epoch)).unzip();
        let asked = uptime();
        let length = millis(self.length);
        match self.connection.ask(RENEW, &[&length, &shards, &epochs], deadline) {
            Ok(rows) => {
                let renewed: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                for lease in &kept {
                    if renewed.contains(&lease.shard) {
                        lease.renewed(asked, self.length);
                        if lease.deadline().is_some() {
                            (self.tell)(Heard::Kept(lease.number(), lease.until()));
                        }
                    } else {
                        lease.lose();
                    }
                }
            }
            Err(failure) => tracing::warn!("leases cannot be renewed: {}", failure.into_words()),
        }
        self.drop_lost();
    }

    fn drop_lost(&self) {
        let lost: Vec<Arc<Lease>> = {
            let mut lost = Vec::new();
            lock(&self.leases).retain(|_, lease| {
                let is_kept = lease.deadline().is_some();
                if !is_kept {
                    lost.push(Arc::clone(lease));
                }
                is_kept
            });
            lost
        };
        for lease in lost {
            lease.lose();
            tracing::error!(shard = lease.shard, epoch = lease.epoch, "the lease of a shard is over");
            (self.tell)(Heard::Lost(lease.number()));
        }
    }
}
