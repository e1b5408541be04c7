//! Runs and tests of a meter, and where it stands.

use serde_json::{Value, json};

use super::Meter;
use crate::clock::Timestamp;

/// A run or a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Session {
    pub(super) number: u64,
    pub(in super::super) is_debug: bool,
    pub(super) started_at: Timestamp,
}

impl Session {
    /// As summary and audit trail name it.
    pub(in super::super) fn name(&self) -> String {
        format!("R-{:08}", self.number)
    }
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum State {
    NeverRun,
    Testing {
        /// Whether every event came through.
        passes: bool,
    },
    TestingFailed,
    TestingPassed,
    Initializing {
        /// Whether it ends when its input has been read.
        ends: bool,
    },
    Running,
    /// Runs, and has read all of its input.
    Finishing,
    Stopping,
    Paused,
    Completed,
}

impl State {
    /// The number and the name under which it is told.
    pub(in super::super) const fn code(self) -> (u8, &'static str) {
        match self {
            Self::NeverRun => (1, "NEVER_RUN"),
            Self::Testing { .. } => (2, "TESTING"),
            Self::TestingFailed => (3, "TESTING_FAILED"),
            Self::TestingPassed => (4, "TESTING_PASSED"),
            Self::Running | Self::Finishing => (5, "RUNNING"),
            Self::Paused => (6, "PAUSED"),
            Self::Completed => (7, "COMPLETED"),
            Self::Initializing { .. } => (10, "INITIALIZING"),
            Self::Stopping => (14, "STOPPING"),
        }
    }

    /// What it is once somebody has looked.
    pub(in super::super) const fn next(self) -> Self {
        match self {
            Self::Testing { passes: true } => Self::TestingPassed,
            Self::Testing { passes: false } => Self::TestingFailed,
            Self::Initializing { ends: true } => Self::Finishing,
            Self::Initializing { ends: false } => Self::Running,
            Self::Finishing => Self::Completed,
            Self::Stopping => Self::Paused,
            stays => stays,
        }
    }

    /// Whether events that come are processed.
    pub(in super::super) const fn takes_events(self) -> bool {
        matches!(self, Self::Initializing { .. } | Self::Running | Self::Finishing)
    }
}

/// What the answers to run and debug have in common.
pub(in super::super) fn document(meter: &Meter, version: &str, session: &Session) -> Value {
    let (run_type, description) = if session.is_debug { (2, "DEBUG") } else { (1, "NORMAL") };
    json!({
        "id": session.number.to_string(),
        "sessionId": session.name(),
        "jobId": format!("{:032x}", session.number),
        "meterId": meter.id,
        "version": version,
        "revision": 1,
        "runType": run_type,
        "runTypeDescription": description,
        "startTime": nanoseconds(session.started_at),
        "endTime": null,
        "canExportSummary": true,
        "hasLineageEnabled": false,
    })
}

/// `2025-11-17T23:59:59.123000000Z`.
pub(in super::super) fn nanoseconds(at: Timestamp) -> String {
    at.to_string().replace('Z', "000000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_pass_come_to_one_that_stays() {
        let course = |mut state: State| {
            let mut codes = vec![state.code().0];
            while state.next() != state {
                state = state.next();
                codes.push(state.code().0);
            }
            codes
        };
        assert_eq!(course(State::Initializing { ends: false }), [10, 5]);
        assert_eq!(course(State::Initializing { ends: true }), [10, 5, 7]);
        assert_eq!(course(State::Stopping), [14, 6]);
        assert_eq!(course(State::Testing { passes: false }), [2, 3]);
        assert_eq!(course(State::NeverRun), [1]);
    }
}
