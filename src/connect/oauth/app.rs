//! What somebody registered at a provider: the app in whose name people consent. An org has its own, or uses the operator's.

use super::secret::Secret;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// An app at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthApp {
    pub client_id: String,
    /// `None`: a public client.
    pub client_secret: Option<Secret>,
    pub overrides: Overrides,
}

/// Addresses in the place of the catalog's, so that a sandbox or another issuer can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// For refreshing too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<String>,
    /// Where calls go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Redirect addresses besides ours, exactly as they are registered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
}

/// An address that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be an http or https URL without a fragment")]
pub struct BadOverride {
    pub field: &'static str,
}

impl Overrides {
    /// # Errors
    /// Which of them is no URL.
    pub fn check(&self) -> Result<(), BadOverride> {
        let single = [
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("base_url", &self.base_url),
        ];
        let single = single
            .into_iter()
            .filter_map(|(field, url)| Some((field, url.as_ref()?)));
        let redirects = self.redirect_uris.iter().map(|url| ("redirect_uris", url));
        for (field, url) in single.chain(redirects) {
            let is_url = url.parse::<Url>().is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.host().is_some()
                    && url.fragment().is_none()
            });
            if !is_url {
                return Err(BadOverride { field });
            }
        }
        Ok(())
    }
}

/// The operator's apps, by integration: for orgs that registered nothing themselves.
#[derive(Clone, Debug, Default)]
pub struct OperatorApps(BTreeMap<String, OauthApp>);

#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    #[error("cannot read the file of oauth clients: {0}")]
    Read(#[from] std::io::Error),
    /// Others on the machine could read it.
    #[error("the file of oauth clients must be readable by its owner alone (mode 0600)")]
    OpenToOthers,
    /// `0` says what, and nothing of the secrets.
    #[error("the file of oauth clients: {0}")]
    Invalid(String),
}

/// An app as the operator's file has it.
#[derive(Deserialize)]
struct Written {
    client_id: String,
    client_secret: Option<Secret>,
    #[serde(flatten)]
    overrides: Overrides,
}

impl OperatorApps {
    pub fn new(apps: impl IntoIterator<Item = (String, OauthApp)>) -> Self {
        Self(apps.into_iter().collect())
    }

    pub fn get(&self, integration: &str) -> Option<&OauthApp> {
        self.0.get(integration)
    }

    /// Reads a file with a table an integration:
    /// ```toml
    /// [slack]
    /// client_id = "…"
    /// client_secret = "…"
    /// ```
    /// and any of the [`Overrides`].
    ///
    /// # Errors
    /// It cannot be read, others could read it too, or an entry is wrong.
    pub fn from_file(path: &Path) -> Result<Self, AppsError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                return Err(AppsError::OpenToOthers);
            }
        }
        Self::from_toml(&std::fs::read_to_string(path)?)
    }

    /// # Errors
    /// Which entry is wrong.
    pub fn from_toml(text: &str) -> Result<Self, AppsError> {
        use figment::{
            Figment,
            providers::{Format, Toml},
        };
        // The messages of the parser name keys and types, never values of texts.
        let written: BTreeMap<String, Written> = Figment::from(Toml::string(text))
            .extract()
            .map_err(|error| AppsError::Invalid(error.kind.to_string()))?;
        let apps = written.into_iter().map(|(integration, app)| {
            app.overrides
                .check()
                .map_err(|error| AppsError::Invalid(format!("{integration}: {error}")))?;
            let app = OauthApp {
                client_id: app.client_id,
                client_secret: app.client_secret,
                overrides: app.overrides,
            };
            Ok((integration, app))
        });
        apps.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_file() {
        let apps = OperatorApps::from_toml(
            "[slack]\nclient_id = 'a'\nclient_secret = 's3cret'\n[gmail]\nclient_id = 'b'\ntoken_url = 'http://127.0.0.1:1/token'\n",
        )
        .unwrap();
        let slack = apps.get("slack").unwrap();
        assert_eq!(slack.client_secret, Some("s3cret".into()));
        assert!(!format!("{apps:?}").contains("s3cret"));
        let gmail = apps.get("gmail").unwrap();
        assert_eq!(gmail.client_secret, None);
        assert_eq!(
            gmail.overrides.token_url.as_deref(),
            Some("http://127.0.0.1:1/token")
        );
        assert!(apps.get("github").is_none());
    }

    #[test]
    fn what_is_wrong_in_it_is_named_without_secrets() {
        for (text, named) in [
            ("[slack]\nclient_secret = 's3cret'", "client_id"),
            ("[slack]\nclient_id = 'a'\ntoken_url = 'here'", "token_url"),
            (
                "[slack]\nclient_id = 'a'\nredirect_uris = ['http://x/#f']",
                "redirect_uris",
            ),
            ("[slack]\nclient_id = 'a'\nclient_secret = ['s3cret']", ""),
        ] {
            let error = OperatorApps::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
