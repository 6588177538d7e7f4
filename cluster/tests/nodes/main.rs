//! Nodes as real processes over real sockets: `ractor`'s registries are the process's, so that two nodes do not fit into one.
//!
//! A child is this binary again, running the test `child` alone; it takes commands on its standard input and answers each with a line.

mod child;
mod files;
mod hostile;
mod links;
mod members;
mod messages;
mod parent;
