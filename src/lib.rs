//! meterd
pub mod agent;
pub mod chunk;
pub mod clock;
pub mod dead_letter;
pub mod delivery;
pub mod group;
pub mod intake;
pub mod meter;
pub mod pack;
pub mod position;
pub mod schema;
pub mod settlement;
pub mod simulator;
pub mod source;
pub mod stop;
pub mod store;
pub mod telemetry;
