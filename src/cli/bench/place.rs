//! Where a measured server keeps its data: a new directory, and for PostgreSQL a new cluster in it.

use crate::persistence::private_postgres::PrivatePostgres;
use anyhow::{Context, Result};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Sqlite => "sqlite",
            Database::Postgres => "postgres",
        })
    }
}

/// The embedded database in the data directory of `tenure dev`.
const SQLITE_FILE: &str = "tenure.db";

/// Empty at first, deleted with the value.
pub struct Place {
    directory: PathBuf,
    /// Stopped and deleted before the directory goes.
    cluster: Option<PrivatePostgres>,
}

impl Place {
    /// Makes a directory below `parent`, which must lie on the disk that is to be measured.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or `parent` cannot be written.
    pub fn new(parent: &Path, database: Database) -> Result<Self> {
        let directory = parent.join(format!("tenure-bench-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(&directory)
            .with_context(|| format!("make the directory {}", directory.display()))?;
        let mut place = Self {
            directory,
            cluster: None,
        };
        if database == Database::Postgres {
            place.cluster = Some(PrivatePostgres::start(&place.directory)?);
        }
        Ok(place)
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// Address of the database for its owner.
    pub fn owner_url(&self) -> String {
        self.database_url()
            .unwrap_or_else(|| format!("sqlite:{}", self.data().join(SQLITE_FILE).display()))
    }

    /// What `--database-url` takes; `None`: the embedded database in [`Place::data`].
    pub fn database_url(&self) -> Option<String> {
        Some(self.cluster.as_ref()?.url("postgres"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.cluster.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
