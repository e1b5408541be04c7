//! Stops and crashes at any point: what was committed is not read again, the rest is.

use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::rig::{QUICK, Rig, numbered, text_of};

#[test]
fn rotation_while_away_loses_nothing() {
    for pattern in ["a.log", "a.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.append("a.log", "one\n");
        rig.start();
        rig.wait_for(1);
        rig.stop();
        rig.append("a.log", "two\n");
        rig.rename("a.log", "a.log.1");
        rig.append("a.log", "three\n");
        rig.start();
        rig.finish(["one", "two", "three"]);
    }
}

/// A rotated file that no pattern means is looked for as long as it could not be found.
#[test]
fn a_directory_that_comes_late_has_its_rotated_files_read() {
    let mut rig = Rig::new(&["logs/a.log"]);
    let (logs, away) = (rig.path("logs"), rig.path("away"));
    fs::create_dir(&logs).expect("made");
    rig.append("logs/a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.stop();
    rig.append("logs/a.log", "two\n");
    rig.rename("logs/a.log", "logs/a.log.1");
    rig.append("logs/a.log", "three\n");
    fs::rename(&logs, &away).expect("moved");
    rig.start();
    rig.watch_for(5 * QUICK.rescan);
    fs::rename(&away, &logs).expect("moved back");
    rig.finish(["one", "two", "three"]);
}

/// A header is that of any file of the kind.
#[test]
fn an_older_file_that_begins_alike_is_not_taken_for_the_copy_of_a_short_one() {
    let mut rig = Rig::new(&["a.csv"]);
    rig.append("a.csv", "name,quantity\n");
    rig.append("a-2025.csv", "name,quantity\nbilled,1\n")
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .expect("set");
    rig.start();
    rig.wait_for(1);
    rig.stop();
    rig.truncate("a.csv");
    rig.start();
    rig.watch_for(5 * QUICK.rescan);
    rig.append("a.csv", "new,2\n");
    rig.finish(["name,quantity", "new,2"]);
}

#[test]
fn copying_and_truncation_while_away_loses_nothing() {
    for pattern in ["a.log", "a.log*"] {
        for after in ["three\n", "something much longer than before\n"] {
            let mut rig = Rig::new(&[pattern]);
            rig.append("a.log", "one\n");
            rig.start();
            rig.wait_for(1);
            rig.stop();
            rig.append("a.log", "two\n");
            rig.copy("a.log", "a.log.1");
            rig.truncate("a.log");
            rig.append("a.log", after);
            rig.start();
            rig.wait_for(3);
            rig.stop();
            // Known also at the start after that, and at the one after that.
            rig.start();
            rig.append("a.log", "four\n");
            rig.wait_for(4);
            rig.finish(["one", "two", after.trim_end(), "four"]);
        }
    }
}

#[test]
fn a_copy_with_nothing_left_to_read_is_known_at_the_next_start() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.copy("a.log", "a.log.1");
    rig.truncate("a.log");
    rig.append("a.log", "two\n");
    rig.wait_for(2);
    rig.stop();
    assert_eq!(rig.known().len(), 2);
    rig.start();
    rig.append("a.log", "three\n");
    rig.finish(["one", "two", "three"]);
}

#[test]
fn truncation_while_away_begins_a_new_generation() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\ntwo\n");
    rig.start();
    rig.wait_for(2);
    rig.stop();
    rig.truncate("a.log");
    rig.append("a.log", "three\n");
    rig.start();
    rig.finish(["one", "two", "three"]);
}

/// What a writer does to its log between two looks.
#[derive(Debug, Clone, Copy)]
enum Act {
    Append(usize),
    Half,
    Rename,
    CopyTruncate,
    Stop,
    Crash(usize),
    CatchUp,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_usize..3000).prop_map(Act::Append),
        1 => Just(Act::Half),
        2 => Just(Act::Rename),
        2 => Just(Act::CopyTruncate),
        1 => Just(Act::Stop),
        3 => (0_usize..4).prop_map(Act::Crash),
        1 => Just(Act::CatchUp),
    ]
}

struct Writer {
    rig: Rig,
    expected: Vec<String>,
    is_in_line: bool,
    rotations: usize,
}

impl Writer {
    fn act(&mut self, act: Act) {
        match act {
            Act::Append(count) => {
                self.end_line();
                let written = self.expected.len();
                let lines = numbered(
                    "a line that is no longer than it has to be",
                    written..written + count,
                );
                self.rig.append("a.log", &text_of(&lines));
                self.expected.extend(lines);
            }
            Act::Half => {
                self.end_line();
                self.rig.append("a.log", "half ");
                self.is_in_line = true;
            }
            Act::Rename => {
                self.act(Act::Append(1));
                // Of a file that nothing is known of, no later start can tell that it is ours.
                let inode = self.rig.inode("a.log");
                self.rig.wait_for_cursor(|cursor| cursor.file.identity.inode == inode);
                self.shift();
                self.rig.rename("a.log", "a.log.1");
                self.rig.append("a.log", "");
            }
            Act::CopyTruncate => {
                self.act(Act::Append(1));
                // What nothing was committed of cannot be told from another file.
                self.rig.wait_for(self.expected.len());
                self.act(Act::Append(5));
                self.shift();
                self.rig.copy("a.log", "a.log.1");
                self.rig.truncate("a.log");
                // Two truncations between two looks are one: nobody can see the first.
                self.act(Act::Append(1));
                self.rig.wait_for(self.expected.len());
            }
            Act::Stop => {
                self.rig.stop();
                self.rig.start();
            }
            Act::Crash(chunks_max) => {
                self.rig.crash(chunks_max);
                self.rig.start();
            }
            Act::CatchUp => self.rig.wait_for(self.expected.len()),
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_in_line) {
            let end = format!("end {}", self.expected.len());
            self.rig.append("a.log", &format!("{end}\n"));
            self.expected.push(format!("half {end}"));
        }
    }

    fn shift(&mut self) {
        for number in (1..=self.rotations).rev() {
            self.rig.rename(&format!("a.log.{number}"), &format!("a.log.{}", number + 1));
        }
        self.rotations += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_life_of_a_log_is_read_once(
        acts in prop::collection::vec(act(), 1..14),
        is_matched in any::<bool>(),
        open_files_max in 1_usize..4,
    ) {
        let mut rig = Rig::new(&[if is_matched { "a.log*" } else { "a.log" }]);
        rig.settings.open_files_max = open_files_max;
        rig.pace.hold = std::time::Duration::from_secs(600);
        rig.append("a.log", "first\n");
        rig.start();
        let expected = vec!["first".to_owned()];
        let mut writer = Writer { rig, expected, is_in_line: false, rotations: 0 };
        for act in acts {
            writer.act(act);
        }
        writer.end_line();
        let Writer { rig, expected, .. } = writer;
        rig.finish(expected);
    }
}
