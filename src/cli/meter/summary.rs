//! `meterd meter summary`: counts of what a meter put out and refused.

use serde_json::Value;

use super::super::failure::Failure;
use super::super::output::{one_line, print, table};
use super::super::time::instant;
use super::{MeterArguments, print_body};
use crate::clock::Timestamp;
use crate::control::summary::summary;
use crate::mediation::form::{Loose, shown};
use crate::mediation::summary::{Dimension, Request, Row, RunType};
use crate::mediation::time::ApiTime;

/// The arguments of `meterd meter summary`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    /// Nothing before: a time such as 2026-11-21T06:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Nothing after
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// What a row is about; may be given more than once
    #[arg(long, value_name = "WHAT", value_enum, default_value = "operator")]
    group_by: Vec<Group>,
    /// Only this operator; may be given more than once
    #[arg(long = "operator", value_name = "ID")]
    operators: Vec<String>,
    /// Only this session; may be given more than once
    #[arg(long = "session", value_name = "ID")]
    sessions: Vec<String>,
    /// Count tests instead of runs
    #[arg(long)]
    test: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    Operator,
    Error,
    Session,
}

impl Group {
    const fn dimension(self) -> Dimension {
        match self {
            Self::Operator => Dimension::ProcessorId,
            Self::Error => Dimension::ErrorCode,
            Self::Session => Dimension::SessionId,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Error => "error",
            Self::Session => "session",
        }
    }
}

/// Prints the counts.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let request = Request {
        run_type: if arguments.test { RunType::Debug } else { RunType::Normal },
        session_ids: arguments.sessions.clone(),
        operator_ids: arguments.operators.clone(),
        group_by: arguments.group_by.iter().map(|group| group.dimension()).collect(),
        query_from_time: arguments.from.map(ApiTime),
        query_to_time: arguments.to.map(ApiTime),
    };
    let said = connected.runtime.block_on(summary(&connected.client, &meter, &request))?;
    if arguments.json {
        return print_body(&said.body);
    }
    let rows = said.told.known().map(|data| data.output.as_slice()).unwrap_or_default();
    print(&text(&arguments.group_by, rows.iter().filter_map(Loose::known)))
}

/// Rows with errors are marked: they are what somebody looks for.
fn text<'a>(groups: &[Group], rows: impl Iterator<Item = &'a Row>) -> String {
    let cells = |row: &Row| {
        let value = |group: &Group| match row.dimensions.get(group.dimension().name()) {
            Some(Value::String(text)) => one_line(text, 40),
            Some(other) => one_line(&other.to_string(), 40),
            None => "-".to_owned(),
        };
        let errors = row.total_error_count.as_ref();
        let has_errors = errors.is_some_and(|count| count.number() != Some(0));
        let mut cells: Vec<String> = groups.iter().map(value).collect();
        cells.push(shown(row.output.as_ref()));
        cells.push(shown(errors));
        cells.push(if has_errors { "<-- errors".to_owned() } else { String::new() });
        cells
    };
    let mut header: Vec<&str> = groups.iter().map(|group| group.name()).collect();
    header.extend(["output", "errors", ""]);
    table(&header, &rows.map(cells).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stand_out() -> serde_json::Result<()> {
        let rows: Vec<Row> = serde_json::from_str(
            r#"[{"dimensions":{"processorId":"1"},"output":70,"totalErrorCount":0},
                {"dimensions":{"processorId":2},"output":"68","totalErrorCount":"2"},{}]"#,
        )?;
        insta::assert_snapshot!(text(&[Group::Operator], rows.iter()), @r"
        operator  output  errors
        1         70      0
        2         68      2       <-- errors
        -         -       -
        ");
        Ok(())
    }
}
