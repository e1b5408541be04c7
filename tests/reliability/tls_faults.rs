//! Every way in which TLS can be at fault: nothing leaves in clear text, nothing is lost, and all
//! arrives once the fault is mended.

use crate::harness::{Result, Sim};
use crate::network::at_once;
use crate::scorecard::Scored;
use crate::tls_gate::{Fault, TlsGate};
use crate::trouble::{Account, Case};

const FAULTS: [(&str, Fault); 13] = [
    ("expired", Fault::Expired),
    ("not yet valid", Fault::NotYetValid),
    ("another host", Fault::WrongHost),
    ("self-signed", Fault::SelfSigned),
    ("unknown authority", Fault::UnknownAuthority),
    ("for clients", Fault::ForClients),
    ("TLS 1.0", Fault::OldVersion([3, 1])),
    ("TLS 1.1", Fault::OldVersion([3, 2])),
    ("cut off at once", Fault::CutAtOnce),
    ("cut off in the middle", Fault::CutInTheMiddle),
    ("plain text", Fault::PlainText),
    ("rubbish", Fault::Rubbish),
    ("silence", Fault::Silence),
];

/// For whom the good certificate is.
const NAME: &str = "127.0.0.1";

fn at_fault(fault: Fault) -> Result<Account> {
    let sim = Sim::start()?;
    let gate = TlsGate::start(&sim, NAME)?;
    gate.set(fault);
    let ended = || {
        // Nobody got through so far.
        assert_eq!(sim.stats().requests, 0, "{fault:?}");
        gate.set(Fault::None);
        Ok(())
    };
    let case = Case::new(&gate.url(NAME), &gate.mediation())?;
    let account = case.endure(&sim, || Ok(()), ended)?;
    gate.check_nothing_in_clear()?;
    Ok(account)
}

#[test]
fn nothing_goes_out_in_clear_text_whatever_is_wrong_with_tls() -> Result {
    let scored = Scored::begin("N1", "TLS")?;
    let account = at_once(&FAULTS, |fault| at_fault(*fault))?;
    assert_eq!(account.repeated, 0);
    scored.shown(&format!("{} faults, nothing in clear text: {}", FAULTS.len(), account.figure()))
}
