//! To bring a meter in.

use super::client::{Call, Client, Repeat};
use super::{Error, Said};
use crate::mediation::import::Answer;
use crate::mediation::multipart::Form;
use crate::tenant::transport::Method;

/// Brings in the exported meter in `file`: for the meter with `global_id` when there is one, else
/// as a new one. Without a global id, twice would make two.
pub async fn import(
    client: &Client,
    file: (&str, &[u8]),
    global_id: Option<&str>,
) -> Result<Said<Answer>, Error> {
    let (name, bytes) = file;
    let repeat = if global_id.is_some() { Repeat::Always } else { Repeat::UnlessDone };
    let form = Form::new(fastrand::u128(..)).file("file", name, "application/json", bytes);
    let form = match global_id {
        Some(global_id) => form.field("globalId", global_id),
        None => form,
    };
    let call = Call::new(Method::Post, &[&"meters", &"import"], repeat).form(form.finish());
    Said::read(client.call(call).await?)
}
