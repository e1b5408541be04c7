use super::check;

#[test]
fn listeners_say_what_they_would_take() {
    check(
        "#tcp",
        "allow = [\"10.0.0.0/8\", \"localhost\"]\nack = 1\nfirst_byte_timeout = \"0s\"",
        &[
            "sources.b.ack: found 1, expected true or false",
            "sources.b.allow[1]: found \"localhost\", expected a network such as \"10.0.0.0/8\" or an address",
            "sources.b.first_byte_timeout: found \"0s\", expected 1ms to 7d",
        ],
    );
    let empty = "sources.b.allow: found an empty list, expected at least one network, or the key to be left out";
    check("#tcp", "allow = []", &[empty]);
    check(
        "[sources.c]",
        "[sources.d]\ntype = \"unix\"\nmeter = \"m\"\nmode = \"0999\"\nsocket = \"datagram\"\nack = true\n[sources.c]",
        &[
            "sources.d.ack: found a key for connections, expected the key to be left out: datagrams come without a connection",
            "sources.d.mode: found \"0999\", expected rights such as \"0660\"",
            "sources.d.path: found nothing, expected a path such as \"/run/meterd/usage.sock\", or \"systemd\"",
        ],
    );
    check(
        "[sources.c]",
        "[sources.d]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\nmeters = [\"m\", \"n\"]\nmeter = \"m\"\n[sources.c]",
        &[
            "sources.d.listen: found 127.0.0.1:1, which sources.b takes, expected an address of its own",
            "sources.d.meter: found an unknown key, expected a known key; did you mean \"meters\"?",
            "sources.d.meters[1]: found \"n\", expected the name of a meter; did you mean \"m\"?",
        ],
    );
    let unix = "type = \"unix\"\nmeter = \"m\"\npath = \"/run/s\"\n";
    check(
        "[sources.c]",
        &format!("[sources.d]\n{unix}[sources.e]\n{unix}[sources.c]"),
        &["sources.e.path: found /run/s, which sources.d takes, expected a path of its own"],
    );
    check(
        "#tcp",
        "cert_file = \"/nowhere/c\"",
        &["sources.b.key_file: found nothing, expected the key of cert_file"],
    );
    let authority = "client_ca_file = \"/nowhere/ca\"";
    let alone = "sources.b.cert_file: found nothing, expected a certificate: without TLS nobody can show one";
    check("#tcp", authority, &[alone]);
    let missing = |name: &str| {
        let found = format!("/nowhere/{name}: No such file or directory (os error 2)");
        format!("sources.b.{name}: found {found}, expected a readable file")
    };
    check(
        "#tcp",
        "cert_file = \"/nowhere/cert_file\"\nkey_file = \"/nowhere/key_file\"",
        &[&missing("cert_file"), &missing("key_file")],
    );
    let expected = "an address and port, such as \"127.0.0.1:9170\", or \"systemd\"";
    for listen in ["systemd:", "systemd1", "9170"] {
        let found = format!("sources.b.listen: found {listen:?}, expected {expected}");
        check("127.0.0.1:1", listen, &[&found]);
    }
    check("127.0.0.1:1", "systemd:other", &[]);
}
