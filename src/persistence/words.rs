//! How the domain's types stand in columns: ids as 16 bytes, times as microseconds, hashes as 32 bytes, words as text or small numbers.

use crate::domain::{
    ApprovalId, ConnectionId, ContentHash, EffectId, EmployeeId, ExecutionId, HookId, InboxId,
    KeyId, LinkId, MemoryLayer, Misfire, OauthClientId, OrgId, Overlap, PolicyId, Role, ScheduleId,
    SourceId, Timestamp, TriggerType,
};
use uuid::Uuid;

/// Lets `$type` stand in a column of the type `$column`.
macro_rules! column_type {
    ($type:ty => $column:ty, |$out:ident| $to:expr, |$in:ident| $from:expr) => {
        impl<DB: sqlx::Database> sqlx::Type<DB> for $type
        where
            $column: sqlx::Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <$column as sqlx::Type<DB>>::type_info()
            }
            fn compatible(ty: &DB::TypeInfo) -> bool {
                <$column as sqlx::Type<DB>>::compatible(ty)
            }
        }
        impl<'q, DB: sqlx::Database> sqlx::Encode<'q, DB> for $type
        where
            $column: sqlx::Encode<'q, DB>,
        {
            fn encode_by_ref(
                &self,
                buffer: &mut <DB as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                let $out = self;
                <$column as sqlx::Encode<'q, DB>>::encode($to, buffer)
            }
        }
        impl<'r, DB: sqlx::Database> sqlx::Decode<'r, DB> for $type
        where
            $column: sqlx::Decode<'r, DB>,
        {
            fn decode(
                value: <DB as sqlx::Database>::ValueRef<'r>,
            ) -> Result<Self, sqlx::error::BoxDynError> {
                let $in = <$column as sqlx::Decode<'r, DB>>::decode(value)?;
                $from
            }
        }
    };
}
pub(super) use column_type;

macro_rules! id_columns {
    ($($type:ty),*) => { $(column_type!($type => Uuid, |id| id.uuid(), |id| Ok(<$type>::from_uuid(id)));)* };
}
id_columns!(
    OrgId,
    EmployeeId,
    ConnectionId,
    ApprovalId,
    EffectId,
    ScheduleId,
    HookId,
    InboxId,
    SourceId,
    KeyId,
    LinkId,
    OauthClientId,
    PolicyId,
    ExecutionId
);

column_type!(Timestamp => i64, |time| time.micros(), |micros| Ok(Timestamp::from_micros(micros)));
column_type!(ContentHash => Vec<u8>, |hash| hash.bytes().to_vec(), |bytes| {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| "a content hash is 32 bytes")?;
    Ok(ContentHash::from_bytes(bytes))
});
column_type!(Role => String, |role| role.name().to_owned(), |text| Role::parse(&text).ok_or_else(|| format!("unknown role `{text}`").into()));
column_type!(MemoryLayer => String, |layer| layer.name().to_owned(), |text| {
    MemoryLayer::parse(&text).ok_or_else(|| format!("unknown memory layer `{text}`").into())
});
column_type!(TriggerType => i16, |kind| trigger_number(*kind), |number| {
    TRIGGER_TYPES.into_iter().find(|kind| trigger_number(*kind) == number).ok_or_else(|| format!("unknown trigger type {number}").into())
});
column_type!(Overlap => String, |overlap| match overlap { Overlap::Skip => "skip", Overlap::Enqueue => "enqueue" }.to_owned(), |text| {
    match text.as_str() {
        "skip" => Ok(Overlap::Skip),
        "enqueue" => Ok(Overlap::Enqueue),
        _ => Err(format!("unknown overlap `{text}`").into()),
    }
});
column_type!(Misfire => String, |misfire| match misfire { Misfire::RunOnce => "run_once", Misfire::Skip => "skip" }.to_owned(), |text| {
    match text.as_str() {
        "run_once" => Ok(Misfire::RunOnce),
        "skip" => Ok(Misfire::Skip),
        _ => Err(format!("unknown misfire `{text}`").into()),
    }
});

const TRIGGER_TYPES: [TriggerType; 4] = [
    TriggerType::DirectCommand,
    TriggerType::Schedule,
    TriggerType::ExternalEvent,
    TriggerType::InternalEvent,
];

/// The number of a trigger type in the `run` table; never reuse one.
pub(super) fn trigger_number(kind: TriggerType) -> i16 {
    match kind {
        TriggerType::DirectCommand => 0,
        TriggerType::Schedule => 1,
        TriggerType::ExternalEvent => 2,
        TriggerType::InternalEvent => 3,
    }
}

/// An enum whose variants are words, in a text column and in JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),* }
        impl $name {
            pub const ALL: &'static [$name] = &[$(Self::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.name() == text)
            }
        }
        $crate::persistence::words::column_type!($name => String, |word| word.name().to_owned(), |text| {
            $name::parse(&text).ok_or_else(|| format!(concat!("unknown ", stringify!($name), " `{}`"), text).into())
        });
    };
}
pub(super) use words;
