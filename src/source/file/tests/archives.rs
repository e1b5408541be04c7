//! Rotation with compression: the archive is the file that it was made of.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::rig::{Rig, numbered, text_of};

/// Compresses a file as `gzip` and `zstd --rm` do: into another, with the times of the first.
fn compress(rig: &Rig, from: &str, ending: &str) {
    let text = fs::read(rig.path(from)).expect("read");
    let modified = fs::metadata(rig.path(from)).and_then(|data| data.modified()).expect("a time");
    let bytes = match ending {
        "gz" => gzip(&text),
        _ => zstd::encode_all(text.as_slice(), 1).expect("compressed"),
    };
    write(rig, &format!("{from}.{ending}"), &bytes, modified);
    rig.remove(from);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("compressed");
    encoder.finish().expect("compressed")
}

fn write(rig: &Rig, name: &str, bytes: &[u8], modified: SystemTime) {
    let mut file = fs::File::create(rig.path(name)).expect("made");
    file.write_all(bytes).expect("written");
    file.set_modified(modified).expect("set");
}

/// What was read before a stop goes on in the archive.
fn compress_while_it_is_down(pattern: &str, ending: &str, lines: usize) {
    let mut rig = Rig::new(&[pattern]);
    let before = numbered("before", 0..lines);
    rig.append("a.log", &text_of(&before));
    rig.start();
    rig.wait_for(lines);
    rig.stop();
    let more = numbered("more", 0..lines);
    rig.append("a.log", &text_of(&more));
    rig.rename("a.log", "a.log.1");
    compress(&rig, "a.log.1", ending);
    rig.append("a.log", "new\n");
    rig.start();
    rig.wait_for(2 * lines + 1);
    // Known by its own cursor: a further start reads nothing.
    rig.stop();
    rig.start();
    rig.append("a.log", "newer\n");
    let rest = ["new".to_owned(), "newer".to_owned()];
    rig.finish([before, more, rest.to_vec()].concat());
}

#[test]
fn a_file_compressed_while_the_agent_was_down_is_read_on_in_the_archive() {
    for pattern in ["a.log", "a.log*"] {
        for ending in ["gz", "zst"] {
            for lines in [2, 50_000] {
                compress_while_it_is_down(pattern, ending, lines);
            }
        }
    }
}

#[test]
fn the_archive_of_a_file_that_is_read_to_its_end_brings_nothing_twice() {
    for pattern in ["a.log", "a.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.pace.quiet = Duration::from_millis(300);
        rig.start();
        let mut expected = Vec::new();
        for rotation in 0..4 {
            let lines = numbered(&format!("rotation {rotation}"), 0..2000);
            let mut writer = rig.append("a.log", &text_of(&lines));
            expected.extend(lines);
            rig.wait_for(expected.len());
            rig.rename("a.log", &format!("a.log.{rotation}"));
            let last = format!("last {rotation}");
            writer.write_all(format!("{last}\n").as_bytes()).expect("written");
            expected.push(last);
            rig.append("a.log", &format!("first of {rotation}\n"));
            expected.push(format!("first of {rotation}"));
            rig.wait_for(expected.len());
            compress(&rig, &format!("a.log.{rotation}"), "gz");
        }
        let archives = (0..4).map(|rotation| rig.inode(&format!("a.log.{rotation}.gz")));
        for inode in archives.collect::<Vec<_>>() {
            rig.wait_for_cursor(|cursor| {
                cursor.file.identity.inode == inode && cursor.file.packed_bytes > Some(0)
            });
        }
        rig.finish(expected);
    }
}

#[test]
fn rotations_that_nobody_saw_are_found_in_their_archives() {
    let mut rig = Rig::new(&["a.log"]);
    // Of a time before the source.
    rig.append("a.log.9", "history\n");
    compress(&rig, "a.log.9", "gz");
    rig.append("a.log", "one\n");
    rig.start();
    rig.wait_for(1);
    rig.stop();
    let mut expected = vec!["one".to_owned()];
    for rotation in ["3", "2", "1"] {
        let lines = numbered(&format!("before {rotation}"), 0..100);
        rig.append("a.log", &text_of(&lines));
        // Later than the one before, whatever the grain of the file system's clock is.
        let minutes = 4 - rotation.parse::<u64>().expect("a number");
        let later = SystemTime::now() + Duration::from_secs(60 * minutes);
        rig.append("a.log", "").set_modified(later).expect("set");
        expected.extend(lines);
        rig.rename("a.log", &format!("a.log.{rotation}"));
        compress(&rig, &format!("a.log.{rotation}"), "zst");
    }
    rig.append("a.log", "now\n");
    expected.push("now".to_owned());
    rig.start();
    rig.finish(expected);
}

