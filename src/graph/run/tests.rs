//! The semantics of the machine, one behaviour a test; `generated` holds it against the reference interpreter.

mod driver;
mod generated;
mod limits;
mod reference;
mod table;
