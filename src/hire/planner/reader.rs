//! The walk over the clauses: which flow each belongs to, and what it adds.

use super::forbidden::Prohibition;
use crate::hire::{
    NotUnderstood, Understood,
    clause::Clause,
    condition,
    fill::fill,
    flow::{Flow, Placed, Start},
    limits::{self, Doubt},
    matching::{Found, Matcher, Refusal},
    naming,
    schedule::{self, Reading, When},
    template::Template,
    words::Sense,
};
use std::collections::BTreeSet;

/// The verb of what is only kept in mind.
const REMEMBER: &str = "remember";

/// All that was read.
pub struct Read<'t> {
    pub flows: Vec<Flow<'t>>,
    pub understood: Vec<Understood>,
    pub not_understood: Vec<NotUnderstood>,
}

pub struct Reader<'t, 's> {
    matcher: Matcher<'t>,
    source: &'s str,
    prohibitions: Vec<Prohibition>,
    flows: Vec<Flow<'t>>,
    /// The flow that a clause without an occasion of its own goes on with.
    command: Option<usize>,
    /// The event flow of the sentence at hand.
    event: Option<usize>,
    /// A time that was said before what is to be done.
    waiting: Vec<(When, String)>,
    /// The clause before says what is not to be done.
    forbidding: bool,
    used: BTreeSet<String>,
    /// What may narrow, and where its reason stands in `read.not_understood`.
    doubts: Vec<(Doubt, usize)>,
    read: Read<'t>,
}

impl<'t, 's> Reader<'t, 's> {
    pub fn new(matcher: Matcher<'t>, source: &'s str, clauses: &[Clause]) -> Self {
        let prohibitions = prohibitions(&matcher, source, clauses);
        let read = Read {
            flows: Vec::new(),
            understood: Vec::new(),
            not_understood: Vec::new(),
        };
        let (flows, waiting, used) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self {
            matcher,
            source,
            prohibitions,
            flows,
            command: None,
            event: None,
            waiting,
            forbidding: false,
            used,
            doubts: Vec::new(),
            read,
        }
    }

