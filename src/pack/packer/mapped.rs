//! Lines that a mapping makes events of: the same checks, stamps and bodies are behind it.

use super::{Line, Outcome, Packer, Stopped};
use crate::dead_letter::DeadLetter;
use crate::group::SourceTally;
use crate::pack::mapper::{Mapped, Mapper, Reading};
use crate::pack::validate::{Refusal, Validator};
use crate::position::Numbering;

/// Packs the lines of one slice through a mapper.
pub(super) struct MappedLines<'p> {
    pub(super) packer: &'p mut Packer,
    pub(super) mapper: &'p mut Mapper,
    pub(super) validator: &'p mut Validator,
    pub(super) events_max: u32,
    pub(super) tally: &'p mut SourceTally,
    pub(super) outcome: &'p mut Outcome,
}

impl MappedLines<'_> {
    /// Packs `lines.bytes` line by line.
    pub(super) fn pack(&mut self, lines: &Line<'_>) -> Result<(), Stopped> {
        let Line { bytes: mut rest, mut position, .. } = *lines;
        while !rest.is_empty() {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (bytes, behind) = rest.split_at(length);
            let line = Line { bytes, position, ..*lines };
            match self.mapper.read(bytes, position) {
                Reading::Ignored => self.tally.ignored += 1,
                Reading::Refused(refusal) => {
                    let event = self.mapper.letter(bytes, None, position);
                    self.refuse(DeadLetter { event, ..line.refused(refusal) });
                }
                Reading::Records(count) => {
                    // The line itself was counted as one.
                    self.tally.read += count as u64 - 1;
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
        let bytes = match &mapped {
            Mapped::AsItStands(start, end) => line.bytes.get(*start..*end).unwrap_or_default(),
            Mapped::Made => self.mapper.event(),
            Mapped::Ignored | Mapped::Refused(_) => &[],
        };
        let event = Line { bytes, position, ..*line };
        let letter = match mapped {
            Mapped::Ignored => {
                self.tally.ignored += 1;
                return Ok(());
            }
            Mapped::Refused(refusal) => event.refused(refusal),
            Mapped::AsItStands(..) | Mapped::Made => match self.validator.check(bytes) {
                Ok(checked) => {
                    if self.packer.event(&event, checked, self.validator, self.outcome)? {
                        if self.packer.array.events() >= self.events_max {
                            self.packer.seal(event.meter, self.outcome)?;
                        }
                        return Ok(());
                    }
                    event.too_large()
                }
                Err(refusal) if self.mapper.ignores(&refusal) => {
                    self.tally.ignored += 1;
                    return Ok(());
                }
                Err(refusal) if mapped == Mapped::Made => {
                    // Places are in the event that was made, not in the line.
                    let detail = format!("in the event that was made: {}", refusal.detail);
                    event.refused(Refusal { detail, ..refusal })
                }
                Err(refusal) => event.refused(refusal),
            },
        };
        let original = self.mapper.letter(line.bytes, Some(index), line.position);
        self.refuse(DeadLetter { event: original, ..letter });
        Ok(())
    }

    fn refuse(&mut self, letter: DeadLetter) {
        self.tally.dead_lettered += 1;
        self.outcome.dead_letters.push(letter);
    }
}
