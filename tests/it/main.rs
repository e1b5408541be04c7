//! Black-box tests: the real program in a temporary folder, against the simulator or a server
//! that misbehaves on request. One module a capability.
//!
//! Every wait is for a condition, with a deadline; no test proves anything by waiting a time.

mod admin;
mod answers;
mod bisection;
mod breaker;
mod bytes;
mod chain;
mod chaos;
mod commands;
mod concurrency;
mod configuration;
mod contract;
mod credentials;
mod curl;
mod dead_letters;
mod decisions;
mod doctor;
mod files;
mod formats;
#[expect(dead_code, reason = "some of it serves the other test binary alone")]
#[path = "../harness/harness.rs"]
mod harness;
mod held;
mod http;
mod images;
mod kill;
mod manual;
mod meter_endpoints;
mod meter_run;
mod meter_trail;
mod outage;
mod page;
mod rate;
mod receipts;
mod reconcile;
mod regression;
mod reload;
mod reloads;
mod replay;
mod retry_after;
mod rotation;
mod routing;
mod sandbox;
mod secured;
mod send;
mod service;
mod socket_activation;
mod stop;
mod store_full;
mod tcp;
mod tls;
mod top;
mod traced;
mod transform;
mod unix;
mod unknown;
mod verify;
