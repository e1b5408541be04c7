use super::*;
use proptest::prelude::*;

const HOLD: Duration = Duration::from_secs(60);

const SETTINGS: Settings =
    Settings { invalid_share_max: 0.5, invalid_window: 100, invalid_hold: HOLD };

/// A state, the time, and what is under way.
struct Rig {
    state: State,
    now: Instant,
    /// Lines and bad lines of chunks that passed and were not judged.
    under_way: Vec<Found>,
    standing: Standing,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let (state, now) = (State::new(settings), Instant::now());
        Self { state, now, under_way: Vec::new(), standing: Standing::Reading }
    }

    /// Asks for a chunk of `lines` lines, of which `invalid` are bad.
    fn admit(&mut self, lines: u32, invalid: u32) -> Admission {
        let admission = self.state.admit(lines.into(), self.now);
        if admission == Admission::Passed {
            self.under_way.push(Found { lines, invalid });
        }
        admission
    }

    /// Judges one of the chunks under way; tells how the source stands when that has changed.
    fn judge(&mut self, index: usize) -> Option<Standing> {
        let found = self.under_way.swap_remove(index % self.under_way.len().max(1));
        let told = self.state.note(Judged { read: found.lines.into(), found }, self.now);
        self.standing = told.unwrap_or(self.standing);
        told
    }

    fn judge_all(&mut self) {
        while !self.under_way.is_empty() {
            self.judge(0);
        }
    }

    /// Hands over a chunk that is judged at once.
    fn pass(&mut self, lines: u32, invalid: u32) -> Option<Standing> {
        assert_eq!(self.admit(lines, invalid), Admission::Passed);
        self.judge(0)
    }

    fn is_held(&self) -> bool {
        self.standing != Standing::Reading
    }
}

#[test]
fn more_bad_lines_than_the_share_of_a_window_hold_the_source() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.pass(50, 50), None);
    let found = Found { lines: 51, invalid: 51 };
    assert_eq!(rig.pass(1, 1), Some(Standing::Held { found, hold: HOLD }));
    assert_eq!(rig.admit(1, 0), Admission::At(rig.now + HOLD));
}

#[test]
fn the_share_is_that_of_the_last_lines() {
    let mut rig = Rig::new(SETTINGS);
    for _ in 0..10 {
        assert_eq!(rig.pass(100, 50), None);
    }
    for _ in 0..50 {
        assert_eq!(rig.pass(1, 0), None);
    }
    for _ in 0..50 {
        assert_eq!(rig.pass(1, 1), None);
    }
    assert!((0..20).any(|_| rig.pass(1, 1).is_some()));
}

#[test]
fn a_share_of_nothing_holds_at_the_first_bad_line_and_only_then() {
    let mut rig = Rig::new(Settings { invalid_share_max: 0.0, ..SETTINGS });
    assert_eq!(rig.pass(10_000, 0), None);
    assert!(rig.pass(10_000, 1).is_some());
}

#[test]
fn a_share_is_compared_as_it_is_written() {
    let settings = Settings { invalid_share_max: 0.29, ..SETTINGS };
    assert_eq!(Rig::new(settings).pass(100, 29), None);
    assert!(Rig::new(settings).pass(100, 30).is_some());
}

#[test]
fn the_probe_waits_until_what_was_read_before_is_judged() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.admit(60, 60), Admission::Passed);
    assert_eq!(rig.admit(30, 30), Admission::Passed);
    assert!(rig.judge(0).is_some());
    rig.now += HOLD;
    assert_eq!(rig.admit(1, 0), Admission::Later);
    assert_eq!(rig.judge(0), None);
    assert_eq!(rig.admit(1, 0), Admission::Passed);
    assert_eq!(rig.admit(1, 0), Admission::Later);
    assert_eq!(rig.judge(0), Some(Standing::Reading));
    assert_eq!(rig.admit(1, 0), Admission::Passed);
}

#[test]
fn a_probe_is_judged_when_all_of_it_is() {
    let mut rig = Rig::new(SETTINGS);
    rig.pass(60, 60);
    rig.now += HOLD;
    assert_eq!(rig.admit(10, 0), Admission::Passed);
    let part = |lines, invalid| Judged { read: lines, found: Found { lines: 5, invalid } };
    assert_eq!(rig.state.note(part(5, 5), rig.now), None);
    assert_eq!(rig.admit(1, 0), Admission::Later);
    // Half of the lines is not more than half of them.
    assert_eq!(rig.state.note(part(5, 0), rig.now), Some(Standing::Reading));
}

#[test]
fn blank_lines_are_no_verdict() {
    let mut rig = Rig::new(SETTINGS);
    rig.pass(60, 60);
    rig.now += HOLD;
    assert_eq!(rig.admit(10, 0), Admission::Passed);
    assert_eq!(rig.state.note(Judged { read: 10, found: Found::default() }, rig.now), None);
    // The next chunk is the probe, and nobody waits for it.
    assert_eq!(rig.admit(1, 1), Admission::Passed);
    assert_eq!(rig.admit(1, 1), Admission::Later);
}

