//! How many entities two nodes claim in a second: the placement of a node as the runtime has it, on a database that is asked for nothing
//! else. In this process, with nothing between it and the database but its own pool.

use super::super::Ask;
use crate::{
    actors::cluster::{ClusterStore, kind},
    cli::bench::report::Measurement,
    persistence::{
        self, Db, DbConfig, Fence, NodeStart, Registered, WordList, node_leave, node_register,
    },
};
use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tenure_cluster::{
    Entity, LeasedPlacement, NodeIdentity, Placement,
    membership::{Standing, View},
    ownership::{FenceGate, LeaseTerms, Moment},
};
use tokio::sync::watch;
use uuid::Uuid;

/// Nobody renews it, and nobody is to end it.
const TERMS: LeaseTerms = LeaseTerms {
    ttl: Duration::from_secs(3_600),
    margin: Duration::from_secs(1),
    renew_every: Duration::from_secs(3_600),
};
const CLAIMERS: usize = 2;
/// What the runtime claims at once when many employees are to be woken.
const BATCH: usize = 256;

/// How each of the two claims.
struct Way {
    name: &'static str,
    /// Entities of one claim.
    batch: usize,
    /// Claims under way at once.
    at_once: usize,
    /// So many times less entities than where they are claimed in batches.
    less: usize,
}

const WAYS: [Way; 3] = [
    Way {
        name: "1 by 1",
        batch: 1,
        at_once: 1,
        less: 10,
    },
    Way {
        name: "1 by 1, 32 under way",
        batch: 1,
        at_once: 32,
        less: 2,
    },
    Way {
        name: "256 by 256",
        batch: BATCH,
        at_once: 1,
        less: 1,
    },
];

const NOTE: &str = "two nodes at once, entities that nobody had, both nodes together; in process, each with a pool of its own as a node has, \
     every claim its own durable transaction";
const DEAD_NOTE: &str = "one node takes, 256 by 256, what the other one had that has left";

struct Claimer {
    placement: LeasedPlacement,
    life: Fence,
    db: Db,
}

/// # Errors
/// If the database does not answer or an entity is refused.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let mut fresh: Vec<Vec<f64>> = WAYS.iter().map(|_| Vec::new()).collect();
    let mut of_dead = Vec::new();
    for _ in 0..ask.sizes.repeat {
        let place = ask.places.make(ask.database).await?;
        let url = place.owner_url();
        persistence::migrate(&url).await?;
        let claimers = [
            Claimer::new(&url, "a").await?,
            Claimer::new(&url, "b").await?,
        ];
        for (way, samples) in WAYS.iter().zip(&mut fresh) {
            ask.progress(&format!("claims, {}", way.name));
            samples.push(both(&claimers, way, ask.sizes.claims / way.less).await?);
        }
        ask.progress("claims of what a node had that has left");
        of_dead.push(inherit(&claimers).await?);
        for claimer in claimers {
            claimer.db.close().await;
        }
        ask.places.remove(place).await?;
    }
    let of = "cluster/claims";
    let fresh = WAYS.iter().zip(fresh);
    let told =
        fresh.map(|(way, samples)| Measurement::new(of, way.name, "claims/s", samples).note(NOTE));
    ask.answers.extend(told);
    let of_dead = Measurement::new(of, "of a node that is gone", "claims/s", of_dead);
    ask.answers.push(of_dead.note(DEAD_NOTE));
    Ok(())
}

/// Both claim their half; claims a second.
async fn both(claimers: &[Claimer; CLAIMERS], way: &Way, count: usize) -> Result<f64> {
    let half = (count / CLAIMERS).max(way.batch);
    let [a, b] = claimers;
    let (of_a, of_b) = (entities(half), entities(half));
    let begin = Instant::now();
    tokio::try_join!(
        a.claim(&of_a, way.batch, way.at_once),
        b.claim(&of_b, way.batch, way.at_once)
    )?;
    Ok((half * CLAIMERS) as f64 / begin.elapsed().as_secs_f64())
}

fn entities(count: usize) -> Vec<Entity> {
    let entity = |_| Entity {
        kind: kind::EMPLOYEE,
        id: Uuid::now_v7(),
    };
    (0..count).map(entity).collect()
}

/// The first one leaves, the second one takes all that it had; claims a second.
async fn inherit([left, heir]: &[Claimer; CLAIMERS]) -> Result<f64> {
    let entities = left.placement.owned_of(kind::EMPLOYEE);
    let mut tx = left.db.begin_system("the node leaves").await?;
    ensure!(node_leave(&mut tx, left.life).await?, "the node has left");
    tx.commit().await?;
    let begin = Instant::now();
    heir.claim(&entities, BATCH, 1).await?;
    Ok(entities.len() as f64 / begin.elapsed().as_secs_f64())
}

impl Claimer {
    /// A node in the database, without a process.
    async fn new(url: &str, name: &str) -> Result<Self> {
        let db = Db::connect(&DbConfig::new(url)).await?;
        let node = NodeStart {
            id: Uuid::new_v4(),
            name,
            address: "",
            build: env!("CARGO_PKG_VERSION"),
            zone: "",
            weight: 100,
            roles: WordList(Vec::new()),
            takes: WordList(vec![kind::EMPLOYEE.into()]),
            url: "",
            ttl: TERMS.ttl,
            process_is_gone: true,
        };
        let mut tx = db.begin_system("a node starts").await?;
        let Registered::As(life) = node_register(&mut tx, &node).await? else {
            bail!("a new node is taken for an old one");
        };
        tx.commit().await?;
        let me = NodeIdentity {
            node_id: life.node_id,
            incarnation: life.incarnation.unsigned_abs(),
        };
        let gate = Arc::new(FenceGate::new(TERMS));
        gate.renewed(Moment::now());
        // Nobody is asked where an entity should be.
        let (_, view) = watch::channel(View {
            standing: Standing::Acting,
            members: Arc::from([]),
        });
        let store = Arc::new(ClusterStore::new(db.clone(), TERMS));
        Ok(Self {
            placement: LeasedPlacement::new(me, vec![kind::EMPLOYEE], gate, view, store),
            life,
            db,
        })
    }

    async fn claim(&self, entities: &[Entity], batch: usize, at_once: usize) -> Result<()> {
        let claims = stream::iter(entities.chunks(batch)).map(|some| async move {
            let claims = self.placement.claim_all(some).await;
            let refused = claims.into_iter().find_map(Result::err);
            refused.map_or(Ok(()), Err).context("a claim was refused")
        });
        claims.buffer_unordered(at_once).try_collect().await
    }
}
