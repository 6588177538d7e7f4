//! What became of an event, from what its routing gave. Pure.

use crate::{
    actors::router::Routed,
    domain::{EmployeeId, ExecutionId},
    persistence::InboxVerdict,
};
use serde::{Deserialize, Serialize};

/// Runs of one event that are kept; no event of a sane org starts as many.
const TRIGGERED_MAX: usize = 1_000;

/// A run that an event started or resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Triggered {
    pub execution_id: ExecutionId,
    /// Absent for a run that waited for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee_id: Option<EmployeeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<String>,
    /// The how many-th replay it was; 0: the event itself.
    #[serde(default)]
    pub replay: i64,
}

/// How one try to give an event ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Settled {
        verdict: InboxVerdict,
        detail: Option<String>,
    },
    /// Somebody could not take it for the moment.
    Later(String),
}

pub fn outcome(routed: &Routed) -> Outcome {
    let later: Vec<&str> = routed
        .refused
        .iter()
        .filter(|refused| refused.transient)
        .map(|refused| refused.reason.as_str())
        .collect();
    if !later.is_empty() {
        return Outcome::Later(later.join("; "));
    }
    let reasons: Vec<String> = routed
        .refused
        .iter()
        .map(|refused| format!("{}: {}", refused.employee, refused.reason))
        .collect();
    let refused = (!reasons.is_empty()).then(|| reasons.join("; "));
    let (verdict, detail) = if !routed.started.is_empty() || !routed.resumed.is_empty() {
        (InboxVerdict::Accepted, refused)
    } else if refused.is_some() {
        (InboxVerdict::Refused, refused)
    } else if routed.passed_over > 0 {
        let detail = match routed.passed_over {
            1 => "1 subscription to its source did not want it".to_owned(),
            many => format!("{many} subscriptions to its source did not want it"),
        };
        (InboxVerdict::Filtered, Some(detail))
    } else {
        (InboxVerdict::NoSubscription, None)
    };
    Outcome::Settled { verdict, detail }
}

/// All that an event triggered: what is known of earlier times, and what is new. A try that is repeated finds the same runs.
pub fn triggered(known: &str, routed: &Routed, replay: i64) -> Vec<Triggered> {
    let mut all: Vec<Triggered> = serde_json::from_str(known).unwrap_or_default();
    let started = routed.started.iter().map(|started| Triggered {
        execution_id: started.accepted.execution,
        employee_id: Some(started.employee),
        skill: started.skill.clone(),
        replay,
    });
    let resumed = routed.resumed.iter().map(|execution| Triggered {
        execution_id: *execution,
        employee_id: None,
        skill: None,
        replay,
    });
    for one in started.chain(resumed) {
        let is_known = |known: &Triggered| {
            known.execution_id == one.execution_id && known.employee_id == one.employee_id
        };
        if all.len() < TRIGGERED_MAX && !all.iter().any(is_known) {
            all.push(one);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::{
        employee::Accepted,
        router::{Refused, Started},
    };
    use uuid::Uuid;

    fn started(n: u128) -> Started {
        Started {
            employee: EmployeeId::from_uuid(Uuid::from_u128(1)),
            skill: None,
            accepted: Accepted {
                execution: ExecutionId::from_uuid(Uuid::from_u128(n)),
                duplicate: false,
                beginning: None,
            },
        }
    }
    fn refused(transient: bool) -> Refused {
        Refused {
            employee: EmployeeId::from_uuid(Uuid::from_u128(2)),
            reason: "busy".into(),
            transient,
        }
    }

    #[test]
    fn one_verdict_for_what_all_did() {
        let of = |change: fn(&mut Routed)| {
            let mut routed = Routed::default();
            change(&mut routed);
            match outcome(&routed) {
                Outcome::Settled { verdict, .. } => Some(verdict),
                Outcome::Later(_) => None,
            }
        };
        assert_eq!(of(|_| {}), Some(InboxVerdict::NoSubscription));
        assert_eq!(of(|r| r.passed_over = 2), Some(InboxVerdict::Filtered));
        assert_eq!(
            of(|r| r.refused.push(refused(false))),
            Some(InboxVerdict::Refused)
        );
        assert_eq!(
            of(|r| r.started.push(started(1))),
            Some(InboxVerdict::Accepted)
        );
        assert_eq!(
            of(|r| {
                r.started.push(started(1));
                r.refused.push(refused(false));
            }),
            Some(InboxVerdict::Accepted)
        );
        assert_eq!(
            of(|r| {
                r.started.push(started(1));
                r.refused.push(refused(true));
            }),
            None,
            "it is given again to whoever could not take it"
        );
    }

    #[test]
    fn runs_are_kept_once() {
        let mut routed = Routed::default();
        routed.started.push(started(1));
        let first = triggered("[]", &routed, 0);
        let text = serde_json::to_string(&first).expect("json");
        assert_eq!(triggered(&text, &routed, 0), first);
        routed.started.push(started(2));
        assert_eq!(triggered(&text, &routed, 1).len(), 2);
    }
}
