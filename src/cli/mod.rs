//! One verb a file.

pub mod bench;
