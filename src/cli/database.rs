//! The database that an operator's verbs work on, without a service.

use super::exit::Failure;
use crate::{
    config::Config,
    persistence::{Db, DbConfig},
};
use secrecy::ExposeSecret;
use std::path::PathBuf;

#[derive(Clone, Debug, Default, clap::Args)]
pub struct DatabaseArgs {
    /// Configuration file of the service; the environment (TENURE_…) goes before it
    #[arg(
        long,
        env = "TENURE_CONFIG",
        value_name = "FILE",
        help_heading = "Database"
    )]
    pub config: Option<PathBuf>,
    /// Database, sqlite:PATH or postgres://…; goes before file and environment (TENURE_DATABASE_URL)
    #[arg(long, value_name = "URL", help_heading = "Database")]
    pub database_url: Option<String>,
}

impl DatabaseArgs {
    /// The configuration with what the command line says put over it.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn load(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(url) = &self.database_url {
            config.database.url = Some(url.clone().into());
        }
        Ok(config)
    }

    /// # Errors
    /// No database is named, or it cannot be opened.
    pub async fn connect(&self) -> anyhow::Result<Db> {
        Ok(Db::connect(&db_config(&self.load()?)?).await?)
    }
}

/// # Errors
/// No database is named.
pub fn db_config(config: &Config) -> anyhow::Result<DbConfig> {
    Ok(DbConfig {
        app_connections: config.database.connections,
        engine_connections: config.database.engine_connections,
        node_name: Some(config.engine.node_name.clone()),
        read_url: config
            .database
            .read_url
            .as_ref()
            .map(|url| url.expose_secret().to_owned()),
        ..DbConfig::new(database_url(config)?)
    })
}

/// # Errors
/// No database is named.
pub fn database_url(config: &Config) -> anyhow::Result<String> {
    match &config.database.url {
        Some(url) => Ok(url.expose_secret().to_owned()),
        None => Err(Failure::usage(
            "no database: give --database-url, TENURE_DATABASE_URL, or database_url in a --config file",
        )),
    }
}