#[test]
fn holds_double_up_to_a_quarter_of_an_hour_until_a_window_was_good() {
    let mut rig = Rig::new(SETTINGS);
    rig.pass(60, 60);
    for minutes in [1, 2, 4, 8, 15, 15] {
        let until = rig.now + Duration::from_secs(60 * minutes);
        assert_eq!(rig.admit(1, 1), Admission::At(until));
        rig.now = until;
        assert_eq!(rig.pass(1, 1), None);
    }
    // A lucky probe does not make holds short again, a window of good lines does.
    for (good_lines, expected) in [(1, HOLD_MAX), (100, HOLD)] {
        rig.now += HOLD_MAX;
        assert_eq!(rig.pass(1, 0), Some(Standing::Reading));
        rig.pass(good_lines, 0);
        let held = (0..3).find_map(|_| rig.pass(60, 60));
        assert!(matches!(held, Some(Standing::Held { hold, .. }) if hold == expected), "{held:?}");
    }
}

#[test]
fn the_first_hold_may_be_longer_than_the_longest() {
    let day = Duration::from_secs(86_400);
    let mut rig = Rig::new(Settings { invalid_hold: day, ..SETTINGS });
    rig.pass(60, 60);
    for _ in 0..2 {
        assert_eq!(rig.admit(1, 1), Admission::At(rig.now + day));
        rig.now += day;
        rig.pass(1, 1);
    }
}

#[test]
fn what_was_read_before_somebody_ended_the_hold_does_not_begin_it_again() {
    let mut rig = Rig::new(SETTINGS);
    for _ in 0..10 {
        assert_eq!(rig.admit(60, 60), Admission::Passed);
    }
    assert!(rig.judge(0).is_some());
    assert_eq!(rig.state.close(), Some(Standing::Reading));
    assert_eq!(rig.state.close(), None);
    for _ in 0..9 {
        assert_eq!(rig.judge(0), None);
    }
    let held = rig.pass(60, 60);
    assert!(matches!(held, Some(Standing::Held { hold: HOLD, .. })), "{held:?}");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Admit { lines: u32, invalid: u32 },
    Judge(usize),
    Pass(Duration),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let chunk = (1_u32..80, 0_u32..=100)
        .prop_map(|(lines, percent)| Step::Admit { lines, invalid: lines * percent / 100 });
    prop_oneof![
        6 => chunk,
        6 => any::<usize>().prop_map(Step::Judge),
        2 => (0_u64..1000).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #[test]
    fn one_probe_at_a_time_and_a_way_out_of_every_state(
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut rig = Rig::new(SETTINGS);
        for step in steps {
            let (was_held, before) = (rig.is_held(), rig.under_way.len());
            match step {
                Step::Admit { lines, invalid } => {
                    let passed = rig.admit(lines, invalid) == Admission::Passed;
                    // Open to all, or to one alone.
                    prop_assert!(passed || was_held);
                    prop_assert!(!passed || !was_held || before == 0);
                }
                Step::Judge(_) if before == 0 => {}
                Step::Judge(index) => {
                    let told = rig.judge(index);
                    // What is told is a change.
                    prop_assert!(told.is_none() || rig.is_held() != was_held);
                }
                Step::Pass(time) => rig.now += time,
                Step::Close => {
                    prop_assert_eq!(rig.state.close().is_some(), was_held);
                    rig.standing = Standing::Reading;
                }
            }
            prop_assert_eq!(rig.state.is_closed(), !rig.is_held());
            let under_way: u64 = rig.under_way.iter().map(|chunk| u64::from(chunk.lines)).sum();
            prop_assert_eq!(rig.state.under_way, under_way);
        }
        // Whatever came before: one good chunk after the longest hold, and it goes on.
        rig.judge_all();
        if rig.is_held() {
            rig.now += HOLD_MAX;
            rig.pass(1, 0);
        }
        prop_assert!(!rig.is_held());
    }

    #[test]
    fn good_enough_lines_are_never_held(
        chunks in prop::collection::vec((1_u32..200, 0_u32..=50), 0..300),
    ) {
        let mut rig = Rig::new(SETTINGS);
        for (lines, percent) in chunks {
            prop_assert_eq!(rig.pass(lines, lines * percent / 100), None);
        }
    }

    #[test]
    fn bad_lines_are_held_before_there_are_two_windows_of_them(
        good in prop::collection::vec(1_u32..100, 0..50),
        bad in prop::collection::vec(1_u32..20, 200..201),
    ) {
        let mut rig = Rig::new(SETTINGS);
        for lines in good {
            rig.pass(lines, 0);
        }
        let mut lines_before = 0;
        for lines in bad {
            lines_before += lines;
            if rig.pass(lines, lines).is_some() {
                break;
            }
        }
        prop_assert!(rig.is_held());
        prop_assert!(lines_before <= 200, "{lines_before}");
    }
}
