//! To upload a file for runs and tests.

use super::client::{Call, Client, Repeat};
use super::{Error, Said};
use crate::mediation::files::{Answer, Options};
use crate::mediation::form::{Id, Loose};
use crate::mediation::multipart::Form;
use crate::tenant::transport::Method;

/// Uploads the file of this name. One whose answer was lost may be there twice, which does no harm:
/// nothing reads a file that nobody names.
pub async fn upload(
    client: &Client,
    file: (&str, &[u8]),
    options: &Options,
) -> Result<Said<Answer>, Error> {
    let (name, bytes) = file;
    let form = Form::new(fastrand::u128(..));
    let form = form.file("file", name, "application/octet-stream", bytes);
    let fields = options.fields();
    let form = fields.iter().fold(form, |form, (name, value)| form.field(name, value));
    let path: [&dyn std::fmt::Display; 2] = [&"meters", &"files"];
    let call = Call::new(Method::Post, &path, Repeat::Always).form(form.finish());
    Said::read(client.call(call).await?)
}

/// The id that runs and tests take.
pub fn local_file_id(uploaded: &Answer) -> Result<Id, Error> {
    let id = uploaded.id.as_ref().and_then(Loose::known);
    id.cloned().ok_or_else(|| Error::Unreadable("the uploaded file has no id".to_owned()))
}
