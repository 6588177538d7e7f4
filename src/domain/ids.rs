//! Typed identifiers. Inside they are 16 bytes (a UUID); outside `prefix_` and 26 characters of lower-case Crockford base32,
//! the form known as TypeID, so that an id in a log says what it names and two kinds can never be mixed up.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected `{expected}`")]
pub struct IdError {
    /// The shape that would have been right, for example `emp_` followed by 26 characters.
    pub expected: &'static str,
}

/// Encodes 128 bits as 26 characters of base32; the first character carries the top three bits.
fn encode(value: u128) -> String {
    let mut text = [0u8; 26];
    for (place, slot) in text.iter_mut().enumerate() {
        let shift = 125 - 5 * place as u32;
        *slot = ALPHABET[((value >> shift) & 31) as usize];
    }
    text.iter().map(|byte| *byte as char).collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != 26 || !matches!(text.as_bytes()[0], b'0'..=b'7') {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some((value << 5) | digit as u128)
    })
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;
            pub const fn from_uuid(id: Uuid) -> Self { Self(id) }
            pub const fn uuid(self) -> Uuid { self.0 }
            /// The 26 characters without the prefix.
            pub fn suffix(self) -> String { encode(self.0.as_u128()) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0.as_u128()))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|value| Self(Uuid::from_u128(value)))
                    .ok_or(IdError { expected: concat!($prefix, "_ and 26 characters") })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(/// A tenant.
    OrgId, "org");
typed_id!(/// A digital employee.
    EmployeeId, "emp");
typed_id!(/// An authorised account at an integration.
    ConnectionId, "conn");
typed_id!(/// A question to a person.
    ApprovalId, "apr");
typed_id!(/// One write to the outside, as the ledger knows it.
    EffectId, "eff");
typed_id!(/// A recurring trigger.
    ScheduleId, "sched");
typed_id!(/// An endpoint that takes signed webhooks.
    HookId, "hook");
typed_id!(/// An event of the outside, in the inbox.
    InboxId, "inb");
typed_id!(/// Something outside that is asked for news now and then.
    SourceId, "src");
typed_id!(/// An API key.
    KeyId, "key");
typed_id!(/// A rule of an org about what may be called.
    PolicyId, "pol");
typed_id!(/// A one-time link by which a person connects an account.
    LinkId, "link");
typed_id!(/// What an org registered at a provider of OAuth.
    OauthClientId, "oac");

/// One execution of an employee's graph: a UUID v7, shown as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(Uuid);

impl ExecutionId {
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}
impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl FromStr for ExecutionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::from_str(text)
            .map(Self)
            .map_err(|_| IdError { expected: "a UUID" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_id() {
        for value in [0, 1, u128::MAX, 0x0192_f0c4_7b1e_7abc_8def_0123_4567_89ab] {
            let id = EmployeeId::from_uuid(Uuid::from_u128(value));
            assert_eq!(id.to_string().parse::<EmployeeId>(), Ok(id));
        }
    }

    #[test]
    fn another_kind_and_overflow_are_refused() {
        let org = OrgId::from_uuid(Uuid::from_u128(7)).to_string();
        assert!(org.parse::<EmployeeId>().is_err());
        assert!(
            "emp_80000000000000000000000000"
                .parse::<EmployeeId>()
                .is_err()
        );
        assert!("emp_".parse::<EmployeeId>().is_err());
    }
}
