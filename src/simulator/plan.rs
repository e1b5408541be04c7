//! Decides which fault strikes which request: the same seed and the same order of requests
//! give the same faults.

use std::time::Duration;

use fastrand::Rng;

use super::faults::{Fault, Kind};

/// The faults that are in force, and what is left of them.
#[derive(Debug)]
pub(super) struct Plan {
    faults: Vec<Fault>,
    rng: Rng,
}

/// What happens to one ingestion request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    /// How long it takes at least.
    pub(super) latency: Duration,
    /// What goes wrong; never a [`Kind::Slow`] or [`Kind::TokenStatus`].
    pub(super) kind: Option<Kind>,
    /// The names of the faults in it.
    pub(super) names: Vec<&'static str>,
}

impl Plan {
    /// A plan that begins.
    pub(super) fn new(faults: Vec<Fault>, seed: u64) -> Self {
        Self { faults, rng: Rng::with_seed(seed) }
    }

    /// Forgets the faults in force.
    pub(super) fn replace(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    /// What happens to the next request for `meter`.
    pub(super) fn draw(&mut self, meter: &str) -> Drawn {
        let mut drawn = Drawn::default();
        for fault in &mut self.faults {
            let strikes_meter = fault.meter.as_deref().is_none_or(|only| only == meter);
            let is_for_token = matches!(fault.kind, Kind::TokenStatus { .. });
            if is_for_token || !strikes_meter || !strikes(fault, &mut self.rng) {
                continue;
            }
            drawn.names.push(fault.kind.name());
            match &fault.kind {
                Kind::Slow(time) => drawn.latency += *time,
                kind => {
                    drawn.kind = Some(kind.clone());
                    break;
                }
            }
        }
        drawn
    }

    /// What happens to the next request for a token: the status and `Retry-After`.
    pub(super) fn draw_token(&mut self) -> Option<(u16, Option<u64>)> {
        self.faults.iter_mut().find_map(|fault| match fault.kind {
            Kind::TokenStatus { status, retry_after } => {
                strikes(fault, &mut self.rng).then_some((status, retry_after))
            }
            _ => None,
        })
    }
}

/// Whether the fault strikes now; takes one from its count if so.
fn strikes(fault: &mut Fault, rng: &mut Rng) -> bool {
    let is_left = fault.count != Some(0);
    if !is_left || (fault.probability < 1.0 && rng.f64() >= fault.probability) {
        return false;
    }
    if let Some(count) = &mut fault.count {
        *count -= 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::faults;

    fn plan(faults: &[&str], seed: u64) -> Result<Plan, faults::Error> {
        let faults: Result<_, _> = faults.iter().map(|text| text.parse()).collect();
        Ok(Plan::new(faults?, seed))
    }

    fn kinds(plan: &mut Plan, meters: &[&str]) -> Vec<Option<Kind>> {
        meters.iter().map(|meter| plan.draw(meter).kind).collect()
    }

    #[test]
    fn a_count_is_used_up_by_its_meter_only() -> Result<(), faults::Error> {
        let mut plan = plan(&["rubbishx2@a", "reset-afterx1"], 0)?;
        let drawn = kinds(&mut plan, &["b", "b", "a", "a", "a"]);
        let (reset, rubbish) = (Some(Kind::ResetAfter), Some(Kind::Rubbish));
        assert_eq!(drawn, [reset, None, rubbish.clone(), rubbish, None]);
        Ok(())
    }

    #[test]
    fn latency_goes_together_with_another_fault() -> Result<(), faults::Error> {
        let mut plan = plan(&["slow=10ms", "token-status=500", "unauthorized", "slow=1h"], 0)?;
        let drawn = plan.draw("a");
        assert_eq!(drawn.latency, Duration::from_millis(10));
        assert_eq!(drawn.kind, Some(Kind::Unauthorized));
        assert_eq!(drawn.names, ["slow", "unauthorized"]);
        assert_eq!(plan.draw_token(), Some((500, None)));
        Ok(())
    }

    #[test]
    fn one_seed_gives_one_course_of_events() -> Result<(), faults::Error> {
        let meters = ["a"; 200];
        let drawn = kinds(&mut plan(&["rubbish:0.3"], 7)?, &meters);
        assert_eq!(drawn, kinds(&mut plan(&["rubbish:0.3"], 7)?, &meters));
        let struck = drawn.iter().flatten().count();
        assert!((30..=90).contains(&struck), "{struck}");
        Ok(())
    }
}
