//! To upload a file that runs and tests can read: `POST /meters/files`, as a form.

use serde::Deserialize;

use super::form::{Flag, Id, Integer, Loose, Others, Text};

/// What the form says beside the file; nothing is sent for what is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether the first row names the columns.
    pub has_header: Option<bool>,
    /// The first row of data.
    pub first_row: Option<u64>,
    /// What stands between columns.
    pub delimiter: Option<String>,
    /// The sheet of a workbook.
    pub sheet: Option<String>,
    /// The cells of a sheet.
    pub data_range: Option<String>,
    /// What happens when a file of that name is there.
    pub resolve_file_name_conflict: Option<String>,
    /// Where the file is put.
    pub target_folder: Option<String>,
    /// Whether it may take the place of another.
    pub overwrite_existing_file: Option<bool>,
}

impl Options {
    /// The fields of the form.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.clone();
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let fields = [
            ("hasHeader", flag(self.has_header)),
            ("firstRow", self.first_row.map(|row| row.to_string())),
            ("delimiter", text(&self.delimiter)),
            ("sheet", text(&self.sheet)),
            ("dataRange", text(&self.data_range)),
            ("resolveFileNameConflict", text(&self.resolve_file_name_conflict)),
            ("targetFolder", text(&self.target_folder)),
            ("overwriteExistingFile", flag(self.overwrite_existing_file)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The answer: the file, without an envelope.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The `localFileId` that runs and tests take.
    pub id: Option<Loose<Id>>,
    /// The name of the file.
    pub name: Text,
    /// Where Mediation keeps it.
    pub resource_id: Text,
    /// Its format.
    pub format: Text,
    /// Whether the first row names the columns.
    pub has_header: Flag,
    /// The first row of data.
    pub first_row: Integer,
    /// What stands between columns.
    pub delimiter: Text,
    /// The sheet of a workbook.
    pub sheet: Text,
    /// The cells of a sheet.
    pub data_range: Text,
    /// How many lines it has.
    pub lines: Integer,
    /// When it was uploaded.
    pub created_at: Text,
    /// When it was changed.
    pub updated_at: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_option_has_its_field() {
        let text = |text: &str| Some(text.to_owned());
        let options = Options {
            has_header: Some(true),
            first_row: Some(2),
            delimiter: text(";"),
            sheet: text("s"),
            data_range: text("A1:B2"),
            resolve_file_name_conflict: text("RENAME"),
            target_folder: text("f"),
            overwrite_existing_file: Some(false),
        };
        let fields: Vec<String> =
            options.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(fields.join("\n"), @r"
        hasHeader=true
        firstRow=2
        delimiter=;
        sheet=s
        dataRange=A1:B2
        resolveFileNameConflict=RENAME
        targetFolder=f
        overwriteExistingFile=false
        ");
        assert_eq!(Options::default().fields(), []);
    }

    proptest! {
        #[test]
        fn any_object_is_an_answer(document in any_object(&["id", "name", "lines", "hasHeader"])) {
            prop_assert!(serde_json::from_value::<Answer>(document).is_ok());
        }
    }
}
