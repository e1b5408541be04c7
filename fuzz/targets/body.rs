//! A body comes back as it was written. The first byte tells how the rest is cut into events; each is
//! written so often that there are several blocks.

use std::io::Read;

use flate2::read::GzDecoder;
use meterd::body::ArrayWriter;

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    let mut writer = ArrayWriter::new(u32::from(first % 2) + 1);
    let mut expected = Vec::new();
    writer.begin();
    for _ in 0..=usize::from(first / 64) * 40 {
        for event in rest.chunks(usize::from(first % 64) * 7 + 1) {
            writer.begin_event().extend_from_slice(event);
            assert!(writer.end_event().is_ok());
            expected.push(if expected.is_empty() { b'[' } else { b',' });
            expected.extend_from_slice(event);
        }
    }
    if writer.events() == 0 {
        return;
    }
    expected.push(b']');
    let finished = writer.finish();
    assert!(finished.is_ok(), "the body did not end");
    let Ok(body) = finished else { return };
    let mut read = Vec::new();
    let mut decoder = GzDecoder::new(body.bytes.as_ref());
    assert!(decoder.read_to_end(&mut read).is_ok(), "the body cannot be read");
    assert!(read == expected, "the body is another one");
    assert_eq!(body.payload_bytes, expected.len() as u64);
}
