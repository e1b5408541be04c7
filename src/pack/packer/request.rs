//! Lines of which all are kept or none: every one is checked before the first is written.

use super::super::event_id::stamp_bytes_max;
use super::desk::Desk;
use super::writer::Writer;
use crate::chunk::Content;
use crate::dead_letter::Reason;
use crate::group::Slice;
use crate::notice::{BadLine, Notice, Request};

/// How many bad lines an answer names: as many as the endpoint takes events in one request.
const BAD_LINES_MAX: usize = 10_000;

/// The brackets of the array around an event.
const BRACKETS_BYTES: usize = 2;

/// The request that `slice` is, when it is one; a request is never cut into slices.
pub(super) fn of(slice: &Slice) -> Option<&Request> {
    match &slice.chunk.notice {
        Some(Notice::Request(request)) => Some(request),
        Some(Notice::Lines(_)) | None => None,
    }
}

/// Whether the slice may be packed: it is no request, or one whose lines are all good. Who waits
/// for the answer to another one is told why not.
pub(super) fn may_be_packed(slice: &Slice, desk: &mut Desk<'_>) -> bool {
    let Some(request) = of(slice) else { return true };
    // A request is for one meter.
    let bad = bad_lines(slice, desk.writer(0));
    if bad.is_empty() {
        return true;
    }
    request.refuse(bad);
    false
}

fn bad_lines(slice: &Slice, writer: &mut Writer) -> Vec<BadLine> {
    let Content::Lines(lines) = &slice.chunk.content else { return Vec::new() };
    let Writer { meter, validator, .. } = writer;
    let stamp_bytes = meter.event_id_field.as_ref().map_or(0, |name| stamp_bytes_max(name));
    let mut bad = Vec::new();
    let mut index = 0;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match validator.check(line) {
            Err(_) if line.trim_ascii().is_empty() => continue,
            Err(refusal) => {
                let (reason, field, detail) = (refusal.reason, refusal.field, refusal.detail);
                bad.push(BadLine { index, reason, field, detail });
            }
            Ok(_) if line.len() + stamp_bytes + BRACKETS_BYTES > meter.limits.payload_bytes_max => {
                let detail = format!("the event has {} bytes", line.len());
                let reason = Reason::EventTooLarge;
                bad.push(BadLine { index, reason, field: None, detail });
            }
            Ok(_) => {}
        }
        if bad.len() == BAD_LINES_MAX {
            break;
        }
        index += 1;
    }
    bad
}
