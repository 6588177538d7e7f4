//! An operator's day, with the real binary on both databases: a start with a wrong key, a log that cannot be written, metrics, backup and
//! restore, a stop and a start under another name.

mod backup;
mod logs;
mod metrics;
mod service;
mod start;
