use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("compressed");
    encoder.finish().expect("compressed")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(true).expect("set");
    encoder.write_all(text).expect("compressed");
    encoder.finish().expect("compressed")
}

fn archive(bytes: &[u8]) -> Archive {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    Archive::of(file).expect("read").expect("compressed")
}

/// All of it, however far ahead.
fn read(archive: &Archive, offset: u64, bytes_max: usize) -> Vec<u8> {
    loop {
        match read_at(archive, offset, bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.expect("read"),
        }
    }
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b"abcdefghijklm\n"[at * at / 7 % 14]).collect()
}

#[test]
fn a_plain_file_is_given_back() -> io::Result<()> {
    for text in ["", "\n", "{\"a\":1}\n", "P*M"] {
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        assert!(Archive::of(file)?.is_err(), "{text:?}");
    }
    Ok(())
}

#[test]
fn what_is_cut_off_or_damaged_ends_there_and_says_so() {
    let text = text(3_000_000);
    for compress in [gzip, zstd] {
        let whole = compress(&text);
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x55;
        let extra = [whole.as_slice(), b"no member"].concat();
        for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], &damaged, &extra] {
            let archive = archive(bytes);
            let found = read(&archive, 0, text.len() + 1);
            assert!(text.starts_with(&found[..found.len().min(1_000_000)]));
            let end = archive.end();
            let is_told = |end: &End| match end {
                End::Broken { offset, reason } => {
                    *offset <= text.len() as u64 && !reason.is_empty()
                }
                End::Whole { .. } => false,
            };
            assert!(end.as_ref().is_some_and(is_told), "{end:?}");
        }
        let archive = archive(&whole);
        assert_eq!(read(&archive, 0, text.len() + 1), text);
        assert_eq!(archive.end(), Some(End::Whole { bytes: text.len() as u64 }));
    }
}

#[test]
fn a_read_far_ahead_goes_on_where_it_was_given_up() {
    let text = text(3 * SKIP_BYTES_MAX);
    let archive = archive(&zstd(&text));
    let end = text.len() as u64 - 10;
    let mut tries = 0;
    while let Err(error) = read_at(&archive, end, 10) {
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        tries += 1;
        assert!(tries < 4, "it begins anew each time");
    }
    assert!(tries > 1);
    assert_eq!(read(&archive, end, 10), text[text.len() - 10..]);
    assert_eq!(read(&archive, 5, 10), text[5..15]);
}

proptest! {
    #[test]
    fn any_reads_give_the_bytes_that_were_compressed(
        members in prop::collection::vec((0_usize..200_000, any::<bool>()), 1..4),
        reads in prop::collection::vec((0_u64..400_000, 0_usize..150_000), 1..8),
    ) {
        let is_zstd = members[0].1;
        let texts: Vec<Vec<u8>> = members.iter().map(|(bytes, _)| text(*bytes)).collect();
        let compress = if is_zstd { zstd } else { gzip };
        let whole = texts.concat();
        let archive = archive(&texts.iter().flat_map(|text| compress(text)).collect::<Vec<u8>>());
        for (offset, bytes) in reads {
            let from = usize::try_from(offset).expect("64 bits").min(whole.len());
            let to = (from + bytes).min(whole.len());
            prop_assert!(read(&archive, offset, bytes) == whole[from..to]);
        }
    }
}