    /// `question` is asked where limits are not understood.
    pub fn read(mut self, clauses: &[Clause], question: &'t Template) -> Read<'t> {
        for clause in clauses {
            self.clause(clause);
        }
        for (_, text) in std::mem::take(&mut self.waiting) {
            self.lost(&text, "says when, but not what is to be done");
        }
        self.guard(question);
        self.read.flows = self
            .flows
            .into_iter()
            .filter(|flow| !flow.skills.is_empty())
            .collect();
        self.read
    }

    /// Puts a question before what may be narrower than it was understood, and says so.
    fn guard(&mut self, question: &'t Template) {
        let (doubts, places): (Vec<Doubt>, Vec<usize>) =
            std::mem::take(&mut self.doubts).into_iter().unzip();
        let mut flows = std::mem::take(&mut self.flows);
        let held = limits::guard(&mut flows, &doubts, question, |base| {
            self.unique(base, |base, number| format!("{base}_{number}"))
        });
        self.flows = flows;
        for (place, titles) in places.into_iter().zip(held) {
            if !titles.is_empty() {
                self.read.not_understood[place].reason.push_str(&format!(
                    "; a person is asked about it before “{}”",
                    titles.join("” and “")
                ));
            }
        }
    }

    /// Reports a clause that may narrow what is done elsewhere.
    fn lost_limit(&mut self, clause: &Clause, reason: &str) {
        let parsed = self
            .matcher
            .parse(self.source, clause, &schedule::read(&clause.tokens));
        let flow = self.event.or(self.command);
        let doubt = Doubt::of_clause(clause, &parsed, self.matcher.templates, flow);
        let place = self.read.not_understood.len();
        self.doubts.extend(doubt.map(|doubt| (doubt, place)));
        self.lost(&clause.text, reason);
    }

    fn clause(&mut self, clause: &Clause) {
        if naming::only_names(clause) {
            // "# Except Foo AG" is more than a name.
            if clause.heading && limits::exempts(&clause.tokens) {
                self.lost_limit(clause, "is a heading");
            }
            return;
        }
        if !clause.joined {
            self.event = None;
        }
        if clause.joined && self.forbidding {
            self.lost_limit(clause, "may be part of what is not to be done");
            self.question_lost(clause);
            return;
        }
        if self
            .event
            .is_some_and(|flow| self.flows[flow].start == Start::Lost)
        {
            return self.lost(
                &clause.text,
                "belongs to an occasion that was not understood",
            );
        }
        let reading = schedule::read(&clause.tokens);
        let parsed = self.matcher.parse(self.source, clause, &reading);
        let provided = self.provided(clause, &reading);
        let result = self.matcher.find(clause, &parsed, &provided);
        self.forbidding = matches!(result, Err(Refusal::Prohibition));
        match result {
            Ok(found) => self.found(clause, &reading, found),
            Err(Refusal::Empty) => self.time_alone(clause, reading),
            Err(Refusal::Prohibition) => self.prohibited(clause),
            Err(Refusal::Reason(reason)) => self.refused(clause, &reading, reason),
        }
    }

    /// What the clause's flow has so far.
    fn provided(&self, clause: &Clause, reading: &Reading) -> BTreeSet<String> {
        let flow = if clause.event || reading.problem.is_some() {
            None
        } else {
            self.event.or_else(|| self.flow_at(reading))
        };
        let alone = flow.or_else(|| self.command.filter(|_| !clause.event));
        alone
            .and_then(|flow| self.flows.get(flow))
            .map(Flow::provided)
            .unwrap_or_default()
    }

    /// The flow on command that has the clause's time, or the one at hand if the clause has none.
    fn flow_at(&self, reading: &Reading) -> Option<usize> {
        match &reading.found {
            None => self.command,
            Some(when) => self.flows.iter().position(|flow| {
                flow.start == Start::Command
                    && flow.schedules.iter().any(|(known, _)| known == when)
            }),
        }
    }

    fn found(&mut self, clause: &Clause, reading: &Reading, found: Found<'t>) {
        let flow = self.flow_of(clause, reading, &found);
        if let Some(reason) = self.flows[flow].lacks(found.template) {
            return self.lost(&clause.text, &reason);
        }
        let asked = self.flows[flow].asks().is_some();
        let forbidden = self
            .prohibitions
            .iter()
            .find(|prohibition| prohibition.forbids(&found, asked));
        let reason = forbidden
            .map(|prohibition| format!("“{}” forbids it", prohibition.text))
            .or_else(|| self.flows[flow].refuses(found.template));
        if let Some(reason) = reason {
            self.lost(&clause.text, &reason);
            if found.template.asks {
                self.flows[flow].blocked = Some(clause.text.clone());
            }
            return;
        }
        if let Some(problem) = &reading.problem {
            self.lost(
                &clause.text,
                &format!("{problem}; it is done on command only"),
            );
        }
        if let Some((words, reason)) = found.rest.clone() {
            let place = self.read.not_understood.len();
            let doubt = Doubt::of_rest(&words, flow);
            self.doubts.extend(doubt.map(|doubt| (doubt, place)));
            self.lost(&words, &reason);
        }
        if found.template.act == REMEMBER
            && let Some(doubt) = Doubt::of_note(clause)
        {
            self.doubts.push((doubt, self.read.not_understood.len()));
            self.lost(&clause.text, "is remembered, and no skill keeps to it");
        }
        self.place(clause, flow, found);
    }

    /// The flow that a skill goes into. A time or an event of its own begins a new one, unless it works on what the flow at hand gives.
    fn flow_of(&mut self, clause: &Clause, reading: &Reading, found: &Found<'t>) -> usize {
        if let Some(subscription) = found
            .template
            .subscription
            .as_ref()
            .filter(|_| clause.event)
        {
            self.flows
                .push(Flow::new(Start::Event(fill(subscription, &found.fillings))));
            self.event = Some(self.flows.len() - 1);
            return self.flows.len() - 1;
        }
        if let Some(event) = self.event {
            return event;
        }
        let own = reading
            .found
            .clone()
            .map(|when| (when, clause.text.clone()));
        let times: Vec<_> = std::mem::take(&mut self.waiting)
            .into_iter()
            .chain(own)
            .collect();
        let flow = self.flow_for(
            &times,
            reading.problem.is_some(),
            !found.template.uses.is_empty(),
        );
        for (when, text) in times {
            if !self.flows[flow]
                .schedules
                .iter()
                .any(|(known, _)| *known == when)
            {
                self.flows[flow].schedules.push((when, text));
            }
        }
        self.command = Some(flow);
        flow
    }

    fn flow_for(&mut self, times: &[(When, String)], unclear: bool, uses: bool) -> usize {
        let same = |flow: &Flow<'_>| {
            flow.start == Start::Command
                && times
                    .iter()
                    .any(|(when, _)| flow.schedules.iter().any(|(known, _)| known == when))
        };
        let fresh = |flow: &Flow<'_>| flow.skills.is_empty() || uses && flow.schedules.is_empty();
        let current = self.command.filter(|flow| {
            if times.is_empty() && !unclear {
                true
            } else {
                fresh(&self.flows[*flow])
            }
        });
        let known = self.flows.iter().position(same);
        known.or(current).unwrap_or_else(|| {
            self.flows.push(Flow::new(Start::Command));
            self.flows.len() - 1
        })
    }

