//! The same cuts with a network of the kernel's: each node in a namespace of its own, links that are down, routes that lead nowhere.

use crate::{
    employees::mailer,
    load::Load,
    node::node_id,
    world::{NAMES, NodePlan, Plan, World, until},
};
use std::{net::Ipv4Addr, process::Command, time::Duration};
use tokio::time::{Instant, sleep};

/// Three namespaces on one bridge; gone with the value.
struct Lan {
    bridge: String,
    third: u8,
}

impl Lan {
    /// # Errors
    /// What the machine does not allow.
    fn build() -> Result<Self, String> {
        let pid = std::process::id();
        let lan = Self {
            bridge: format!("tn{pid}"),
            third: (pid % 250) as u8 + 1,
        };
        lan.ip(&["link", "add", &lan.bridge, "type", "bridge"])?;
        let gateway = format!("{}/24", lan.address(1));
        lan.ip(&["addr", "add", &gateway, "dev", &lan.bridge])?;
        lan.ip(&["link", "set", &lan.bridge, "up"])?;
        for (n, name) in NAMES.into_iter().enumerate() {
            lan.join(name, n as u8 + 2)?;
        }
        Ok(lan)
    }

    fn join(&self, name: &str, host: u8) -> Result<(), String> {
        let (namespace, outer) = (self.namespace(name), self.outer(name));
        self.ip(&["netns", "add", &namespace])?;
        let inner = ["peer", "name", "eth0", "netns", &namespace];
        let mut pair = vec!["link", "add", &outer, "type", "veth"];
        pair.extend(inner);
        self.ip(&pair)?;
        self.ip(&["link", "set", &outer, "master", &self.bridge, "up"])?;
        let address = format!("{}/24", self.address(host));
        self.ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
        self.ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        self.ip(&["-n", &namespace, "link", "set", "lo", "up"])
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 199, self.third, host)
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.bridge)
    }

    /// The bridge's end of a node's link.
    fn outer(&self, name: &str) -> String {
        format!("{}v{name}", self.bridge)
    }

    fn address_of(&self, name: &str) -> Ipv4Addr {
        let n = NAMES.iter().position(|known| *known == name);
        self.address(n.expect("one of ours") as u8 + 2)
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        let ended = Command::new("ip").args(arguments).output();
        let ended = ended.map_err(|error| format!("ip: {error}"))?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(format!(
                "ip {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&ended.stderr).trim()
            )),
        }
    }

    fn link(&self, name: &str, state: &str) {
        self.ip(&["link", "set", &self.outer(name), state])
            .expect("the link is set");
    }

    /// What one says to the other goes nowhere; what the other says still comes.
    fn no_way(&self, verb: &str, from: &str, to: &str) {
        let (namespace, to) = (self.namespace(from), format!("{}/32", self.address_of(to)));
        self.ip(&["-n", &namespace, "route", verb, "blackhole", &to])
            .expect("the route is set");
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in NAMES {
            let _ = self.ip(&["netns", "del", &self.namespace(name)]);
        }
        let _ = self.ip(&["link", "del", &self.bridge]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_the_kernel_are_cut() {
    let lan = match Lan::build() {
        Ok(lan) => lan,
        Err(why) => {
            // The same cuts are shown by doors in `cuts`; what is missing here is said.
            println!("NOT SHOWN: this machine allows no network namespaces ({why})");
            return;
        }
    };
    let nodes = NAMES.map(|name| NodePlan {
        ip: lan.address_of(name),
        namespace: Some(lan.namespace(name)),
        ..NodePlan::all_roles(name)
    });
    let world = World::start(Plan {
        nodes: nodes.into(),
        gateway: Some(lan.address(1)),
        ..Plan::default()
    })
    .await;
    let employees = world.hire(18, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 4, Duration::from_millis(60));
    sleep(Duration::from_secs(2)).await;

    // Its cable is pulled: no node, no database, no client reaches it, and nobody is told.
    let (victim, homeless) = world.busiest().await;
    let began = Instant::now();
    lan.link(victim, "down");
    until("the others have its employees", async || {
        let owners = world.recorder.owners().await;
        owners.values().all(|life| life.node != node_id(victim))
    })
    .await;
    println!(
        "the link of {victim} is down: {} employees elsewhere after {:.1?}",
        homeless.len(),
        began.elapsed()
    );
    sleep(Duration::from_secs(2)).await;
    lan.link(victim, "up");
    let began = Instant::now();
    world.until_all_ready().await;
    world.until_members(3).await;
    println!("healed {:.1?} after the link is up", began.elapsed());

    // One way between two nodes: both still reach the database, so both live on.
    lan.no_way("add", "a", "b");
    sleep(Duration::from_secs(7)).await;
    let lives = world.recorder.lives().await;
    assert!(
        lives.values().all(|(_, state)| state == "alive"),
        "{lives:?}"
    );
    lan.no_way("del", "a", "b");
    world.until_all_ready().await;
    world.until_members(3).await;
    sleep(Duration::from_secs(2)).await;
    let report = load.stop().await;
    world.check(report).await;
}
