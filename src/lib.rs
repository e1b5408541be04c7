//! meterd
pub mod chunk;
pub mod clock;
pub mod dead_letter;
pub mod group;
pub mod intake;
pub mod meter;
pub mod position;
pub mod schema;
pub mod settlement;
pub mod stop;
pub mod telemetry;
