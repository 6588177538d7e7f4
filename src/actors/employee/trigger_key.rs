//! Under which name the same trigger is never accepted twice.

use crate::{
    actors::clock::Clock,
    domain::{ContentHash, ExecutionId, OrgId},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// How the keys begin that this service makes for triggers whose senders gave none.
const OWN: &str = "trg_";

/// Who made a key, which says what may be known under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// Whoever sends the trigger: it may have been accepted before.
    Sender,
    /// The node that hands it to the employee, a moment ago: nobody else has it.
    ThisNode,
    /// Another node, for its way here: it may have been accepted only if this is a second sending, after a lost answer.
    OtherNode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerKey {
    /// Whose keys these are: the same key of another source is another key.
    pub source: String,
    pub key: String,
    /// Hash of the payload, where a repetition with another one is a mistake of the sender. What systems report under a name of their own
    /// has none: they may say more of one event the second time.
    pub payload: Option<ContentHash>,
    pub origin: KeyOrigin,
}

impl TriggerKey {
    /// One that whoever sends the trigger has given.
    pub fn given(source: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            key: key.into(),
            payload: None,
            origin: KeyOrigin::Sender,
        }
    }

    /// One made here for a trigger whose sender gave none.
    pub fn made(source: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            origin: KeyOrigin::ThisNode,
            ..Self::given(source, key)
        }
    }

    #[must_use]
    pub fn for_payload(self, payload: &serde_json::Value) -> Self {
        Self {
            payload: Some(ContentHash::of_json(payload)),
            ..self
        }
    }

    /// Whether the trigger may have been accepted before.
    pub fn may_be_known(&self) -> bool {
        self.origin != KeyOrigin::ThisNode
    }

    /// Whether a run may begin under it before its acceptance is durable: it is new as far as anybody can tell, and is taken back if not.
    pub fn starts_at_once(&self) -> bool {
        self.origin != KeyOrigin::Sender
    }

    /// The run that a key of our own making stands for: the key is its name, so that it needs no row of its own. Derived with the org and the
    /// source, so that nobody can name a run of others.
    pub fn run(&self, org: OrgId) -> Option<ExecutionId> {
        let made: Uuid = self.key.strip_prefix(OWN)?.parse().ok()?;
        let (seconds, nanos) = made.get_timestamp()?.to_unix();
        let millis = seconds * 1_000 + u64::from(nanos / 1_000_000);
        let mut hash = Sha256::new();
        hash.update(org.uuid().as_bytes());
        for part in [&self.source, &self.key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let random: [u8; 10] = std::array::from_fn(|place| digest[place]);
        // Of the time of the key, so that runs stay in the order of their acceptance.
        let run = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Some(ExecutionId::from_uuid(run))
    }
}

/// A key for a trigger whose sender gave none.
pub fn new_key(clock: &Clock) -> String {
    format!("{OWN}{}", clock.uuid().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(n: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn own_keys_name_one_run_of_one_org_and_source() {
        let clock = Clock::system();
        let key = new_key(&clock);
        let run = |org, source: &str| TriggerKey::given(source, &key).run(org).expect("a run");
        assert_eq!(run(org(1), "a"), run(org(1), "a"));
        assert_ne!(run(org(1), "a"), run(org(2), "a"));
        assert_ne!(run(org(1), "a"), run(org(1), "b"));
        let later = TriggerKey::given("a", new_key(&clock)).run(org(1));
        assert_ne!(later, Some(run(org(1), "a")));
        assert_eq!(run(org(1), "a").uuid().get_version_num(), 7);
        let millis = |uuid: Uuid| uuid.get_timestamp().expect("a time").to_unix();
        let made: Uuid = key["trg_".len()..].parse().expect("a uuid");
        assert_eq!(millis(run(org(1), "a").uuid()).0, millis(made).0);
    }

    #[test]
    fn keys_of_others_name_no_run() {
        for key in [
            "order-77",
            "trg_",
            "trg_x",
            "trg_00000000000000000000000000000000",
            "",
        ] {
            assert_eq!(TriggerKey::given("a", key).run(org(1)), None, "{key}");
        }
        let random = format!("trg_{}", Uuid::new_v4().simple());
        assert_eq!(TriggerKey::given("a", random).run(org(1)), None);
    }
}
