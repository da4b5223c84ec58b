//! Every parser with mutated input, for a moment; `make fuzz` takes two minutes each.

use std::time::Duration;

use diffyne_tests::fuzz::{TARGETS, fuzz};

#[test]
fn no_parser_panics_on_poisoned_input() -> anyhow::Result<()> {
    for target in TARGETS {
        let count = fuzz(target, Duration::from_secs(2), 2026)?;
        println!("{}: {count} inputs", target.name());
    }
    Ok(())
}
