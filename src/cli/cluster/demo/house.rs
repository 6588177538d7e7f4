//! What the nodes share: the database, the sandbox, an org with a key and accounts, the master key and the authority.

use crate::{
    actors::{Clock, hub},
    cli::dev::demo,
    connect::{Sealer, seal::read_or_create_master_key},
    domain::OrgId,
    persistence::{self, Db, DbConfig, database_create, private_postgres::PrivatePostgres},
    sandbox::{Sandbox, SandboxHandle},
};
use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tenure_cluster::tls::{Authority, ClusterName};

const DATABASE: &str = "tenure";
/// The database that every new PostgreSQL has.
const MAINTENANCE: &str = "postgres";
/// For the table; the nodes have connections of their own.
const CONNECTIONS: u32 = 2;

pub struct House {
    pub db: Db,
    pub database_url: String,
    pub org: OrgId,
    key: SecretString,
    pub sandbox: SandboxHandle,
    pub authority: Authority,
    pub cluster: ClusterName,
    postgres: PrivatePostgres,
    // Last: what lies in it is in use until then.
    directory: Directory,
}

/// Deleted with the value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl House {
    /// Starts and furnishes it in a new directory below `parent`.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a part does not start.
    pub async fn open(parent: PathBuf) -> anyhow::Result<Self> {
        let directory = Directory(parent.join(format!("tenure-cluster-{}", std::process::id())));
        fs::create_dir_all(&directory.0)
            .with_context(|| format!("cannot make the directory {}", directory.0.display()))?;
        let starting = tokio::task::spawn_blocking(move || PrivatePostgres::start(&parent));
        let postgres = starting.await??;
        database_create(&postgres.url(MAINTENANCE), DATABASE).await?;
        let database_url = postgres.url(DATABASE);
        persistence::migrate(&database_url)
            .await
            .context("the database could not be migrated")?;
        let config = DbConfig {
            app_connections: CONNECTIONS,
            engine_connections: CONNECTIONS,
            ..DbConfig::new(database_url.clone())
        };
        let db = Db::connect(&config).await?;
        let clock = Clock::system();
        let today = clock.now().to_chrono().date_naive();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sandbox = Sandbox::start(anywhere, directory.0.join("sandbox"), today).await?;
        let (org, key) = furnish(&db, &clock, &directory.0, &sandbox).await?;
        let cluster = ClusterName::new("demo")?;
        Ok(Self {
            db,
            database_url,
            org,
            key,
            sandbox,
            authority: Authority::generate(cluster.clone())?,
            cluster,
            postgres,
            directory,
        })
    }

    pub fn key(&self) -> &str {
        self.key.expose_secret()
    }

    pub fn master_key_file(&self) -> PathBuf {
        master_key_file(&self.directory.0)
    }

    /// A new directory below the house's.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        let room = self.directory.0.join(name);
        fs::create_dir_all(&room)?;
        Ok(room)
    }

    /// Stops everything in it and deletes it.
    pub async fn close(self) {
        let Self {
            db,
            sandbox,
            postgres,
            directory,
            ..
        } = self;
        db.close().await;
        sandbox.shutdown().await;
        // Waits for the server.
        let _ = tokio::task::spawn_blocking(move || drop(postgres)).await;
        drop(directory);
    }
}

fn master_key_file(directory: &Path) -> PathBuf {
    directory.join("master.key")
}

/// An org with an admin's key and the sandbox's accounts, as `tenure dev` has it.
async fn furnish(
    db: &Db,
    clock: &Clock,
    directory: &Path,
    sandbox: &SandboxHandle,
) -> anyhow::Result<(OrgId, SecretString)> {
    let file = master_key_file(directory);
    read_or_create_master_key(&file)?;
    let sealer = Arc::new(Sealer::from_file(&file)?);
    let org = demo::org(db, clock).await?;
    let key = demo::key(db, clock, org, None).await?;
    let vault = hub::keys::vault(db, clock, &sealer);
    demo::connections(db, clock, &vault, org, sandbox.accounts()).await?;
    Ok((org, key))
}
