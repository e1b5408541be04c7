//! gzip of what the meter APIs are told and say. Batches are compressed when they are packed.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// `body` as gzip.
pub fn packed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

/// What `body` was before its gzip, of which at most `bytes_max` are accepted.
pub fn unpacked(body: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(body).take(bytes_max as u64 + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() > bytes_max {
        return Err(std::io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_stops_at_the_limit() -> std::io::Result<()> {
        let bomb = packed(&vec![0; 1 << 20])?;
        assert!(unpacked(&bomb, 1 << 20).is_ok_and(|body| body.len() == 1 << 20));
        assert!(unpacked(&bomb, (1 << 20) - 1).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_again(body: Vec<u8>) {
            let packed = packed(&body).unwrap_or_default();
            prop_assert_eq!(unpacked(&packed, body.len()).ok(), Some(body));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>) {
            let _ = unpacked(&body, 100);
        }
    }
}
