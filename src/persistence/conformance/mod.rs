//! Every persistence function on both databases, on PostgreSQL as the unprivileged roles.
//!
//! A case is an async function of a `World`: a fresh, migrated database with two orgs, of which the second must see nothing. A machine
//! without PostgreSQL fails these tests; it does not skip them.
#![expect(
    clippy::cloned_ref_to_slice_refs,
    reason = "a batch of one reads better as an array"
)]

mod activation;
mod commit;
mod connections;
mod costs;
mod employees;
mod grants;
mod inbox;
mod integrations;
mod ledger;
mod memory;
mod no_room;
mod nodes;
mod oauth;
mod orgs;
mod ownership;
mod placements;
mod policies;
mod postgres_only;
mod retention;
mod runs;
mod schedules;
mod setup;
mod sides;
mod stream;
mod vault;
mod wakening;
mod world;

/// Makes a test a database of each case.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::persistence::conformance::world::World::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::persistence::conformance::world::World::postgres().await).await;
            })*
        }
    };
}
use on_both;
