//! Who is at the other end: the address that bounds count for, and the client behind the operator's own proxies.

use axum::http::{HeaderMap, HeaderName, header::FORWARDED};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who makes a request: the client behind the operator's proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// Whom a bound by address holds: an IPv4 address, or the /64 that one subscriber of IPv6 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(network).into()
            }
            address => address,
        })
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Address ranges, parted by commas: `10.0.0.0/8, fd00::/8, 192.0.2.7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address range such as 10.0.0.0/8, fd00::/8 or 192.0.2.7; several are parted by commas"
)]
pub struct BadNetwork(String);

impl FromStr for Networks {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts
            .map(|part| network(part).ok_or_else(|| BadNetwork(part.into())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address = IpAddr::from_str(address).ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some((address, bits))
}

impl Networks {
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|(network, bits)| match (address, *network) {
                (IpAddr::V4(address), IpAddr::V4(network)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                    u32::from(address) & mask == u32::from(network) & mask
                }
                (IpAddr::V6(address), IpAddr::V6(network)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                    u128::from(address) & mask == u128::from(network) & mask
                }
                _ => false,
            })
    }
}

/// The header in which trusted proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

/// The client of a request that came from `peer`: what the header says, read from the right for as long as whoever wrote it is trusted.
/// What a stranger wrote is not believed, and neither is what no address can be read from.
pub fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &Networks,
    header: ForwardedHeader,
) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted.has(client) {
        return client;
    }
    let name = match header {
        ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => &FORWARDED,
    };
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let said = match header {
            ForwardedHeader::XForwardedFor => address(entry),
            ForwardedHeader::Forwarded => forwarded_for(entry).and_then(address),
        };
        let Some(said) = said else { break };
        client = said.to_canonical();
        if !trusted.has(client) {
            break;
        }
    }
    client
}

/// The value of `for` in one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(value.trim().trim_matches('"'))
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let socket = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    bare.unwrap_or(text).parse().ok().or_else(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_subscriber_is_one_peer() {
        let same = [
            ("2001:db8::1", "2001:db8::ffff:1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ];
        for (one, other) in same {
            assert_eq!(Peer::from(ip(one)), Peer::from(ip(other)));
        }
        assert_ne!(
            Peer::from(ip("2001:db8:0:1::1")),
            Peer::from(ip("2001:db8::1"))
        );
        assert_ne!(Peer::from(ip("192.0.2.1")), Peer::from(ip("192.0.2.2")));
    }

    #[test]
    fn networks_hold_what_is_within_them() {
        let networks: Networks = "10.0.0.0/8, fd00::/8,192.0.2.7".parse().expect("ranges");
        for inside in ["10.255.0.1", "fd12::1", "192.0.2.7", "::ffff:10.0.0.1"] {
            assert!(networks.has(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "fe80::1", "192.0.2.8"] {
            assert!(!networks.has(ip(outside)), "{outside}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Networks>()
                .expect("all")
                .has(ip("8.8.8.8"))
        );
        for wrong in ["10.0.0.0/33", "10.0.0", "name", "10.0.0.0/8;x"] {
            assert!(wrong.parse::<Networks>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Networks = "10.0.0.0/8".parse().expect("a range");
        let cases = [
            ("192.0.2.1", "x-forwarded-for", "8.8.8.8", "192.0.2.1"),
            ("10.0.0.1", "x-forwarded-for", "8.8.8.8", "8.8.8.8"),
            ("10.0.0.1", "x-forwarded-for", "1.1.1.1, 8.8.8.8", "8.8.8.8"),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "1.1.1.1, 8.8.8.8, 10.0.0.2",
                "8.8.8.8",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "8.8.8.8, unknown",
                "10.0.0.1",
            ),
            ("10.0.0.1", "x-forwarded-for", "", "10.0.0.1"),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "[2001:db8::1]:99",
                "2001:db8::1",
            ),
            ("10.0.0.1", "forwarded", "for=8.8.8.8", "10.0.0.1"),
        ];
        for (peer, name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_static(name);
            headers.insert(name, value.parse().expect("a value"));
            let found = client(ip(peer), &headers, &trusted, ForwardedHeader::XForwardedFor);
            assert_eq!(found, ip(expected), "{peer} {value}");
        }
        let mut headers = HeaderMap::new();
        let value = "for=1.1.1.1, proto=https;For=\"[2001:db8::1]:47\"";
        headers.insert(FORWARDED, value.parse().expect("a value"));
        let found = client(
            ip("10.0.0.1"),
            &headers,
            &trusted,
            ForwardedHeader::Forwarded,
        );
        assert_eq!(found, ip("2001:db8::1"));
    }
}