#[test]
fn archives_that_a_pattern_means_are_files_of_their_own() {
    let mut rig = Rig::new(&["*.log*"]);
    write(&rig, "a.log.1.gz", &[gzip(b"one\ntw"), gzip(b"o\nthree")].concat(), SystemTime::now());
    rig.append("b.log.gz", "text\n");
    rig.start();
    rig.finish(["one", "two", "three", "text"]);
}

#[test]
fn a_copy_that_is_compressed_before_the_truncation_was_seen_is_read_on() {
    for pattern in ["a.log", "a.log*"] {
        let mut rig = Rig::new(&[pattern]);
        let before = numbered("before", 0..500);
        rig.append("a.log", &text_of(&before));
        rig.start();
        rig.wait_for(500);
        rig.stop();
        let more = numbered("more", 0..500);
        rig.append("a.log", &text_of(&more));
        rig.copy("a.log", "a.log.1");
        rig.truncate("a.log");
        compress(&rig, "a.log.1", "gz");
        rig.append("a.log", "anew\n");
        rig.start();
        rig.finish([before, more, vec!["anew".to_owned()]].concat());
    }
}

#[test]
fn a_truncation_is_seen_before_the_archive_of_the_copy() {
    for pattern in ["a.log", "a.log*"] {
        let mut rig = Rig::new(&[pattern]);
        // Files are looked at often, and searched for when one is not what it was.
        rig.is_blind = true;
        rig.pace.rescan = Duration::from_secs(600);
        let lines = numbered("line", 0..2000);
        rig.append("a.log", &text_of(&lines));
        rig.start();
        rig.wait_for(lines.len());
        rig.copy("a.log", "b");
        compress(&rig, "b", "gz");
        rig.rename("b.gz", "a.log.1.gz");
        rig.truncate("a.log");
        rig.append("a.log", "new\n");
        let archive = rig.inode("a.log.1.gz");
        rig.wait_for_cursor(|cursor| {
            cursor.file.identity.inode == archive && cursor.file.packed_bytes > Some(0)
        });
        rig.finish([lines, vec!["new".to_owned()]].concat());
    }
}

#[test]
fn an_archive_that_is_cut_off_gives_what_is_whole_and_the_rest_once_it_comes() {
    for pattern in ["a.log", "a.log*"] {
        let mut rig = Rig::new(&[pattern]);
        let lines = numbered("line", 0..100_000);
        rig.append("a.log", &text_of(&lines[..50_000]));
        rig.start();
        rig.wait_for(50_000);
        rig.stop();
        rig.append("a.log", &text_of(&lines[50_000..]));
        let bytes = gzip(&fs::read(rig.path("a.log")).expect("read"));
        rig.remove("a.log");
        let (some, most) = (&bytes[..bytes.len() / 4], &bytes[..bytes.len() * 9 / 10]);
        // Too short to tell what it holds: nothing of it is read.
        write(&rig, "a.log.1.gz", some, SystemTime::now());
        rig.start();
        rig.append("a.log", "new\n");
        rig.wait_for(50_001);
        fs::OpenOptions::new()
            .append(true)
            .open(rig.path("a.log.1.gz"))
            .and_then(|mut file| file.write_all(&most[some.len()..]))
            .expect("written");
        rig.wait_for(80_000);
        rig.crash(3);
        write_over(&rig, "a.log.1.gz", &bytes);
        rig.start();
        rig.finish(lines.into_iter().chain(["new".to_owned()]));
    }
}

fn write_over(rig: &Rig, name: &str, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(rig.path(name));
    file.and_then(|mut file| file.write_all(bytes)).expect("written");
}

#[test]
fn text_under_the_name_of_an_archive_is_left_alone_unless_a_pattern_means_it() {
    for (pattern, lines) in [("a.log", &["one", "two"][..]), ("a.log*", &["one", "old", "two"][..])]
    {
        let mut rig = Rig::new(&[pattern]);
        rig.append("a.log", "one\n");
        rig.start();
        rig.wait_for(1);
        rig.append("a.log.1.gz", "old\n");
        // Longer than anything that may be a copy is held back.
        rig.watch_for(2 * rig.pace.hold);
        rig.append("a.log", "two\n");
        rig.finish(lines);
    }
}

#[test]
fn a_crash_amid_an_archive_goes_on_in_it() {
    let mut rig = Rig::new(&["a.log*"]);
    let lines = numbered("line", 0..200_000);
    write(&rig, "a.log.1.gz", &gzip(text_of(&lines).as_bytes()), SystemTime::now());
    for chunks in 1..5 {
        rig.start();
        rig.wait_for(chunks * 20_000);
        rig.crash(chunks);
    }
    rig.start();
    rig.finish(lines);
}
