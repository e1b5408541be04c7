//! Rotation by renaming, by copying, and files that go.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::rig::{Rig, numbered, text_of};

const NEVER: Duration = Duration::from_secs(600);

fn rotate_by_renaming(pattern: &str) {
    let mut rig = Rig::new(&[pattern]);
    let mut writer = rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.rename("a.log", "a.log.1");
    writer.write_all(b"two\n").expect("written");
    rig.append("a.log", "three\n");
    writer.write_all(b"four\n").expect("written");
    rig.wait_for(4);
    rig.rename("a.log.1", "a.log.2");
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "five\n");
    rig.finish(["one", "two", "three", "four", "five"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_when_a_pattern_means_it() {
    rotate_by_renaming("a.log*");
}

#[test]
fn a_renamed_file_is_read_to_its_end_when_no_pattern_means_it() {
    rotate_by_renaming("a.log");
}

#[test]
fn several_rotations_between_two_looks_lose_nothing() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.append("a.log", "first\n");
    rig.start();
    rig.wait_for(1);
    let mut expected = vec!["first".to_owned()];
    for rotation in 0..20 {
        for file in (0..=rotation).rev() {
            let from = if file == 0 { "a.log".to_owned() } else { format!("a.log.{file}") };
            rig.rename(&from, &format!("a.log.{}", file + 1));
        }
        let lines = numbered(&format!("rotation {rotation}"), 0..10);
        rig.append("a.log", &text_of(&lines));
        expected.extend(lines);
    }
    rig.finish(expected);
}

#[test]
fn a_deleted_file_is_read_to_its_end_while_it_is_open() {
    let mut rig = Rig::new(&["*.log"]);
    let mut writer = rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.remove("a.log");
    writer.write_all(b"two\n").expect("written");
    rig.wait_for(2);
    rig.append("a.log", "three\n");
    rig.finish(["one", "two", "three"]);
}

#[test]
fn a_stop_reads_a_deleted_file_to_its_end() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.poll_interval = NEVER;
    let mut writer = rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.remove("a.log");
    let lines = numbered("more", 0..50_000);
    writer.write_all(text_of(&lines).as_bytes()).expect("written");
    rig.stop();
    assert_eq!(rig.committed.len(), 50_001);
    rig.check_ids();
}

#[test]
fn files_that_went_are_let_go_once_they_are_read_and_quiet() {
    let mut rig = Rig::new(&["*.log"]);
    rig.pace.quiet = Duration::from_millis(1);
    for name in ["deleted", "renamed", "kept"] {
        rig.append(&format!("{name}.log"), &format!("{name}\n"));
    }
    rig.append("empty.log", "");
    rig.start();
    rig.wait_for(3);
    rig.wait_for_open_files(3);
    rig.remove("deleted.log");
    rig.remove("empty.log");
    rig.rename("renamed.log", "renamed.old");
    rig.wait_for_open_files(1);
    // One that comes back is known: it goes on where it was.
    rig.append("renamed.old", "back\n");
    rig.rename("renamed.old", "again.log");
    rig.finish(["deleted", "renamed", "kept", "back"]);
}

fn copy_and_truncate(pattern: &str, hold: Duration) {
    let mut rig = Rig::new(&[pattern]);
    rig.pace.hold = hold;
    rig.append("a.log", "one 2026-01-01\n");
    rig.start();
    let mut expected = vec!["one 2026-01-01".to_owned()];
    for rotation in 0..5 {
        rig.wait_for(expected.len());
        let lines = numbered(&format!("rotation {rotation}"), 0..2000);
        rig.append("a.log", &text_of(&lines));
        if rotation > 0 {
            rig.rename("a.log.1", &format!("a.log.{}", rotation + 1));
        }
        rig.copy("a.log", "a.log.1");
        rig.truncate("a.log");
        expected.extend(lines);
        let after = format!("after {rotation}");
        rig.append("a.log", &format!("{after}\n"));
        expected.push(after);
    }
    rig.finish(expected);
}

#[test]
fn the_copy_before_a_truncation_is_read_once_when_a_pattern_means_it() {
    copy_and_truncate("a.log*", NEVER);
}

#[test]
fn the_copy_before_a_truncation_is_read_when_no_pattern_means_it() {
    copy_and_truncate("a.log", NEVER);
}

#[test]
fn a_copy_that_waits_long_for_its_truncation_is_not_read_as_a_new_file() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.pace.hold = NEVER;
    rig.append("a.log", "one\ntwo\n");
    rig.start();
    rig.wait_for(2);
    rig.append("a.log.1", "one\n");
    rig.append("a.log", "three\n");
    rig.wait_for(3);
    rig.append("a.log", "four\n");
    rig.append("a.log.1", "two\nthree\nfour\n");
    rig.wait_for(4);
    rig.truncate("a.log");
    rig.append("a.log", "five\n");
    rig.wait_for_cursor(|cursor| cursor.file.path.ends_with("a.log.1"));
    rig.finish(["one", "two", "three", "four", "five"]);
}

#[test]
fn a_truncated_file_that_has_grown_past_the_cursor_is_read_anew() {
    let mut rig = Rig::new(&["*.log"]);
    // Lines of one length with one end: only the first bytes tell the contents apart.
    let line = |number| format!("{number:04} {}", "x".repeat(100));
    rig.append("a.log", &text_of(&[line(0), line(1)]));
    rig.start();
    rig.wait_for(2);
    let anew: Vec<_> = (2..6).map(line).collect();
    fs::write(rig.path("a.log"), text_of(&anew)).expect("written");
    rig.finish((0..6).map(line));
}

#[test]
fn two_files_with_the_same_first_lines_are_two_files() {
    let mut rig = Rig::new(&["*.log"]);
    rig.pace.hold = NEVER;
    rig.append("a.log", "header\nfrom a\n");
    rig.start();
    rig.wait_for(2);
    rig.append("b.log", "header\nfrom b\n");
    rig.finish(["header", "from a", "header", "from b"]);
}

#[test]
fn two_files_that_stay_alike_are_two_files_after_a_while() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "header\nsame\n");
    rig.start();
    rig.wait_for(2);
    rig.append("b.log", "header\nsame\n");
    rig.wait_for(4);
    rig.append("b.log", "more\n");
    rig.finish(["header", "same", "header", "same", "more"]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut rig = Rig::new(&["*.log"]);
    rig.start();
    let mut expected = Vec::new();
    for number in 0..200 {
        // The same first line, and offsets that fit the file before.
        let lines = ["header".to_owned(), format!("line {number:04}")];
        rig.append("a.log", &text_of(&lines));
        expected.extend(lines);
        rig.wait_for(expected.len());
        rig.remove("a.log");
    }
    rig.finish(expected);
}

/// A writer that never waits for the source and rotates all the time, in both ways.
#[test]
fn a_restless_writer_loses_nothing() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.pace.hold = NEVER;
    rig.settings.open_files_max = 2;
    rig.start();
    let mut expected = Vec::new();
    for rotation in 0..150 {
        for part in 0..fastrand::usize(1..6) {
            let lines = numbered(&format!("{rotation}.{part}"), 0..fastrand::usize(1..2000));
            rig.append("a.log", &text_of(&lines));
            expected.extend(lines);
        }
        if fastrand::bool() {
            rig.copy("a.log", &format!("a.log.{rotation}"));
            rig.truncate("a.log");
        } else {
            rig.rename("a.log", &format!("a.log.{rotation}"));
        }
    }
    rig.finish(expected);
}
