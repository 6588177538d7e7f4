//! Where calls may go: the public internet over TLS, and beyond that what the operator has opened. Pure.
//!
//! Whoever connects an account or adds an integration names addresses that this process then asks, with its own rights in its own
//! network: a cloud's metadata service, a database on the same machine, another tenant's pod. So the address that is connected to decides
//! and not the name: the resolver of the HTTP client ([`super::resolver`]) shows names' addresses to [`Addresses`] each time that a
//! connection is opened, and a name that changes its mind between two looks gains nothing.

use reqwest::Url;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Ranges that are nobody's on the public internet (the IANA registries of special-purpose addresses), or that a cloud answers from inside.
const PRIVATE_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "of a carrier's network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Only `2000::/3` is given out at all; these are the parts of it that are not anybody's.
const PRIVATE_V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "for documentation",
    ),
    // 6to4 carries an IPv4 address that would be reached instead.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a tunnel"),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "for documentation",
    ),
];
const GIVEN_OUT_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// NAT64: the last 32 bits are the IPv4 address that is reached.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Why an address is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("is not an http or https URL")]
    NotHttp,
    #[error("holds a name or password")]
    UserInfo,
    #[error("must begin with https: plain http goes only where the operator allows it")]
    NotSecure,
    #[error("leads to {address}, which is {kind}: the operator has to allow it")]
    Private { address: IpAddr, kind: &'static str },
}

/// What the operator has opened beyond the public internet. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Vec<Allowed>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    network: IpAddr,
    bits: u8,
    /// Only this port, and only where it is written with the address itself.
    port: Option<u16>,
}

/// A list that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address range such as 10.0.0.0/8, fd00::/8, 127.0.0.1 or 127.0.0.1:7118; several are parted by commas"
)]
pub struct BadRange(String);

impl Addresses {
    /// The same and one socket more.
    #[must_use]
    pub fn and(mut self, at: std::net::SocketAddr) -> Self {
        let network = at.ip().to_canonical();
        self.0.push(Allowed {
            network,
            bits: width(network),
            port: Some(at.port()),
        });
        self
    }

    /// Whether a connection to this address may be opened for a name. `secure`: TLS is spoken there.
    ///
    /// # Errors
    /// `Private`, `NotSecure`.
    pub fn check(&self, address: IpAddr, secure: bool) -> Result<(), AddressError> {
        self.check_at(address, None, secure)
    }

    fn check_at(
        &self,
        address: IpAddr,
        port: Option<u16>,
        secure: bool,
    ) -> Result<(), AddressError> {
        let address = address.to_canonical();
        if self.0.iter().any(|allowed| allowed.covers(address, port)) {
            return Ok(());
        }
        match kind(address) {
            Some(kind) => Err(AddressError::Private { address, kind }),
            None if secure => Ok(()),
            None => Err(AddressError::NotSecure),
        }
    }

    /// What can be said of a URL without asking for the addresses of its name.
    ///
    /// # Errors
    /// Why it will not be asked.
    pub fn check_url(&self, url: &Url) -> Result<(), AddressError> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(AddressError::NotHttp),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::UserInfo);
        }
        let port = url.port_or_known_default();
        let host = url.host_str().ok_or(AddressError::NotHttp)?;
        match literal(host) {
            Some(address) => self.check_at(address, port, secure),
            // Plain http is for what the operator opened, so with no range open no name can be right.
            None if !secure && !self.opens_names() => Err(AddressError::NotSecure),
            None => Ok(()),
        }
    }

    /// Whether a name can lead to something that is open.
    fn opens_names(&self) -> bool {
        self.0.iter().any(|allowed| allowed.port.is_none())
    }
}

impl Allowed {
    fn covers(&self, address: IpAddr, port: Option<u16>) -> bool {
        let fits = self.port.is_none() || self.port == port;
        fits && is_within(address, self.network, self.bits)
    }
}

impl FromStr for Addresses {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts
            .map(|part| Allowed::parse(part).ok_or_else(|| BadRange(part.into())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(at) = text.parse::<std::net::SocketAddr>() {
            let network = at.ip().to_canonical();
            return Some(Self {
                network,
                bits: width(network),
                port: Some(at.port()),
            });
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().ok()?;
        let bits = bits.unwrap_or(width(network));
        (bits <= width(network)).then_some(Self {
            network,
            bits,
            port: None,
        })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, allowed) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}/{}", allowed.network, allowed.bits)?;
            if let Some(port) = allowed.port {
                write!(f, " port {port}")?;
            }
        }
        Ok(())
    }
}

