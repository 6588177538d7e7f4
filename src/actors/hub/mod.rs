//! ConnectHub above the database: the data keys of the orgs, the credentials of connections, and consents. What is here is called by the
//! connectors and the API; it is no actor and keeps nothing but caches.

pub mod credentials;
pub mod keys;

#[cfg(test)]
mod tests;
