//! `meterd` carries usage events from beside an application to Zuora Mediation. A line that was
//! read is delivered, a dead letter, or in the store, and the sum of the three is what was read.
//!
//! An event goes this way:
//!
//! 1. A [`source`] reads whole lines and hands them over as a [`chunk`]: the bytes as they came,
//!    and the [`position`] where they stood.
//! 2. The [`intake`] takes a chunk when it has room for its bytes. The room is given back when
//!    the lines are committed, so this one bound is the whole back-pressure.
//! 3. The [batcher](pack::batcher) cuts the lines of a [`meter`] into a [`group`] that fits one
//!    request, and numbers it.
//! 4. [`pack`] makes events of lines as the [`mapping`] of their source says, where there is one,
//!    checks each against the [`schema`], gives it an [event id](pack::event_id) and makes one
//!    gzipped body. A line that is no event comes out as a [`dead_letter`], and too many of those
//!    make the [`breaker`] hold the source. Workers do this in any order.
//! 5. The [`committer`] puts the groups back in order and writes bodies, cursors, dead letters and
//!    tallies in one transaction to the [`store`]. Whatever may be acknowledged is so from
//!    here: a [`notice`] tells who waits for it.
//! 6. [`delivery`] has a [lane](delivery::lane) for every meter. It takes the oldest body, waits
//!    for the tenant's [budget](tenant::budget), makes one
//!    [request](delivery::request) by the [transport](tenant::transport), and reads what the
//!    answer [means](tenant::outcome) from its status and the words of [`mediation`].
//! 7. What was learned goes back to the committer as a [`settlement`]: a receipt takes the place
//!    of the body, or the attempt is recorded. Only then may the body be sent again.
//!
//! Beside that, [`control`] asks the same [`tenant`] what became of events after the 200, and runs,
//! tests and moves meters.
//!
//! The [`agent`] wires the stages, starts the last one first, and ends them by closing the input
//! of the first: [`stop`] is heard by sources alone. [`config`] makes its settings of what an
//! operator typed, and [`cli`] is the program. [`simulator`] is a Mediation on loopback, which
//! [`demo`] and the tests deliver to. [`clock`], [`time_format`], [`time_pattern`], [`units`],
//! [`quantity`] and [`telemetry`] are used everywhere.
//!
//! Imports go in one direction: types, then stores, then stages, then the agent, then the
//! commands. Stages do not know each other. `tests/structure.rs` holds the rules.

pub mod admin;
pub mod agent;
pub mod body;
pub mod breaker;
pub mod chunk;
pub mod cli;
pub mod clock;
pub mod committer;
pub mod config;
pub mod control;
pub mod dead_letter;
pub mod delivery;
pub mod demo;
pub mod group;
pub mod intake;
pub mod mapping;
pub mod mediation;
pub mod meter;
pub mod notice;
pub mod pack;
pub mod position;
pub mod quantity;
pub mod replay;
pub mod routing;
pub mod schema;
pub mod settlement;
pub mod simulator;
pub mod source;
pub mod stop;
pub mod store;
pub mod telemetry;
pub mod tenant;
pub mod time_format;
pub mod time_pattern;
pub mod units;
pub mod verify;
