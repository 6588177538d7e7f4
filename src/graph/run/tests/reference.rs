//! A slow reference interpreter. It shares nothing with the machine but the facts: it works on its own model of a graph, keeps one
//! flat list of visits, finds paths by walking them, and is run again over all facts each time.

use crate::graph::fact::{Decision, Fact, StepId, TimerPurpose};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Condition of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cond {
    Always,
    Even,
    Odd,
    /// Not a boolean.
    Bad,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Work,
    Ask {
        expires: bool,
        on_denied: Option<usize>,
        on_expired: Option<usize>,
    },
    Clock,
    Listen {
        timeout: bool,
        on_timeout: Option<usize>,
    },
    /// `policy`: fail, skip, collect.
    Each {
        items: usize,
        width: usize,
        policy: &'static str,
        attempts: u32,
    },
    Skill(usize),
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub any: bool,
    pub visits: u16,
    /// 1: no retry.
    pub attempts: u32,
    pub timeout: bool,
    pub on_error: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<(usize, usize, Cond)>,
}

/// The employee graph first.
pub type Model = Vec<Graph>;

pub fn name(node: usize) -> String {
    format!("n{node}")
}

#[derive(Clone, Debug, PartialEq)]
enum Life {
    Running,
    Backoff,
    Parked,
    Asking,
    /// A step at work about which a person is asked first: the arguments shown, and whether the question expires.
    Questioned(Value, bool),
    Clocked,
    Listening,
    Items {
        next: usize,
        results: Vec<Option<Result<Value, String>>>,
    },
    Inner,
    Over,
}

#[derive(Clone, Debug)]
struct Visit {
    id: StepId,
    frame: usize,
    node: usize,
    input: Value,
    attempt: u32,
    timed: bool,
    life: Life,
}

struct Frame {
    graph: usize,
    /// The visit of the skill node; `None` for the employee.
    owner: Option<StepId>,
    open: bool,
    begun: Vec<u16>,
    /// Node, edge (`None`: by itself), value.
    arrivals: Vec<(usize, Option<usize>, Value)>,
    ends: BTreeMap<usize, Value>,
}

pub struct Reference<'m> {
    model: &'m Model,
    frames: Vec<Frame>,
    visits: Vec<Visit>,
    /// The result, `failed: code` or `cancelled`.
    pub end: Option<Value>,
}

pub fn interpret<'m>(model: &'m Model, facts: &[Fact]) -> Reference<'m> {
    let mut reference = Reference {
        model,
        frames: Vec::new(),
        visits: Vec::new(),
        end: None,
    };
    for fact in facts {
        if reference.end.is_none() {
            reference.take(fact);
            reference.go_on();
        }
    }
    reference
}

