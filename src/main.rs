//! meterd
fn main() {}