    fn place(&mut self, clause: &Clause, flow: usize, found: Found<'t>) {
        let node = match self.flows[flow].twin(&found) {
            Some(twin) => twin.node.clone(),
            None => {
                let node = self.unique(&found.template.skill, |base, number| {
                    format!("{base}_{number}")
                });
                let graph_id = self
                    .unique(&format!("sg_{}_v1", found.template.id), |base, number| {
                        format!("{base}_{number}")
                    });
                self.flows[flow].skills.push(Placed {
                    node: node.clone(),
                    graph_id,
                    found: found.clone(),
                });
                node
            }
        };
        self.read.understood.push(Understood {
            sentence: clause.text.clone(),
            skill: node,
            parameters: found.said,
        });
    }

    fn unique(&mut self, base: &str, numbered: impl Fn(&str, usize) -> String) -> String {
        let names =
            std::iter::once(base.to_owned()).chain((2..).map(|number| numbered(base, number)));
        let name = names
            .into_iter()
            .find(|name| !self.used.contains(name))
            .unwrap_or_default();
        self.used.insert(name.clone());
        name
    }

    /// "Do this every weekday at nine": for what was said, else for what comes.
    fn time_alone(&mut self, clause: &Clause, reading: Reading) {
        if let Some(problem) = reading.problem {
            return self.lost(&clause.text, &problem);
        }
        let Some(when) = reading.found else { return };
        let back = clause
            .tokens
            .iter()
            .any(|token| token.is_any(&["this", "that", "it", "run", "repeat", "all"]));
        match self
            .command
            .filter(|flow| back && self.flows[*flow].schedules.is_empty())
        {
            Some(flow) => self.flows[flow].schedules.push((when, clause.text.clone())),
            None => self.waiting.push((when, clause.text.clone())),
        }
    }

    fn prohibited(&mut self, clause: &Clause) {
        let asks = self
            .command
            .and_then(|flow| self.flows[flow].asks())
            .map(|placed| placed.node.clone());
        let own = self
            .prohibitions
            .iter()
            .find(|prohibition| prohibition.text == clause.text);
        match (own.filter(|own| own.unless_asked), asks) {
            (Some(_), Some(skill)) => {
                self.read.understood.push(Understood {
                    sentence: clause.text.clone(),
                    skill,
                    parameters: Default::default(),
                });
            }
            _ => {
                let words = self
                    .matcher
                    .words
                    .tag(&clause.tokens)
                    .into_iter()
                    .find(|tag| tag.has(Sense::Negation));
                let words = words
                    .map(|tag| condition::words(&clause.tokens, &tag))
                    .unwrap_or_default();
                self.lost_limit(
                    clause,
                    &condition::reason(condition::Obstacle::Negation, &words),
                );
            }
        }
    }

    fn refused(&mut self, clause: &Clause, reading: &Reading, reason: String) {
        if clause.leave
            && self
                .event
                .or(self.command)
                .is_some_and(|flow| self.flows[flow].asks().is_some())
        {
            // "Once it is approved", after the question: the sequence says it already.
            return;
        }
        self.lost_limit(clause, &reason);
        if clause.event {
            self.flows.push(Flow::new(Start::Lost));
            self.event = Some(self.flows.len() - 1);
        }
        self.question_lost(clause);
        if let (Some(when), false) = (&reading.found, clause.event) {
            self.keep_time(when, clause);
        }
    }

    /// The time of a clause whose work is not understood is also that of the clauses that it is joined with.
    fn keep_time(&mut self, when: &When, clause: &Clause) {
        let fresh = self.flow_for(&[(when.clone(), clause.text.clone())], false, false);
        if self.flows[fresh].schedules.is_empty() {
            self.flows[fresh]
                .schedules
                .push((when.clone(), clause.text.clone()));
        }
        self.command = Some(fresh);
    }

    /// A question to a person that is not understood holds up what comes after it.
    fn question_lost(&mut self, clause: &Clause) {
        let tags = self.matcher.words.tag(&clause.tokens);
        if clause.event || !tags.iter().any(|tag| tag.is("approve")) {
            return;
        }
        let flow = self.event.or(self.command).unwrap_or_else(|| {
            self.flows.push(Flow::new(Start::Command));
            self.flows.len() - 1
        });
        self.command = self.command.or(Some(flow));
        self.flows[flow].blocked = Some(clause.text.clone());
    }

    fn lost(&mut self, sentence: &str, reason: &str) {
        self.read.not_understood.push(NotUnderstood {
            sentence: sentence.to_owned(),
            reason: reason.to_owned(),
        });
    }
}

fn prohibitions(matcher: &Matcher<'_>, source: &str, clauses: &[Clause]) -> Vec<Prohibition> {
    let negated = clauses
        .iter()
        .filter(|clause| !naming::only_names(clause))
        .filter_map(|clause| {
            let parsed = matcher.parse(source, clause, &schedule::read(&clause.tokens));
            let negated = parsed
                .tags
                .iter()
                .any(|tag| tag.has(Sense::Negation) && !tag.is_grouped());
            negated.then(|| Prohibition::of(&clause.text, &parsed, matcher.templates))
        });
    negated.collect()
}
