//! What the references leave open, and how the simulator decides it. Each can be decided the other
//! way: `meterd simulate --assume NAME=VALUE`.

use std::str::FromStr;

/// One open question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Question {
    LateData,
    RepeatRenewsKey,
    RunWhileRunning,
    PassingStates,
    TestOfRunning,
    ImportOfRunning,
    ImportRemembers,
    OperatorOrder,
    SeveralWays,
    Output,
    SpanEnd,
    Payload,
    Samples,
}

/// A question with its name, the answer as a rule, and the other one.
type Row = (Question, &'static str, &'static str, &'static str);

/// Every question; the first answer is the one that holds unless another is asked for.
const QUESTIONS: [Row; 13] = [
    (Question::LateData, "late-data", "refused", "kept"),
    (Question::RepeatRenewsKey, "repeat-renews-key", "no", "yes"),
    (Question::RunWhileRunning, "run-while-running", "refused", "started"),
    (Question::PassingStates, "passing-states", "seen-once", "unseen"),
    (Question::TestOfRunning, "test-of-running", "unseen", "seen"),
    (Question::ImportOfRunning, "import-of-running", "goes-on", "pauses"),
    (Question::ImportRemembers, "import-remembers", "no", "yes"),
    (Question::OperatorOrder, "operator-order", "predecessors", "listed"),
    (Question::SeveralWays, "several-ways", "once", "each"),
    (Question::Output, "output", "sinks", "all"),
    (Question::SpanEnd, "span-end", "within", "outside"),
    (Question::Payload, "payload", "object", "text"),
    (Question::Samples, "samples", "100", "all"),
];

/// The answers; as a rule those that hold unless others are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assumptions {
    /// A bit for each question that is answered the other way.
    others: u16,
}

impl Assumptions {
    /// Whether the other answer to `question` holds.
    pub(in super::super) const fn differ(self, question: Question) -> bool {
        self.others & (1 << question as u16) != 0
    }

    /// These, and `more`.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self { others: self.others | more.others }
    }
}

impl FromStr for Assumptions {
    type Err = String;

    /// Reads one `NAME=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let found = QUESTIONS.iter().find(|(_, known, _, _)| *known == name);
        let Some((question, _, rule, other)) = found else {
            let names: Vec<&str> = QUESTIONS.iter().map(|(_, name, _, _)| *name).collect();
            return Err(format!("expected one of {}", names.join(", ")));
        };
        match value {
            value if value == *rule => Ok(Self::default()),
            value if value == *other => Ok(Self { others: 1 << *question as u16 }),
            _ => Err(format!("{name} is {rule} or {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_can_be_answered_both_ways_and_is_documented() -> Result<(), String> {
        let document = include_str!("../../../docs/meter-apis.md");
        let mut all = Assumptions::default();
        for (index, (question, name, rule, other)) in QUESTIONS.into_iter().enumerate() {
            assert_eq!(question as usize, index, "{name}");
            let (as_a_rule, otherwise): (Assumptions, Assumptions) =
                (format!("{name}={rule}").parse()?, format!("{name}={other}").parse()?);
            assert!(!as_a_rule.differ(question) && otherwise.differ(question), "{name}");
            assert!(!all.differ(question), "{name}");
            all = all.and(otherwise);
            assert!(all.differ(question), "{name}");
            assert!(document.contains(&format!("`{name}={other}`")), "{name} is not documented");
        }
        assert_eq!(
            "late-data=x".parse::<Assumptions>(),
            Err("late-data is refused or kept".into())
        );
        assert!(
            "x=y".parse::<Assumptions>().is_err() && "late-data".parse::<Assumptions>().is_err()
        );
        Ok(())
    }
}
