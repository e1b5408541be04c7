//! Files that grow, and files that come later.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::rig::{Rig, numbered, text_of};
use crate::dead_letter::Reason;
use crate::source::file::ReadFrom;

#[test]
fn lines_are_read_as_they_are_appended_and_half_a_line_waits() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\ntwo\nth");
    rig.start();
    rig.wait_for(2);
    rig.append("a.log", "ree\n");
    rig.wait_for(3);
    rig.append("b.log", "four\n");
    rig.append("b.txt", "not ours\n");
    rig.finish(["one", "two", "three", "four"]);
}

#[test]
fn without_inotify_everything_is_found_by_looking() {
    let mut rig = Rig::new(&["*.log", "late/*/*.log"]);
    rig.is_blind = true;
    rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.append("a.log", "two\n");
    rig.wait_for(2);
    rig.rename("a.log", "a.old");
    rig.append("a.old", "three\n");
    rig.append("a.log", "four\n");
    fs::create_dir_all(rig.path("late/x")).expect("created");
    rig.append("late/x/b.log", "five\n");
    rig.finish(["one", "two", "three", "four", "five"]);
}

#[test]
fn directories_and_files_may_come_later() {
    let mut rig = Rig::new(&["late/**/*.log"]);
    rig.pace.rescan = std::time::Duration::from_secs(600);
    rig.settings.poll_interval = std::time::Duration::from_secs(600);
    rig.start();
    for (number, folder) in ["late", "late/deep", "late/deep/deeper"].into_iter().enumerate() {
        fs::create_dir(rig.path(folder)).expect("created");
        rig.append(&format!("{folder}/a.log"), "line\n");
        rig.wait_for(number + 1);
    }
    rig.finish(["line"; 3]);
}

#[test]
fn a_line_that_is_too_long_is_a_dead_letter_and_the_next_ones_are_read() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.line_bytes_max = 300_000;
    let fits = "y".repeat(300_000);
    let long = "x".repeat(1_000_000);
    rig.append("a.log", &format!("{fits}\n{long}"));
    rig.start();
    rig.wait_for(1);
    rig.append("a.log", &format!("{long}\nnext\n{long}"));
    rig.wait_for(3);
    rig.stop();
    rig.start();
    rig.append("a.log", "\nlast\n");
    rig.wait_for(5);
    let faults: Vec<_> = rig.committed.iter().filter_map(|(_, event)| event.fault).collect();
    let too_long = |length| (Reason::LineTooLong, length);
    assert_eq!(faults, [too_long(2_000_000), too_long(1_000_000)]);
    let excerpt = "x".repeat(4096);
    rig.finish([&fits, &excerpt, "next", &excerpt, "last"]);
}

#[test]
fn a_large_file_comes_whole_and_in_order() {
    let mut rig = Rig::new(&["*.log"]);
    let lines = numbered("a line of some length so that there are many chunks", 0..60_000);
    rig.append("a.log", &text_of(&lines));
    rig.start();
    rig.wait_for(lines.len());
    let texts: Vec<_> = rig.committed.iter().map(|(_, event)| event.text.clone()).collect();
    assert_eq!(texts, lines);
    let positions: Vec<_> = rig.committed.iter().map(|(_, event)| event.position).collect();
    assert!(positions.is_sorted());
    rig.finish(lines);
}

#[test]
fn many_files_are_followed_with_few_of_them_open() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.open_files_max = 16;
    let mut lines = Vec::new();
    for round in 0..3 {
        for file in 0..300 {
            let line = format!("file {file} round {round}");
            rig.append(&format!("{file}.log"), &format!("{line}\n"));
            lines.push(line);
        }
        if round == 0 {
            rig.start();
        }
        if round == 1 {
            // Closed files that are renamed are found again.
            rig.wait_for(lines.len());
            for file in 0..20 {
                rig.append(&format!("{file}.log"), &format!("last of {file}\n"));
                rig.rename(&format!("{file}.log"), &format!("{file}.old"));
                lines.push(format!("last of {file}"));
            }
        }
        rig.wait_for(lines.len());
    }
    rig.finish(lines);
}

#[test]
fn reading_from_the_end_holds_for_the_files_of_the_first_start_only() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.read_from = ReadFrom::End;
    rig.append("a.log", "before\nhal");
    rig.append("empty.log", "");
    rig.start();
    rig.wait_for_cursor(|cursor| cursor.offset == 7);
    rig.append("a.log", "f\n");
    rig.wait_for(1);
    rig.append("b.log", "new\n");
    rig.wait_for(2);
    rig.stop();
    rig.append("c.log", "while away\n");
    rig.append("empty.log", "no more\n");
    rig.start();
    rig.finish(["half", "new", "while away", "no more"]);
}

#[test]
fn a_file_that_cannot_be_read_disturbs_no_other_and_is_read_when_it_can() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("closed.log", "secret\n");
    let set = |mode| {
        let path = rig.path("closed.log");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    set(0o000);
    if fs::File::open(rig.path("closed.log")).is_ok() {
        // Whoever runs the test may read everything.
        set(0o600);
    }
    rig.append("a.log", "open\n");
    rig.start();
    rig.wait_for(1);
    fs::set_permissions(rig.path("closed.log"), fs::Permissions::from_mode(0o600)).expect("set");
    rig.finish(["open", "secret"]);
}

#[test]
fn a_link_is_its_target_and_two_names_are_one_file() {
    let mut rig = Rig::new(&["*.log"]);
    fs::create_dir(rig.path("elsewhere")).expect("created");
    rig.append("elsewhere/target", "one\n");
    std::os::unix::fs::symlink(rig.path("elsewhere/target"), rig.path("link.log")).expect("linked");
    rig.append("a.log", "two\n");
    fs::hard_link(rig.path("a.log"), rig.path("b.log")).expect("linked");
    rig.start();
    rig.wait_for(2);
    rig.append("elsewhere/target", "three\n");
    rig.append("b.log", "four\n");
    rig.finish(["one", "two", "three", "four"]);
}

#[test]
fn a_compressed_file_is_not_read() {
    let mut rig = Rig::new(&["a.log*"]);
    fs::write(rig.path("a.log.1.gz"), [0x1f, 0x8b, 8, b'\n', b'x', b'\n']).expect("written");
    rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.append("a.log", "two\n");
    rig.finish(["one", "two"]);
}
