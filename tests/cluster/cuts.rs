//! Cut off from each other, one way only, from the database: work goes on where it can, and everything heals without a hand.

use crate::{
    employees::mailer,
    load::{Load, Nodes, Report, Teller},
    net::{POSTGRES, Rule},
    node::node_id,
    world::{NAMES, Plan, World, alive, until},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EMPLOYEES: usize = 18;
/// Longer than a lease and what follows from its end.
const LONG: Duration = Duration::from_secs(6);

struct Show {
    world: World,
    employees: Vec<String>,
    load: Load,
    probes: Report,
}

impl Show {
    async fn begin() -> Self {
        let world = World::start(Plan::default()).await;
        let employees = world.hire(EMPLOYEES, mailer).await;
        let pause = Duration::from_millis(60);
        let load = Load::start(&world.addresses(), &employees, 4, pause);
        sleep(Duration::from_secs(2)).await;
        Self {
            world,
            employees,
            load,
            probes: Report::default(),
        }
    }

    /// No hand: from now on all is as it was, and whoever is told something by any node hears it.
    async fn heals(&mut self, what: &str) {
        let began = Instant::now();
        self.world.net.heal();
        self.world.until_all_ready().await;
        self.world.until_members(3).await;
        println!("{what}: healed {:.1?} after its end", began.elapsed());
        for (n, name) in NAMES.into_iter().enumerate() {
            let mut teller = Teller::new(Nodes::new(vec![self.world.client(name)]), 0);
            for employee in self.employees.iter().skip(n).step_by(NAMES.len()) {
                teller.tell(employee, &mut self.probes).await;
            }
        }
    }

    async fn end(self) {
        let mut report = self.load.stop().await;
        report.add(self.probes);
        self.world.check(report).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_cut_from_each_other() {
    let mut show = Show::begin().await;
    // Both ways, without a word: the leases go on, so nobody may take what the other has.
    let owners = show.world.recorder.owners().await;
    show.world.net.set_both("a", "b", Rule::BlackHole);
    sleep(LONG).await;
    let lives = show.world.recorder.lives().await;
    assert!(
        lives.values().all(|(_, state)| state == "alive"),
        "{lives:?}"
    );
    let after = show.world.recorder.owners().await;
    let moved = owners
        .iter()
        .filter(|(one, life)| after.get(one) != Some(life))
        .count();
    println!(
        "a and b cut from each other: {moved} of {} employees moved",
        owners.len()
    );
    show.heals("a and b cut from each other").await;

    // One way: what a says does not reach b; what b says reaches a.
    show.world.net.set("a", "b", Rule::BlackHole);
    sleep(LONG).await;
    let lives = show.world.recorder.lives().await;
    assert!(
        lives.values().all(|(_, state)| state == "alive"),
        "{lives:?}"
    );
    show.heals("cut from a to b alone").await;

    // And with a word: every link between them is reset, again and again.
    show.world.net.set_both("b", "c", Rule::Reset);
    sleep(LONG / 2).await;
    show.heals("links of b and c reset").await;
    show.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_cut_from_the_database() {
    let mut show = Show::begin().await;
    for rule in [Rule::BlackHole, Rule::Reset] {
        let (victim, homeless) = show.world.busiest().await;
        let before = show.world.recorder.lives().await[&node_id(victim)].0;
        let began = Instant::now();
        show.world.net.set_both(victim, POSTGRES, rule);
        until("the others have its employees", async || {
            let owners = show.world.recorder.owners().await;
            owners.values().all(|life| life.node != node_id(victim))
        })
        .await;
        println!(
            "{victim} cut from the database ({rule:?}): {} employees elsewhere after {:.1?}",
            homeless.len(),
            began.elapsed()
        );
        let others = NAMES.into_iter().filter(|name| *name != victim);
        for name in others {
            let client = show.world.client(name);
            until("the others count two", async || {
                alive(&client).await == Some(2)
            })
            .await;
        }
        // It says so itself, and at once: nobody waits for a database that does not answer.
        let asked = Instant::now();
        let told = show
            .world
            .client(victim)
            .try_send("GET", "/readyz", &[], None)
            .await;
        let told = told.expect("an answer");
        assert_eq!(told.status, 503, "{told:?}");
        assert!(told.retry_after.is_some(), "{told:?}");
        println!("it answers 503 after {:.1?}", asked.elapsed());
        show.heals(&format!("{victim} cut from the database ({rule:?})"))
            .await;
        let after = show.world.recorder.lives().await[&node_id(victim)].0;
        assert!(after > before, "it began a new life");
    }
    show.end().await;
}
