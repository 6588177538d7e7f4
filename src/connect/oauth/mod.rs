//! Grants: how a connection comes to a credential and how the credential stays good.
//!
//! [`provider`] says what is asked of a provider and [`answer`] what its answer means, both pure; [`http`] asks; [`refresh`] renews a
//! stored credential so that neither a crash nor a sibling loses it; [`stored`] and [`auth0`] are the two sources of tokens.
//!
//! Invariants: no error, log or `Debug` holds a secret; a refresh token is stored before it is used; only a provider's clear word ends a grant.

pub mod answer;
pub mod app;
pub mod auth0;
mod credential;
mod http;
mod jwt;
mod outcome;
mod provider;
mod random;
mod refresh;
mod secret;
mod stored;

pub use app::{AppsError, BadOverride, OauthApp, OperatorApps, Overrides};
pub use auth0::{AUTH0, Auth0Apps, Auth0Tokens, WAY_AUTH0};
pub use credential::{BadCredential, Credential, WAY_TOKEN};
pub use http::TOKEN_TIME;
pub use outcome::{Granted, TokenOutcome};
pub use provider::{Exchange, Grant, Misconfigured, Prepared, Provider};
pub use random::{NoRandomness, hash_of, pkce_challenge, random_text};
pub use refresh::{
    CredentialStore, Flights, RefreshResult, StoreError, Stored, TokenEndpoint, refresh,
};
pub use secret::Secret;
pub use stored::{Now, StoredTokens};
