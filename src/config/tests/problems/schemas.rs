//! What can be wrong with where a schema comes from.

use super::check;

#[test]
fn a_schema_of_the_export_needs_what_the_export_is_asked_for_by() {
    let fields = "fields = [{name=\"a\",type=\"string\"}]";
    let no_id = "meters.m.id: found nothing, expected the meter's id in Mediation, such as 97: its \
                 schema is fetched by it";
    check(fields, "from = \"export\"", &[no_id]);
    check(
        fields,
        "from = \"import\"\nrefresh = \"1ms\"",
        &[
            "meters.m.schema.from: found \"import\", expected one of \"export\", \"\"",
            "meters.m.schema.refresh: found \"1ms\", expected 100ms to 7d",
        ],
    );
    check(
        fields,
        &format!("from = \"export\"\n{fields}"),
        &["meters.m.schema: found from and fields, expected one of them"],
    );
    check(
        fields,
        "",
        &["meters.m.schema: found none of its ways, expected from, file or fields; \
                        without the section the documented four fields"],
    );
}
