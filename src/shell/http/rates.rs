//! How many requests one address may make in a second. Loopback may make any number: a proxy stands there, and everything of
//! this machine; and so may who is exempt, as one node of a store is to another. Absent on purpose: what a request asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use tokio::time::Instant;

use crate::shell::problem::Problem;

/// Addresses that are counted apart in one second; further ones share one count.
const ADDRESSES_MAX: usize = 4096;

/// Whether who shows these headers may make any number.
pub type Exempt = Box<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// Counts requests by address and second.
pub(super) struct Rates {
    per_second_max: u32,
    exempt: Exempt,
    begun: Instant,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    second: u64,
    by_address: HashMap<IpAddr, u32>,
}

impl Rates {
    pub(super) fn of(per_second_max: u32, exempt: Exempt) -> Rates {
        Rates { per_second_max, exempt, begun: Instant::now(), counted: Mutex::default() }
    }

    /// Counts one request; `Err` is one too many.
    pub(super) fn admit(&self, peer: IpAddr, headers: &HeaderMap, now: Instant) -> Result<(), Problem> {
        let peer = whole(peer);
        if peer.is_loopback() || (self.exempt)(headers) {
            return Ok(());
        }
        let second = now.saturating_duration_since(self.begun).as_secs();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.second != second {
            *counted = Counted { second, by_address: std::mem::take(&mut counted.by_address) };
            counted.by_address.clear();
        }
        let full = counted.by_address.len() >= ADDRESSES_MAX && !counted.by_address.contains_key(&peer);
        let peer = if full { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { peer };
        let count = counted.by_address.entry(peer).or_default();
        *count = count.saturating_add(1);
        if *count <= self.per_second_max {
            return Ok(());
        }
        let detail = format!("more than {} requests a second of one address", self.per_second_max);
        Err(Problem::new(429, "too_many_requests", detail))
    }
}

/// What one client holds: an IPv4 address, however it is written, or an IPv6 network of 64 bits.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;

    fn of(per_second_max: u32) -> Rates {
        Rates::of(per_second_max, Box::new(|headers| headers.contains_key("proof")))
    }

    #[test]
    fn an_address_may_ask_so_often_in_a_second_and_others_are_not_concerned() {
        let rates = of(2);
        let (now, next) = (rates.begun, rates.begun + Duration::from_secs(1));
        let admitted = |peer: &str, now| rates.admit(peer.parse().unwrap(), &HeaderMap::new(), now).is_ok();
        assert!(admitted("10.0.0.1", now) && admitted("::ffff:10.0.0.1", now));
        let refused = rates.admit("10.0.0.1".parse().unwrap(), &HeaderMap::new(), now).unwrap_err();
        assert_eq!((refused.status, refused.code), (429, "too_many_requests"));
        let proven = HeaderMap::from_iter([("proof".parse().unwrap(), HeaderValue::from_static("x"))]);
        assert!((0..9).all(|_| rates.admit("10.0.0.1".parse().unwrap(), &proven, now).is_ok()));
        assert!(admitted("10.0.0.2", now) && admitted("10.0.0.1", next));
        assert!(
            admitted("2001:db8::1", now) && admitted("2001:db8::2", now) && !admitted("2001:db8::3", now)
        );
        assert!((0..9).all(|_| admitted("127.0.0.1", now) && admitted("::1", now)));
    }

    #[test]
    fn more_addresses_than_are_counted_share_a_count() {
        let rates = of(1);
        let asked = |number: u32| {
            let peer = IpAddr::V4((0x0A00_0000 + number).into());
            rates.admit(peer, &HeaderMap::new(), rates.begun).is_ok()
        };
        let last = u32::try_from(ADDRESSES_MAX).unwrap();
        assert!((0..last).all(asked));
        assert!(asked(last) && !asked(last + 1));
        assert_eq!(rates.counted.lock().unwrap().by_address.len(), ADDRESSES_MAX + 1);
    }
}
