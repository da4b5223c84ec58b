//! Secrets that are too short: whoever has one message that was signed with such a one finds it by trying.

use super::common::{APP_KEY, DIFFYNE_ADMIN_TOKEN, DIFFYNE_SIGNING_KEY, DIFFYNE_WORKER_TOKEN};
use super::layers::Entry;
use super::lifecycle::DIFFYNE_WEBHOOK_SECRET;
use super::spec::Spec;
use crate::signing::SigningKey;

/// 128 bits, if each byte is random.
const BYTES_MIN: usize = 16;

/// A secret of our own, and the command that makes a good one. `DIFFYNE_ADMIN_TOKENS` takes no short ones, every page has
/// `DIFFYNE_WS_KEY`, and passwords of Redis are for others to judge.
static SECRETS: [(&Spec, &str); 5] = [
    (&DIFFYNE_SIGNING_KEY, "echo \"base64:$(openssl rand -base64 32)\""),
    (&APP_KEY, "php artisan key:generate"),
    (&DIFFYNE_WORKER_TOKEN, "openssl rand -hex 32"),
    (&DIFFYNE_ADMIN_TOKEN, "openssl rand -hex 32"),
    (&DIFFYNE_WEBHOOK_SECRET, "openssl rand -hex 32"),
];

/// A warning for each secret that is too short. It does not have the value, nor how long it is.
pub(super) fn warnings(entries: &[Entry]) -> Vec<String> {
    let weak = entries.iter().filter_map(|entry| {
        let (spec, command) = SECRETS.iter().find(|(spec, _)| spec.name == entry.spec.name)?;
        entry.text.as_ref().filter(|text| text.split(',').any(is_weak)).map(|_| {
            format!(
                "{} ({}) is shorter than {BYTES_MIN} bytes and can be guessed; this makes a good one: {command}",
                spec.name, entry.source
            )
        })
    });
    weak.collect()
}

/// Whether a secret of a list is too short. An empty one is none.
fn is_weak(secret: &str) -> bool {
    SigningKey::bytes(secret.trim()).is_ok_and(|bytes| bytes.len() < BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::{Files, Layers, gateway, worker};
    use super::*;

    fn warned(name: &str, value: &str) -> Option<String> {
        let specs = [gateway::specs(), worker::specs()].concat();
        let environment = HashMap::from([(name.to_owned(), value.to_owned())]);
        let layers = Layers::read(&specs, &Files::default(), &environment, &HashMap::new());
        layers.ok()?.warnings().iter().find(|warning| warning.contains(name)).cloned()
    }

    #[test]
    fn a_short_secret_is_a_warning_that_says_how_to_make_a_good_one_and_not_what_it_is() {
        for (spec, command) in SECRETS {
            for weak in ["hunter2", "base64:aHVudGVyMg==", "0123456789abcdef0123,hunter2", "hunter2hunter2h"] {
                let warning = warned(spec.name, weak).unwrap_or_else(|| panic!("{}: {weak}", spec.name));
                assert!(warning.contains(command) && !warning.contains("hunter2"), "{warning}");
            }
            for good in ["hunter2hunter2hu", "base64:AAECAwQFBgcICQoLDA0ODw==", "base64:not base64", " ", ","] {
                assert_eq!(warned(spec.name, good), None, "{}: {good}", spec.name);
            }
        }
        assert_eq!(warned("DIFFYNE_WS_KEY", "shop"), None);
    }
}