/// The address that a URL's host is, if it is no name. The URL's parser has brought all ways of writing it to one.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Why an address is not on the public internet; `None` if it is. Canonical, which is to say: no IPv4 address in IPv6's clothes.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) if is_within(address.into(), NAT64.0.into(), NAT64.1) => {
            let [.., a, b, c, d] = address.octets();
            kind_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address)
            if !is_within(address.into(), GIVEN_OUT_V6.0.into(), GIVEN_OUT_V6.1) =>
        {
            Some("not public")
        }
        IpAddr::V6(address) => PRIVATE_V6
            .iter()
            .find(|(network, bits, _)| is_within(address.into(), (*network).into(), *bits))
            .map(|(.., kind)| *kind),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    PRIVATE_V4
        .iter()
        .find(|(network, bits, _)| is_within(address.into(), (*network).into(), *bits))
        .map(|(.., kind)| *kind)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(allowed: &str, url: &str) -> Result<(), AddressError> {
        let addresses: Addresses = allowed.parse().unwrap();
        addresses.check_url(&url.parse().unwrap())
    }

    #[test]
    fn nothing_inside_is_asked_however_it_is_written() {
        let inside = [
            "127.0.0.1",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0177.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[2002:7f00:1::]",
            "[100::1]",
        ];
        for host in inside {
            let found = checked("", &format!("https://{host}/x"));
            assert!(
                matches!(found, Err(AddressError::Private { .. })),
                "{host}: {found:?}"
            );
        }
        for host in [
            "8.8.8.8",
            "172.32.0.1",
            "[2606:4700::1111]",
            "[64:ff9b::8.8.8.8]",
        ] {
            assert_eq!(checked("", &format!("https://{host}/x")), Ok(()), "{host}");
        }
    }

    #[test]
    fn the_operator_opens_ranges_and_single_ports() {
        let cases = [
            ("127.0.0.0/8", "http://127.0.0.1:1/", true),
            ("127.0.0.0/8", "http://[::ffff:127.0.0.1]:1/", true),
            ("127.0.0.0/8", "https://10.0.0.1/", false),
            ("127.0.0.1:7118", "http://127.0.0.1:7118/slack", true),
            ("127.0.0.1:7118", "http://127.0.0.1:7119/", false),
            ("127.0.0.1:443", "https://127.0.0.1/", true),
            ("[::1]:80", "http://[::1]/", true),
            ("10.0.0.0/8, fd00::/8", "https://[fd00::5]/", true),
            ("", "http://8.8.8.8/", false),
            ("8.8.8.8", "http://8.8.8.8/", true),
            // A name's addresses are not known yet; with a range open it may lead there.
            ("10.0.0.0/8", "http://erp.internal/", true),
            ("127.0.0.1:7118", "http://erp.internal/", false),
            ("", "http://erp.internal/", false),
            ("", "https://api.example.com/", true),
            ("", "https://user:word@api.example.com/", false),
            ("0.0.0.0/0", "ftp://10.0.0.1/", false),
        ];
        for (allowed, url, good) in cases {
            let found = checked(allowed, url);
            assert_eq!(found.is_ok(), good, "{allowed}: {url}: {found:?}");
        }
    }

    #[test]
    fn what_a_name_leads_to_is_held_to_ranges_alone() {
        let addresses: Addresses = "10.0.0.0/8,127.0.0.1:7118".parse().unwrap();
        let at = |text: &str, secure| addresses.check(text.parse().unwrap(), secure).is_ok();
        assert!(at("10.9.9.9", false) && at("10.9.9.9", true));
        assert!(at("8.8.8.8", true) && !at("8.8.8.8", false));
        assert!(!at("127.0.0.1", true) && !at("127.0.0.1", false));
    }

    #[test]
    fn a_wrong_list_is_named() {
        for text in [
            "localhost",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/8;::1",
            "::/129",
        ] {
            let error = Addresses::from_str(text).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(Addresses::from_str(" ").unwrap(), Addresses::default());
    }
}
