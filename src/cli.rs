//! The commands of the program: what each takes, does, prints, and how it exits.

pub mod check;
pub mod simulate;
