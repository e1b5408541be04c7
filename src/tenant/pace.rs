//! How fast requests go out: evenly, near the limit of a minute and never over it; slower for a
//! time after the far end said that it was too much. How fast the rate rises again depends on how
//! long the far end wanted nothing to come: it is whole after as much time.
//!
//! What a pause did not use is made up for, within bounds: a lane that waits before it tries again
//! does not cost the tenant a part of its rate.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::minute::Minute;

/// In this time goes out what a minute admits: a little longer, so that the count of the last
/// minute is seldom what limits. It would let out in bursts what it held back.
const MINUTE: Duration = Duration::from_millis(61_200);

/// Requests may make up for so long a pause. More would leave the minute after it too few.
const BURST: Duration = Duration::from_secs(2);

/// What is left of the rate after a refusal for it.
const SLOWER: f64 = 0.7;

/// Refusals that come so close together are one.
const SLOWER_INTERVAL: Duration = Duration::from_secs(1);

/// By which part of the whole the rate rises, and how often at most: more often after a refusal that
/// said when to come again.
const FASTER: f64 = 0.05;
const FASTER_INTERVAL: Duration = Duration::from_secs(5);

type Limiter = RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>;

/// A rate that falls at once and rises slowly.
#[derive(Debug)]
pub struct Pace {
    limiter: Limiter,
    minute: Minute,
    max: u32,
    per_minute: f64,
    changed_at: Option<Instant>,
    /// How often the rate rises at most.
    faster_interval: Duration,
}

impl Pace {
    /// At most `max` requests in any minute, at least 1.
    pub fn new(max: u32) -> Self {
        let (max, minute) = (max.max(1), Minute::default());
        let per_minute = f64::from(max);
        let (limiter, faster_interval) = (limiter(per_minute), FASTER_INTERVAL);
        Self { limiter, minute, max, per_minute, changed_at: None, faster_interval }
    }

    /// At most `max` requests in any minute from now on, at least 1. A rate that was lowered stays
    /// where it is below that.
    pub fn limit(&mut self, max: u32, now: Instant) {
        let max = max.max(1);
        if max == self.max {
            return;
        }
        let was_full = self.per_minute >= f64::from(self.max);
        self.max = max;
        let full = f64::from(max);
        self.change(if was_full { full } else { self.per_minute.min(full) }, now);
    }

    /// Admits a request, or says how long to wait before the next look.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let wait = self.minute.wait(now, self.max);
        if !wait.is_zero() {
            return Err(wait);
        }
        let early =
            |early: governor::NotUntil<Duration>| early.wait_time_from(self.limiter.clock().now());
        self.limiter.check().map_err(early)?;
        self.minute.count(now);
        Ok(())
    }

    /// The far end refused for the rate, and may have `asked` to be left alone for so long.
    pub fn slower(&mut self, asked: Option<Duration>, now: Instant) {
        if self.has_changed_within(SLOWER_INTERVAL, now) {
            return;
        }
        self.change((self.per_minute * SLOWER).max(1.0), now);
        let steps = ((1.0 - self.per_minute / f64::from(self.max)) / FASTER).max(1.0);
        let interval = asked.map(|asked| asked.div_f64(steps));
        self.faster_interval = interval.unwrap_or(FASTER_INTERVAL).min(FASTER_INTERVAL);
    }

    /// The far end answered in good order.
    pub fn faster(&mut self, now: Instant) {
        let max = f64::from(self.max);
        if self.per_minute >= max || self.has_changed_within(self.faster_interval, now) {
            return;
        }
        let step = (max * FASTER).max(1.0);
        self.change((self.per_minute + step).min(max), now);
    }

    fn has_changed_within(&self, time: Duration, now: Instant) -> bool {
        self.changed_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    fn change(&mut self, per_minute: f64, now: Instant) {
        self.limiter = limiter(per_minute);
        (self.per_minute, self.changed_at) = (per_minute, Some(now));
    }
}

/// A limiter that admits one request at once, and makes up for pauses that it has seen.
fn limiter(per_minute: f64) -> Limiter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1, and at most what a u32 holds"
    )]
    let burst = (per_minute * BURST.as_secs_f64() / MINUTE.as_secs_f64()).ceil() as u32;
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(MINUTE.div_f64(per_minute.max(1.0)))
        .unwrap_or_else(|| Quota::per_minute(NonZeroU32::MIN))
        .allow_burst(burst);
    let limiter = RateLimiter::direct_with_clock(quota, Since(Instant::now()));
    if let Some(unearned) = NonZeroU32::new(burst.get() - 1) {
        // A new limiter has all of its burst; it fits, because nothing was admitted yet.
        let _ = limiter.check_n(unearned);
    }
    limiter
}

