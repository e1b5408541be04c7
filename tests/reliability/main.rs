//! What the guarantees rest on: the real program, ended, cut off, starved and lied to. One module a
//! group of rows of the scorecard in `docs/guarantees.md`.
//!
//! A few cases run with every test run. `METERD_IT_FULL=1` takes all of them; `just reliability` does,
//! and makes the table of what came of it. Some need root; where they cannot run they say so, and
//! leave no figure.

mod case;
mod corpus;
mod cut_answers;
mod damaged;
mod every_call;
mod failing_calls;
mod flood;
mod full_disk;
#[expect(dead_code, unused_imports, reason = "shared with other test binaries")]
#[path = "../harness/harness.rs"]
mod harness;
mod mutations;
mod network;
#[path = "../../fuzz/targets/oracle.rs"]
mod oracle;
mod path_tricks;
mod release;
mod reused_inodes;
mod rotation;
mod scorecard;
mod secrets;
mod seeded_bugs;
mod soak;
mod start;
mod storms;
mod table;
mod tls_faults;
mod tls_gate;
mod trouble;
mod units;
