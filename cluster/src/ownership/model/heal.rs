//! Liveness: from any world, if nothing new breaks, everything is owned and at work again.

use super::{OVER, Rules, World, steps::At, steps::Step};

impl World {
    /// Lets everything that was broken be repaired, and the nodes do what they do by themselves. Whether every entity then has an owner
    /// that may write and act.
    pub(super) fn heals(&self, rules: Rules) -> bool {
        let mut world = self.clone();
        world.stop_breaking(rules);
        for _ in 0..3 {
            world.let_time_pass(rules);
        }
        (0..world.entities.len()).all(|entity| world.gets_to_work(entity, rules))
    }

    /// Nothing is repaired: who is suspended or cut off stays so. Whether the others, if there are any, take over what it has.
    pub(super) fn is_taken_over(&self, rules: Rules) -> bool {
        let is_well =
            |node: &super::Node| !node.cut && node.processes.iter().all(|life| !life.suspended);
        if !self.nodes.iter().any(is_well) {
            return true;
        }
        let mut world = self.clone();
        for at in world.ats() {
            world.step(Step::BreakWrite(at), rules);
            world.step(Step::Commit(at), rules);
            world.step(Step::RenewLost(at), rules);
        }
        for _ in 0..3 {
            world.let_time_pass(rules);
        }
        (0..world.entities.len()).all(|entity| world.gets_to_work(entity, rules))
    }

    fn ats(&self) -> Vec<At> {
        let processes = |node: usize| 0..self.nodes[node].processes.len();
        (0..self.nodes.len())
            .flat_map(|node| processes(node).map(move |process| (node, process)))
            .collect()
    }

    fn stop_breaking(&mut self, rules: Rules) {
        for node in 0..self.nodes.len() {
            self.step(Step::Mend(node), rules);
        }
        for at in self.ats() {
            self.step(Step::Resume(at), rules);
            self.step(Step::Commit(at), rules);
            self.step(Step::RenewLost(at), rules);
        }
    }

    /// A third of a TTL: who lives renews, who is fenced ends itself, who is gone is declared dead and started again.
    fn let_time_pass(&mut self, rules: Rules) {
        self.step(Step::Tick, rules);
        // The last first: a process that ends itself moves those behind it.
        for at in self.ats().into_iter().rev() {
            self.step(Step::RenewSend(at), rules);
            self.step(Step::RenewArrives(at), rules);
            self.step(Step::StopsItself(at), rules);
            self.step(Step::RenewAnswered(at), rules);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].lease_age == OVER {
                for by in self.ats() {
                    self.step(Step::DeclareDead { by, node }, rules);
                }
            }
            if self.nodes[node].processes.is_empty() {
                self.step(Step::Start(node), rules);
            }
        }
    }

    fn gets_to_work(&mut self, entity: usize, rules: Rules) -> bool {
        // Whoever drains finishes: it gives up what it has.
        for at in self.ats().into_iter().rev() {
            if self.nodes[at.0].row.state == super::NodeState::Draining {
                self.step(Step::Claim(at, entity), rules);
                self.step(Step::Release(at, entity), rules);
            }
        }
        if self
            .nodes
            .iter()
            .all(|node| node.row.state != super::NodeState::Alive)
        {
            return self.restarts_a_drained_node(entity, rules);
        }
        self.somebody_works(entity, rules)
    }

    /// All nodes were told to leave: they can, and come back.
    fn restarts_a_drained_node(&mut self, entity: usize, rules: Rules) -> bool {
        for at in self.ats().into_iter().rev() {
            for other in 0..self.entities.len() {
                self.step(Step::Claim(at, other), rules);
                self.step(Step::Release(at, other), rules);
            }
            self.step(Step::Leave(at), rules);
        }
        (0..self.nodes.len()).any(|node| self.step(Step::Start(node), rules))
            && self.somebody_works(entity, rules)
    }

    fn somebody_works(&mut self, entity: usize, rules: Rules) -> bool {
        self.ats().into_iter().any(|at| {
            self.step(Step::Claim(at, entity), rules);
            // A belief that is behind the journal is found out by the first write; the second attempt reads it again.
            let told = self.entities[entity].acknowledged.len();
            for _ in 0..2 {
                self.step(Step::Begin(at, entity), rules);
                self.step(Step::Commit(at), rules);
                self.step(Step::Claim(at, entity), rules);
            }
            self.entities[entity].acknowledged.len() > told
                && self.nodes[at.0].processes[at.1].may_act()
        })
    }
}
