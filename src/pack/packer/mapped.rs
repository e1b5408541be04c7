//! Lines that a mapping makes events of: the same checks, stamps and bodies are behind it.

use std::sync::Arc;

use super::Outcome;
use super::desk::Desk;
use super::line::Line;
use super::writer::Stopped;
use crate::dead_letter::DeadLetter;
use crate::pack::mapper::{Mapped, Mapper, Reading};
use crate::pack::validate::Refusal;
use crate::position::Numbering;

/// Packs the lines of one slice through a mapper.
pub(super) struct MappedLines<'p, 'd> {
    pub(super) desk: &'p mut Desk<'d>,
    pub(super) mapper: &'p mut Mapper,
    pub(super) outcome: &'p mut Outcome,
}

impl MappedLines<'_, '_> {
    /// Packs `lines.bytes` line by line.
    pub(super) fn pack(&mut self, lines: &Line<'_>) -> Result<(), Stopped> {
        let Line { bytes: mut rest, mut position, .. } = *lines;
        while !rest.is_empty() {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (bytes, behind) = rest.split_at(length);
            let line = Line { bytes, position, ..*lines };
            match self.mapper.read(bytes, position) {
                Reading::Ignored => self.ignore(self.desk.before_routing()),
                Reading::Refused(refusal) => {
                    let meter = self.desk.before_routing();
                    let event = self.mapper.letter(bytes, None, position);
                    let letter = line.refused(self.desk.name(meter), refusal);
                    self.refuse(meter, DeadLetter { event, ..letter });
                }
                Reading::Records(count) => {
                    for index in 0..count {
                        self.record(&line, index)?;
                    }
                }
            }
            position += match lines.stream.numbering {
                Numbering::ByteOffset => length as u64,
                Numbering::LineNumber => 1,
            };
            rest = behind;
        }
        Ok(())
    }

    /// Packs record `index` of the line that was read last.
    fn record(&mut self, line: &Line<'_>, index: usize) -> Result<(), Stopped> {
        let position = line.position + self.mapper.offset(index);
        let mapped = self.mapper.map(line.bytes, index);
        let is_made = matches!(mapped, Mapped::Made(_));
        let (meter, bytes) = match mapped {
            Mapped::Ignored => {
                self.ignore(self.desk.before_routing());
                return Ok(());
            }
            Mapped::Refused(meter, refusal) => {
                let event = Line { bytes: &[], position, ..*line };
                let letter = event.refused(self.desk.name(meter), refusal);
                self.refuse_record(meter, letter, line, index);
                return Ok(());
            }
            Mapped::AsItStands(meter, (start, end)) => {
                (meter, line.bytes.get(start..end).unwrap_or_default())
            }
            Mapped::Made(meter) => (meter, self.mapper.event()),
        };
        let event = Line { bytes, position, ..*line };
        let writer = self.desk.writer(meter);
        let letter = match writer.validator.check(bytes) {
            Ok(checked) => {
                if writer.add(&event, checked)? {
                    writer.counts.read += 1;
                    return Ok(());
                }
                event.too_large(&writer.meter)
            }
            Err(refusal) if self.mapper.ignores(&refusal) => {
                self.ignore(Some(meter));
                return Ok(());
            }
            Err(refusal) if is_made => {
                // Places are in the event that was made, not in the line.
                let detail = format!("in the event that was made: {}", refusal.detail);
                event.refused(Arc::clone(&writer.meter.name), Refusal { detail, ..refusal })
            }
            Err(refusal) => event.refused(Arc::clone(&writer.meter.name), refusal),
        };
        self.refuse_record(Some(meter), letter, line, index);
        Ok(())
    }

    fn ignore(&mut self, meter: Option<usize>) {
        let counts = self.desk.counts(meter);
        counts.read += 1;
        counts.ignored += 1;
    }

    /// Refuses record `index` of `line`; the letter keeps it as it came.
    fn refuse_record(
        &mut self,
        meter: Option<usize>,
        letter: DeadLetter,
        line: &Line<'_>,
        index: usize,
    ) {
        let event = self.mapper.letter(line.bytes, Some(index), line.position);
        self.refuse(meter, DeadLetter { event, ..letter });
    }

    fn refuse(&mut self, meter: Option<usize>, letter: DeadLetter) {
        let counts = self.desk.counts(meter);
        counts.read += 1;
        self.outcome.refuse(letter, counts);
    }
}
