//! How providers tell what is left.

use super::{
    Quota,
    window::{Reading, Shape, whole_seconds},
};
use crate::domain::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderStyle {
    /// Nothing until it is too much; then `Retry-After`, like all of them.
    Slack,
    /// `X-RateLimit-*`, the reset in seconds since 1970.
    Github,
    /// `X-HubSpot-RateLimit-*`, the interval in milliseconds, no reset.
    Hubspot,
    /// `RateLimit-*` of the IETF's drafts, the reset in seconds from now: the three plain fields and the structured pair.
    Ietf,
    None,
}

impl HeaderStyle {
    pub const ALL: [(&'static str, HeaderStyle); 5] = [
        ("slack", HeaderStyle::Slack),
        ("github", HeaderStyle::Github),
        ("hubspot", HeaderStyle::Hubspot),
        ("ietf", HeaderStyle::Ietf),
        ("none", HeaderStyle::None),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, style)| *style == self)
            .map_or("", |(name, _)| name)
    }

    /// The window that goes with it.
    pub fn window(self) -> Shape {
        match self {
            Self::Slack | Self::Hubspot => Shape::Sliding,
            Self::Github | Self::Ietf | Self::None => Shape::Fixed,
        }
    }

    pub fn headers(
        self,
        quota: &Quota,
        reading: &Reading,
        at: Timestamp,
    ) -> Vec<(&'static str, String)> {
        let (limit, seconds) = (quota.requests, quota.per_seconds);
        let left = reading.remaining;
        match self {
            Self::Slack | Self::None => Vec::new(),
            Self::Github => {
                let reset = whole_seconds(reading.reset_at.since(Timestamp::default()));
                vec![
                    ("x-ratelimit-limit", limit.to_string()),
                    ("x-ratelimit-remaining", left.to_string()),
                    ("x-ratelimit-used", (limit - left.min(limit)).to_string()),
                    ("x-ratelimit-reset", reset.to_string()),
                    ("x-ratelimit-resource", "core".into()),
                ]
            }
            Self::Hubspot => vec![
                ("x-hubspot-ratelimit-max", limit.to_string()),
                ("x-hubspot-ratelimit-remaining", left.to_string()),
                (
                    "x-hubspot-ratelimit-interval-milliseconds",
                    (seconds * 1_000).to_string(),
                ),
            ],
            Self::Ietf => {
                let reset = whole_seconds(reading.reset_at.since(at));
                vec![
                    ("ratelimit-limit", limit.to_string()),
                    ("ratelimit-remaining", left.to_string()),
                    ("ratelimit-reset", reset.to_string()),
                    (
                        "ratelimit-policy",
                        format!("\"default\";q={limit};w={seconds}"),
                    ),
                    ("ratelimit", format!("\"default\";r={left};t={reset}")),
                ]
            }
        }
    }
}
