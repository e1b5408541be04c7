//! What Mediation says and is told: the bodies of its requests and answers, field by field, and
//! its codes. Types only: nothing here sends.
//!
//! Every documented field has its place. An answer may leave out any of them, may have others,
//! and may say them in other ways: what is not understood is [kept](form) and never a failure.

pub mod answer;
pub mod audit;
pub mod debug;
pub mod error;
pub mod export;
pub mod files;
pub mod form;
pub mod import;
pub mod multipart;
pub mod percent;
pub mod run;
pub mod status;
pub mod summary;
pub mod time;