impl Reference<'_> {
    /// What is open, each with its input: the same words as the test makes of the machine.
    pub fn open(&self) -> BTreeSet<String> {
        let mut open = BTreeSet::new();
        for visit in self.visits.iter().filter(|_| self.end.is_none()) {
            let mut timer = |purpose: TimerPurpose| {
                open.insert(format!("timer {purpose:?} {} {}", visit.id, visit.attempt))
            };
            let kind = &self.node(visit).kind;
            match (&visit.life, kind) {
                (Life::Backoff, _) => timer(TimerPurpose::Retry),
                (Life::Clocked, _) => timer(TimerPurpose::Wait),
                (Life::Listening, Kind::Listen { timeout: true, .. }) => timer(TimerPurpose::Wait),
                (Life::Asking, Kind::Ask { expires: true, .. })
                | (Life::Questioned(_, true), _) => timer(TimerPurpose::Expiry),
                _ => false,
            };
            if visit.timed && visit.life != Life::Over {
                timer(TimerPurpose::Timeout);
            }
            let word = match visit.life {
                Life::Running => format!("run {} {}", visit.id, visit.attempt),
                Life::Parked => format!("parked {}", visit.id),
                Life::Asking | Life::Questioned(..) => format!("ask {}", visit.id),
                Life::Listening => format!("listen {}", visit.id),
                _ => continue,
            };
            open.insert(format!("{word} {}", visit.input));
        }
        open
    }

    fn node(&self, visit: &Visit) -> &Node {
        &self.model[self.frames[visit.frame].graph].nodes[visit.node]
    }

    fn find(&self, id: StepId) -> Option<usize> {
        self.visits.iter().position(|visit| visit.id == id)
    }

    fn in_life(&self, id: StepId, lives: &[Life]) -> Option<usize> {
        self.find(id)
            .filter(|at| lives.contains(&self.visits[*at].life))
    }

    fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::Begun { .. } | Fact::Finished { .. } => {}
            Fact::Accepted { trigger, .. } => self.enter(0, None, (*trigger.payload).clone()),
            Fact::StepCompleted { step, output, .. } => {
                if let Some(at) = self.in_life(*step, &[Life::Running, Life::Parked]) {
                    self.complete(at, (**output).clone());
                }
            }
            Fact::StepFailed {
                step,
                attempt,
                error,
                ..
            } => {
                if let Some(at) = self
                    .in_life(*step, &[Life::Running, Life::Parked])
                    .filter(|at| self.visits[*at].attempt == *attempt)
                {
                    self.fail(at, &error.code, error.retryable, None, json!({}));
                }
            }
            Fact::StepParked { step, .. } => {
                if let Some(at) = self.in_life(*step, &[Life::Running, Life::Parked]) {
                    self.visits[at].life = Life::Parked;
                    self.visits[at].timed = false;
                }
            }
            Fact::StepAsked {
                step,
                arguments,
                expires,
                ..
            } => {
                if let Some(at) = self.in_life(*step, &[Life::Running, Life::Parked]) {
                    self.visits[at].life =
                        Life::Questioned((**arguments).clone(), expires.is_some());
                    self.visits[at].timed = false;
                }
            }
            Fact::StepResumed { step, .. } => {
                if let Some(at) = self.in_life(*step, &[Life::Parked]) {
                    self.visits[at].life = Life::Running;
                }
            }
            Fact::TimerFired { timer, .. } => self.timer(timer.step, timer.attempt, timer.purpose),
            Fact::ApprovalDecided {
                step, decision, by, ..
            } => {
                if let Some(at) = self.find(*step)
                    && let Life::Questioned(arguments, _) = self.visits[at].life.clone()
                {
                    match decision {
                        Decision::Approved => self.visits[at].life = Life::Running,
                        Decision::Denied => {
                            let extra = json!({"decision": "denied", "by": by, "comment": null, "arguments": arguments});
                            self.fail(at, "approval_denied", false, None, extra);
                        }
                    }
                    return;
                }
                let Some(at) = self.in_life(*step, &[Life::Asking]) else {
                    return;
                };
                let arguments = self.visits[at].input.clone();
                match decision {
                    Decision::Approved => {
                        self.complete(at, json!({"decision": "approved", "by": by, "comment": null, "arguments": arguments}));
                    }
                    Decision::Denied => {
                        let Kind::Ask { on_denied, .. } = self.node(&self.visits[at]).kind else {
                            return;
                        };
                        let extra = json!({"decision": "denied", "by": by, "comment": null, "arguments": arguments});
                        self.fail(at, "approval_denied", false, on_denied, extra);
                    }
                }
            }
            Fact::EventArrived {
                step,
                payload,
                source,
                ..
            } => {
                if let Some(at) = self.in_life(*step, &[Life::Listening]) {
                    self.complete(at, json!({"event": &**payload, "source": source}));
                }
            }
            Fact::StopRequested { .. } => self.end = Some(json!("cancelled")),
            Fact::Aborted { error, .. } => {
                self.end = Some(json!(format!("failed: {}", error.code)));
            }
        }
    }

    fn timer(&mut self, id: StepId, attempt: u32, purpose: TimerPurpose) {
        let word = format!("timer {purpose:?} {id} {attempt}");
        let Some(at) = self.find(id).filter(|_| self.open().contains(&word)) else {
            return;
        };
        let kind = self.node(&self.visits[at]).kind.clone();
        match (purpose, kind) {
            (TimerPurpose::Retry, _) => {
                self.visits[at].attempt += 1;
                self.begin(at);
            }
            (TimerPurpose::Timeout, _) => {
                self.close_inside(at);
                self.fail(at, "timeout", true, None, json!({}));
            }
            (TimerPurpose::Expiry, _) if matches!(self.visits[at].life, Life::Questioned(..)) => {
                if let Life::Questioned(arguments, _) = self.visits[at].life.clone() {
                    let extra = json!({"decision": "expired", "arguments": arguments});
                    self.fail(at, "approval_expired", false, None, extra);
                }
            }
            (TimerPurpose::Expiry, Kind::Ask { on_expired, .. }) => {
                let extra = json!({"decision": "expired", "arguments": self.visits[at].input});
                self.fail(at, "approval_expired", false, on_expired, extra);
            }
            (_, Kind::Listen { on_timeout, .. }) => {
                self.fail(at, "wait_timeout", false, on_timeout, json!({}))
            }
            _ => self.complete(at, self.visits[at].input.clone()),
        }
    }

    fn enter(&mut self, graph: usize, owner: Option<StepId>, input: Value) {
        let model = &self.model[graph];
        let is_start = |node: usize| {
            !model.edges.iter().any(|edge| edge.1 == node)
                && !handlers(model).any(|(_, to)| to == node)
        };
        let mut starts: Vec<usize> = (0..model.nodes.len())
            .filter(|node| is_start(*node))
            .collect();
        if starts.is_empty() {
            starts.push(0);
        }
        let arrivals = starts
            .into_iter()
            .map(|node| (node, None, input.clone()))
            .collect();
        self.frames.push(Frame {
            graph,
            owner,
            open: true,
            begun: vec![0; model.nodes.len()],
            arrivals,
            ends: BTreeMap::new(),
        });
    }

    /// Until nothing more can begin or end: inner frames, then the employee.
    fn go_on(&mut self) {
        loop {
            let mut keys: Vec<usize> = (0..self.frames.len())
                .filter(|at| self.frames[*at].open)
                .collect();
            keys.sort_by_key(|at| {
                self.frames[*at]
                    .owner
                    .map_or((u16::MAX, 0), |owner| (owner.skill, owner.skill_visit))
            });
            if self.end.is_some() || !keys.into_iter().any(|frame| self.advance_fully(frame)) {
                return;
            }
        }
    }

    /// All that is ready in a frame starts before a frame inside of it moves on.
    fn advance_fully(&mut self, frame: usize) -> bool {
        let moved = self.advance(frame);
        while self.advance(frame) {}
        moved
    }

    /// One move in a frame.
    fn advance(&mut self, frame: usize) -> bool {
        if self.end.is_some() || !self.frames[frame].open {
            return false;
        }
        let nodes = self.model[self.frames[frame].graph].nodes.len();
        let waiting: Vec<usize> = (0..nodes)
            .filter(|node| self.has_arrivals(frame, *node) && !self.at_work(frame, *node))
            .collect();
        let idle = !(0..nodes).any(|node| self.at_work(frame, node));
        let ready = waiting
            .iter()
            .copied()
            .find(|node| self.may_begin(frame, *node))
            .or(waiting.first().copied().filter(|_| idle));
        match ready {
            Some(node) => self.visit(frame, node),
            None if idle => self.leave(frame),
            None => return false,
        }
        true
    }

    fn has_arrivals(&self, frame: usize, node: usize) -> bool {
        self.frames[frame]
            .arrivals
            .iter()
            .any(|arrival| arrival.0 == node)
    }

    fn at_work(&self, frame: usize, node: usize) -> bool {
        self.visits.iter().any(|visit| {
            visit.frame == frame
                && visit.node == node
                && visit.id.item.is_none()
                && visit.life != Life::Over
        })
    }

    fn may_begin(&self, frame: usize, node: usize) -> bool {
        let state = &self.frames[frame];
        let graph = &self.model[state.graph];
        let arrived = |edge: Option<usize>| {
            state
                .arrivals
                .iter()
                .any(|arrival| arrival.0 == node && arrival.1 == edge)
        };
        if arrived(None) || graph.nodes[node].any {
            return true;
        }
        let open = graph
            .edges
            .iter()
            .enumerate()
            .filter(|(edge, (_, to, _))| *to == node && !arrived(Some(*edge)));
        !open.into_iter().any(|(_, (from, _, _))| {
            (0..graph.nodes.len()).any(|start| {
                start != node
                    && (self.at_work(frame, start) || self.has_arrivals(frame, start))
                    && self.path(frame, start, *from, node, &mut vec![start])
            })
        })
    }

    /// Whether there is a way through nodes with visits left that avoids a node.
    fn path(
        &self,
        frame: usize,
        from: usize,
        to: usize,
        avoiding: usize,
        way: &mut Vec<usize>,
    ) -> bool {
        if from == to {
            return true;
        }
        let state = &self.frames[frame];
        let graph = &self.model[state.graph];
        let edges = graph.edges.iter().map(|edge| (edge.0, edge.1));
        let next: Vec<usize> = edges
            .chain(handlers(graph))
            .filter(|step| step.0 == from)
            .map(|step| step.1)
            .collect();
        next.into_iter().any(|node| {
            if node == avoiding
                || way.contains(&node)
                || state.begun[node] >= graph.nodes[node].visits
            {
                return false;
            }
            way.push(node);
            self.path(frame, node, to, avoiding, way)
        })
    }

    fn visit(&mut self, frame: usize, node: usize) {
        let input = self.consume(frame, node);
        let state = &mut self.frames[frame];
        state.begun[node] += 1;
        state.ends.remove(&node);
        if state.begun[node] == self.model[state.graph].nodes[node].visits {
            state.arrivals.retain(|arrival| arrival.0 != node);
        }
        let begun = state.begun[node];
        let small = |number: usize| u16::try_from(number).unwrap();
        let id = match state.owner {
            None => StepId {
                skill: small(node),
                skill_visit: begun,
                node: u16::MAX,
                visit: 1,
                item: None,
            },
            Some(owner) => StepId {
                node: small(node),
                visit: begun,
                ..owner
            },
        };
        self.visits.push(Visit {
            id,
            frame,
            node,
            input,
            attempt: 1,
            timed: false,
            life: Life::Over,
        });
        self.begin(self.visits.len() - 1);
    }

    fn consume(&mut self, frame: usize, node: usize) -> Value {
        let state = &mut self.frames[frame];
        let graph = &self.model[state.graph];
        let mine: Vec<usize> = (0..state.arrivals.len())
            .filter(|at| state.arrivals[*at].0 == node)
            .collect();
        let alone = mine
            .iter()
            .copied()
            .find(|at| state.arrivals[*at].1.is_none())
            .or(mine.first().copied().filter(|_| graph.nodes[node].any));
        if let Some(at) = alone {
            return state.arrivals.remove(at).2;
        }
        let mut by_edge: BTreeMap<usize, usize> = BTreeMap::new();
        for at in mine {
            by_edge.entry(state.arrivals[at].1.unwrap()).or_insert(at);
        }
        // Of two edges from the same node the later arrival counts.
        let mut taken: Vec<(usize, usize)> = by_edge
            .iter()
            .map(|(edge, at)| (*at, graph.edges[*edge].0))
            .collect();
        taken.sort_unstable();
        let values: BTreeMap<usize, Value> = taken
            .iter()
            .map(|(at, from)| (*from, state.arrivals[*at].2.clone()))
            .collect();
        for (at, _) in taken.into_iter().rev() {
            state.arrivals.remove(at);
        }
        if values.len() == 1 {
            return values.into_values().next().unwrap();
        }
        Value::Object(
            values
                .into_iter()
                .map(|(from, value)| (name(from), value))
                .collect::<Map<_, _>>(),
        )
    }

    fn begin(&mut self, at: usize) {
        let visit = self.visits[at].clone();
        let node = self.node(&visit).clone();
        self.visits[at].timed = node.timeout && visit.id.item.is_none();
        self.visits[at].life = match node.kind {
            _ if visit.id.item.is_some() => Life::Running,
            Kind::Work => Life::Running,
            Kind::Ask { .. } => Life::Asking,
            Kind::Clock => Life::Clocked,
            Kind::Listen { .. } => Life::Listening,
            Kind::Skill(graph) => {
                self.enter(graph, Some(visit.id), visit.input.clone());
                Life::Inner
            }
            Kind::Each { items, .. } => {
                self.visits[at].life = Life::Items {
                    next: 0,
                    results: vec![None; items],
                };
                return self.items(at);
            }
        };
    }

    fn items(&mut self, at: usize) {
        let visit = self.visits[at].clone();
        let (
            Kind::Each {
                items,
                width,
                policy,
                ..
            },
            Life::Items { mut next, results },
        ) = (self.node(&visit).kind.clone(), visit.life)
        else {
            return;
        };
        let working = |next: usize, results: &[Option<_>]| {
            results[..next]
                .iter()
                .filter(|result| result.is_none())
                .count()
        };
        while next < items && working(next, &results) < width {
            let id = StepId {
                item: Some(u32::try_from(next).unwrap()),
                ..visit.id
            };
            self.visits.push(Visit {
                id,
                input: json!(next),
                attempt: 1,
                timed: false,
                life: Life::Running,
                ..visit_of(&visit.id, visit.frame, visit.node)
            });
            next += 1;
        }
        self.visits[at].life = Life::Items {
            next,
            results: results.clone(),
        };
        if next == items && working(next, &results) == 0 {
            let value = |result: Option<Result<Value, String>>| match result {
                Some(Ok(value)) => Some(value),
                Some(Err(code)) if policy == "collect" => {
                    Some(json!({"error": {"code": code, "message": "m"}}))
                }
                _ => None,
            };
            self.complete(
                at,
                Value::Array(results.into_iter().filter_map(value).collect()),
            );
        }
    }

    fn item(&mut self, at: usize, result: Result<Value, String>) {
        let id = self.visits[at].id;
        self.visits[at].life = Life::Over;
        let Some(parent) = self.find(id.parent()) else {
            return;
        };
        let Kind::Each { policy, .. } = self.node(&self.visits[parent]).kind else {
            return;
        };
        if let (Err(code), "fail") = (&result, policy) {
            self.close_inside(parent);
            return self.fail(parent, code, false, None, json!({}));
        }
        if let Life::Items { results, .. } = &mut self.visits[parent].life {
            results[id.item.unwrap() as usize] = Some(result);
        }
        self.items(parent);
    }

    fn complete(&mut self, at: usize, output: Value) {
        let visit = self.visits[at].clone();
        if visit.id.item.is_some() {
            return self.item(at, Ok(output));
        }
        let state = &self.frames[visit.frame];
        let graph = &self.model[state.graph];
        let number = output.as_i64();
        let leaving: Vec<(usize, usize, Cond)> = graph
            .edges
            .iter()
            .enumerate()
            .filter(|(_, edge)| edge.0 == visit.node)
            .map(|(at, edge)| (at, edge.1, edge.2))
            .collect();
        if leaving.iter().any(|edge| edge.2 == Cond::Bad) {
            return self.fail_for_good(at, "expression_failed", None, json!({}));
        }
        self.visits[at].life = Life::Over;
        let fires = |cond| match cond {
            Cond::Even => number.is_some_and(|number| number % 2 == 0),
            Cond::Odd => number.is_some_and(|number| number % 2 != 0),
            _ => true,
        };
        let fired: Vec<(usize, usize)> = leaving
            .into_iter()
            .filter(|edge| fires(edge.2) && state.begun[edge.1] < graph.nodes[edge.1].visits)
            .map(|edge| (edge.0, edge.1))
            .collect();
        let state = &mut self.frames[visit.frame];
        if fired.is_empty() {
            state.ends.insert(visit.node, output.clone());
        }
        state.arrivals.extend(
            fired
                .into_iter()
                .map(|(edge, to)| (to, Some(edge), output.clone())),
        );
    }

    fn fail(&mut self, at: usize, code: &str, again: bool, handler: Option<usize>, extra: Value) {
        let visit = self.visits[at].clone();
        let node = self.node(&visit);
        let attempts = match (visit.id.item, &node.kind) {
            (Some(_), Kind::Each { attempts, .. }) => *attempts,
            _ => node.attempts,
        };
        if again && visit.attempt < attempts {
            self.visits[at].life = Life::Backoff;
            self.visits[at].timed = false;
            return;
        }
        self.fail_for_good(at, code, handler, extra);
    }

    fn fail_for_good(&mut self, at: usize, code: &str, handler: Option<usize>, extra: Value) {
        let visit = self.visits[at].clone();
        if visit.id.item.is_some() {
            return self.item(at, Err(code.into()));
        }
        self.visits[at].life = Life::Over;
        let state = &self.frames[visit.frame];
        let graph = &self.model[state.graph];
        let room = |to: &usize| {
            let queued = state
                .arrivals
                .iter()
                .filter(|arrival| arrival.0 == *to && arrival.1.is_none())
                .count();
            queued + usize::from(state.begun[*to]) < usize::from(graph.nodes[*to].visits)
        };
        let taker = handler
            .filter(room)
            .or(graph.nodes[visit.node].on_error.filter(room));
        if let Some(to) = taker {
            let mut told = json!({"error": {"code": code, "message": "m"}, "node": name(visit.node), "input": visit.input});
            told.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            self.frames[visit.frame].arrivals.push((to, None, told));
            return;
        }
        match state.owner {
            None => self.end = Some(json!(format!("failed: {code}"))),
            Some(owner) => {
                let parent = self.find(owner).unwrap();
                self.close_inside(parent);
                self.fail_for_good(parent, code, None, json!({}));
            }
        }
    }

    /// Everything that works for a visit is over.
    fn close_inside(&mut self, at: usize) {
        let id = self.visits[at].id;
        for frame in self
            .frames
            .iter_mut()
            .filter(|frame| frame.owner == Some(id))
        {
            frame.open = false;
        }
        for visit in &mut self.visits {
            let inside = if id.node == u16::MAX {
                visit.id.node != u16::MAX
                    && (visit.id.skill, visit.id.skill_visit) == (id.skill, id.skill_visit)
            } else {
                visit.id.item.is_some() && visit.id.parent() == id
            };
            if inside {
                visit.life = Life::Over;
            }
        }
    }

    fn leave(&mut self, frame: usize) {
        let state = &mut self.frames[frame];
        state.open = false;
        let ends = state.ends.clone();
        let output = match ends.len() {
            0 => Value::Null,
            1 => ends.into_values().next().unwrap(),
            _ => Value::Object(
                ends.into_iter()
                    .map(|(node, value)| (name(node), value))
                    .collect(),
            ),
        };
        match state.owner {
            None => self.end = Some(output),
            Some(owner) => {
                let at = self.find(owner).unwrap();
                self.complete(at, output);
            }
        }
    }
}

fn visit_of(id: &StepId, frame: usize, node: usize) -> Visit {
    Visit {
        id: *id,
        frame,
        node,
        input: Value::Null,
        attempt: 1,
        timed: false,
        life: Life::Over,
    }
}

/// From a node to the nodes that take its failures.
pub fn handlers(graph: &Graph) -> impl Iterator<Item = (usize, usize)> + '_ {
    graph.nodes.iter().enumerate().flat_map(|(from, node)| {
        let (a, b) = match node.kind {
            Kind::Ask {
                on_denied,
                on_expired,
                ..
            } => (on_denied, on_expired),
            Kind::Listen { on_timeout, .. } => (on_timeout, None),
            _ => (None, None),
        };
        [node.on_error, a, b]
            .into_iter()
            .flatten()
            .map(move |to| (from, to))
    })
}
