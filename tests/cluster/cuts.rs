//! Cut off from each other, from the database, one way only, a database that starts anew, a database that is slow: work goes on where it
//! can, and everything heals without a hand.

use crate::{
    employees::mailer,
    load::{Load, Report, Teller},
    net::{POSTGRES, Rule},
    node::node_id,
    world::{Plan, World, alive, until},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EMPLOYEES: usize = 18;
/// Longer than a lease and what follows from its end.
const LONG: Duration = Duration::from_secs(7);

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

    /// No hand: from now on all is as it was, and each node can tell each employee something.
    async fn heals(&mut self, what: &str) {
        let began = Instant::now();
        self.world.net.heal();
        self.world.until_all_ready().await;
        self.world.until_members(3).await;
        for name in ["a", "b", "c"] {
            let nodes = crate::load::Nodes::new(vec![self.world.client(name)]);
            let mut teller = Teller::new(nodes, 0);
            for employee in &self.employees {
                teller.tell(employee, &mut self.probes).await;
            }
        }
        println!("{what}: healed {:.1?} after its end", began.elapsed());
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
        let others = ["a", "b", "c"].into_iter().filter(|name| *name != victim);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_starts_anew_and_is_slow() {
    let mut show = Show::begin().await;
    // As after a crash: at once and without a word.
    show.world.stop_postgres().await;
    show.world.start_postgres_again().await;
    show.heals("the database started anew").await;

    let usual = round_trip(&mut show).await;
    // Each way takes as long as four and a half round trips: the round trip takes ten times as long.
    let each = (usual * 9 / 2).max(Duration::from_millis(5));
    for name in ["a", "b", "c"] {
        show.world.net.set_both(name, POSTGRES, Rule::Slow(each));
    }
    let slow = round_trip(&mut show).await;
    println!(
        "a trigger takes {usual:.1?}, and {slow:.1?} with a database that is {each:.1?} away each way"
    );
    sleep(LONG).await;
    let lives = show.world.recorder.lives().await;
    assert!(
        lives.values().all(|(_, state)| state == "alive"),
        "slow is not dead: {lives:?}"
    );
    show.heals("a slow database").await;
    show.end().await;
}

/// The middle of a few triggers.
async fn round_trip(show: &mut Show) -> Duration {
    let nodes = show.world.addresses();
    let mut few = Report::default();
    let mut teller = Teller::new(nodes, 0);
    for employee in show.employees.iter().take(9) {
        teller.tell(employee, &mut few).await;
    }
    let (middle, _) = few.latency();
    show.probes.add(few);
    middle
}
