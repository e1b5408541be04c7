//! `meterd meter upload`: a file for runs and tests.

use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use super::super::output::print;
use super::{Connected, TenantArguments, print_body, read_file};
use crate::control::files;
use crate::mediation::files::Options;
use crate::mediation::form::{Id, shown};

/// The arguments of `meterd meter upload`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    tenant: TenantArguments,
    /// The file
    file: PathBuf,
    /// Whether the first row names the columns
    #[arg(long, value_name = "true|false")]
    has_header: Option<bool>,
    /// The first row of data
    #[arg(long, value_name = "N")]
    first_row: Option<u64>,
    /// What stands between columns
    #[arg(long, value_name = "TEXT")]
    delimiter: Option<String>,
    /// The sheet of a workbook
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// The cells of a sheet
    #[arg(long, value_name = "RANGE")]
    data_range: Option<String>,
    /// What happens when a file of that name is there
    #[arg(long, value_name = "WHAT")]
    resolve_file_name_conflict: Option<String>,
    /// Where the file is put
    #[arg(long, value_name = "FOLDER")]
    target_folder: Option<String>,
    /// Whether it may take the place of another
    #[arg(long, value_name = "true|false")]
    overwrite_existing_file: Option<bool>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Uploads the file and prints the id that `run` and `test` take.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (name, bytes) = read_file(&arguments.file)?;
    let connected = arguments.tenant.connect()?;
    let options = Options {
        has_header: arguments.has_header,
        first_row: arguments.first_row,
        delimiter: arguments.delimiter.clone(),
        sheet: arguments.sheet.clone(),
        data_range: arguments.data_range.clone(),
        resolve_file_name_conflict: arguments.resolve_file_name_conflict.clone(),
        target_folder: arguments.target_folder.clone(),
        overwrite_existing_file: arguments.overwrite_existing_file,
    };
    let uploaded = files::upload(&connected.client, (&name, &bytes), &options);
    let said = connected.runtime.block_on(uploaded)?;
    if arguments.json {
        return print_body(&said.body);
    }
    let id = files::local_file_id(&said.told)?;
    print(&format!("local file id {id}, {} lines", shown(said.told.lines.as_ref())))
}

/// Uploads a file as it is.
pub(super) fn upload(connected: &Connected, path: &Path) -> Result<Id, Failure> {
    let (name, bytes) = read_file(path)?;
    let options = Options::default();
    let uploaded = files::upload(&connected.client, (&name, &bytes), &options);
    Ok(files::local_file_id(&connected.runtime.block_on(uploaded)?.told)?)
}
