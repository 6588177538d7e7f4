//! Which service a verb talks to: flags, then the environment, then what `tenure dev` left in its data directory.

use super::{
    client::{Client, ClientError},
    exit::Failure,
};
use anyhow::Context;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Name of the file in the data directory of `tenure dev`.
pub const DEV_FILE: &str = "dev.json";
/// Where `tenure dev` keeps its data if nothing else is said.
pub const DEFAULT_DATA: &str = ".tenure";

#[derive(Clone, Debug, Default, clap::Args)]
pub struct RemoteArgs {
    /// Address of the service, for example http://127.0.0.1:7117
    #[arg(long, env = "TENURE_URL", help_heading = "Service")]
    pub url: Option<String>,
    /// API key
    #[arg(
        long,
        env = "TENURE_KEY",
        hide_env_values = true,
        help_heading = "Service"
    )]
    pub key: Option<String>,
    /// Data directory of the `tenure dev` to talk to, where no address is given
    #[arg(long, default_value = DEFAULT_DATA, help_heading = "Service")]
    pub data: PathBuf,
}

/// What `tenure dev` tells the other verbs; also its line for programs.
#[derive(Clone, Serialize, Deserialize)]
pub struct DevFile {
    pub url: String,
    pub org: String,
    pub api_key: String,
    pub sandbox_url: String,
}

impl DevFile {
    /// `None` if there is no such file.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(DEV_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is not what `tenure dev` writes", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

impl RemoteArgs {
    /// # Errors
    /// There is no service to be found, or no key for it.
    pub fn client(&self) -> anyhow::Result<Client> {
        let (url, key) = self.place()?;
        Ok(Client::new(&url, Some(SecretString::from(key)))?)
    }

    /// Address and key of the service.
    ///
    /// # Errors
    /// There is no service to be found, or no key for it.
    pub fn place(&self) -> anyhow::Result<(String, String)> {
        let dev = DevFile::read(&self.data)?;
        self.choose(dev.as_ref())
    }

    fn choose(&self, dev: Option<&DevFile>) -> anyhow::Result<(String, String)> {
        match (&self.url, &self.key, dev) {
            (Some(url), Some(key), _) => Ok((url.clone(), key.clone())),
            (None, key, Some(dev)) => {
                let key = key.as_ref().unwrap_or(&dev.api_key);
                Ok((dev.url.clone(), key.clone()))
            }
            // The key of the dev service is for nobody else's eyes.
            (Some(url), None, Some(dev)) if same(url, &dev.url) => {
                Ok((dev.url.clone(), dev.api_key.clone()))
            }
            (Some(url), None, _) => Err(Failure::usage(format!(
                "no key for {url}: give --key or TENURE_KEY"
            ))),
            (None, _, None) => Err(Failure::unreachable(format!(
                "no service: start `tenure dev` here, or say where one is with --url and --key (TENURE_URL, TENURE_KEY); \
                 {} does not exist",
                self.data.join(DEV_FILE).display()
            ))),
        }
    }

    /// Where the sandbox of the `tenure dev` is that the verb talks to.
    pub fn sandbox_url(&self) -> Option<String> {
        let dev = DevFile::read(&self.data).ok().flatten()?;
        let is_meant = self.url.as_ref().is_none_or(|url| same(url, &dev.url));
        is_meant.then_some(dev.sandbox_url)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// The hint that belongs to an error of the client, if there is one.
pub fn hint(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { .. } => {
            Some("is `tenure dev` or `tenure serve` running? `tenure doctor` looks closer")
        }
        ClientError::Problem(problem) if problem.status == 401 => {
            Some("the key is not valid there; `tenure key create` makes one")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::{Exit, code_of};

    fn dev() -> DevFile {
        DevFile {
            url: "http://dev".into(),
            org: "org".into(),
            api_key: "dev-key".into(),
            sandbox_url: "http://sandbox".into(),
        }
    }

    fn choose(url: Option<&str>, key: Option<&str>, dev: Option<DevFile>) -> Result<String, Exit> {
        let args = RemoteArgs {
            url: url.map(Into::into),
            key: key.map(Into::into),
            data: ".tenure".into(),
        };
        args.choose(dev.as_ref())
            .map(|(url, key)| format!("{url} {key}"))
            .map_err(|error| code_of(&error))
    }

    #[test]
    fn what_is_given_goes_before_what_is_found() {
        for (url, key, found, chosen) in [
            (None, None, true, Ok("http://dev dev-key")),
            (None, Some("k"), true, Ok("http://dev k")),
            (Some("http://x"), Some("k"), true, Ok("http://x k")),
            (Some("http://dev/"), None, true, Ok("http://dev dev-key")),
            (Some("http://x"), None, true, Err(Exit::Usage)),
            (Some("http://x"), None, false, Err(Exit::Usage)),
            (None, None, false, Err(Exit::Unreachable)),
            (None, Some("k"), false, Err(Exit::Unreachable)),
        ] {
            let dev = found.then(dev);
            assert_eq!(
                choose(url, key, dev),
                chosen.map(String::from),
                "{url:?} {key:?} {found}"
            );
        }
    }
}