/// The runtime's clock for the limiter.
#[derive(Debug, Clone)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::time::sleep;

    /// When requests went out that always had a successor waiting, but for the pauses: each is so
    /// many milliseconds and comes after one request in `one_in`. For three minutes.
    async fn backlog(max: u32, pauses: &[u64], one_in: usize) -> Vec<Instant> {
        let (mut pace, begin, mut sent) = (Pace::new(max), Instant::now(), Vec::new());
        let mut pauses = pauses.iter().cycle();
        while begin.elapsed() < Duration::from_secs(180) {
            match pace.admit(Instant::now()) {
                Ok(()) => sent.push(Instant::now()),
                Err(wait) => {
                    sleep(wait).await;
                    continue;
                }
            }
            if sent.len() % one_in == 0
                && let Some(pause) = pauses.next()
            {
                sleep(Duration::from_millis(*pause)).await;
            }
        }
        sent
    }

    /// The fewest and the most requests in a minute that begins with one.
    fn minutes(sent: &[Instant]) -> (usize, usize) {
        let last = sent[sent.len() - 1];
        let full = |from: &usize| sent[*from] + Duration::from_secs(60) <= last;
        let within = |from: usize| {
            sent.partition_point(|at| *at < sent[from] + Duration::from_secs(60)) - from
        };
        let counts = || (0..sent.len()).filter(full).map(within);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_uses_nearly_the_whole_rate() {
        for max in [60, 600, 5000] {
            let (least, most) = minutes(&backlog(max, &[], 1).await);
            let max = max as usize;
            assert!(most <= max && least * 100 >= max * 96, "{least} to {most} of {max}");
        }
        let sent = backlog(1, &[], 1).await;
        assert_eq!((sent.len(), minutes(&sent)), (3, (1, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_made_up_for() {
        let (least, most) = minutes(&backlog(600, &[300, 900, 0, 1500], 20).await);
        assert!(most <= 600 && least >= 570, "{least} to {most}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn no_minute_has_more_than_the_limit(
            max in prop_oneof![Just(1), Just(60), 2_u32..700],
            pauses in prop::collection::vec(prop_oneof![0_u64..100, 0_u64..20_000], 1..20),
            one_in in 1_usize..100,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time()
                .start_paused(true).build()?;
            let (_, most) = minutes(&runtime.block_on(backlog(max, &pauses, one_in)));
            prop_assert!(most <= max as usize, "{} of {}", most, max);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_lowers_the_rate_once_and_answers_raise_it_slowly() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut pace = Pace::new(1000);
        pace.slower(None, at(0));
        pace.slower(None, at(0));
        assert!((pace.per_minute - 700.0).abs() < 1e-9);
        pace.faster(at(4));
        assert!((pace.per_minute - 700.0).abs() < 1e-9);
        pace.faster(at(5));
        assert!((pace.per_minute - 750.0).abs() < 1e-9);
        (2..100).for_each(|round| pace.faster(at(5 * round)));
        assert!((pace.per_minute - 1000.0).abs() < 1e-9);
        (0..100).for_each(|second| pace.slower(None, at(1000 + second)));
        assert!((pace.per_minute - 1.0).abs() < 1e-9);
    }

    /// Seconds from the end of the wait that was asked for until the rate is whole.
    fn rises_in(refusals: u64, asked: u64) -> u64 {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut pace = Pace::new(1000);
        let asked_for = Some(Duration::from_secs(asked));
        (0..refusals).for_each(|refusal| pace.slower(asked_for, at(refusal * asked * 1000)));
        let answers = (0..).map(|answer| refusals * asked * 1000 + answer * 10);
        let mut is_whole = |milliseconds: &u64| {
            pace.faster(at(*milliseconds));
            pace.per_minute > 999.0
        };
        answers.take_while(|answer| !is_whole(answer)).count() as u64 / 100
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_whole_again_as_long_after_a_wait_as_that_was() {
        for asked in [1, 2, 10, 60] {
            for refusals in [1, 2, 5, 20] {
                let seconds = rises_in(refusals, asked);
                assert!(seconds <= asked, "{seconds} s after {refusals} x {asked} s");
            }
        }
        // Never slower than without a wait.
        assert!(rises_in(1, 900) <= 30);
    }
}
