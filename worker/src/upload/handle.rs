//! Handles of files: `component:name.signature`. A component accepts only those that were signed for it, so that nobody
//! takes another's file.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Bytes of a file's random name.
const NAME_BYTES: usize = 16;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 16;
/// The longest component id.
pub(super) const COMPONENT_BYTES_MAX: usize = 256;

/// The keys that sign handles. The first one signs, all of them verify.
pub(super) struct HandleKeys(Vec<Vec<u8>>);

impl HandleKeys {
    pub(super) fn new(keys: Vec<Vec<u8>>) -> Self {
        Self(keys)
    }

    /// Signs the name of a file for a component.
    pub(super) fn sign(&self, component: &str, name: &str) -> String {
        let key = self.0.first().map_or(&[][..], Vec::as_slice);
        let signature = mac(key, component, name).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
        format!("{component}:{name}.{}", hex::encode(&signature[..SIGNATURE_BYTES]))
    }

    /// Returns the component and the file's name of a handle that we have signed.
    pub(super) fn verify<'a>(&self, handle: &'a str) -> Option<(&'a str, &'a str)> {
        let (component, rest) = handle.rsplit_once(':')?;
        let (name, signature) = rest.split_once('.')?;
        let signature = hex::decode(signature).ok().filter(|bytes| bytes.len() == SIGNATURE_BYTES)?;
        let is_name =
            name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_signed =
            |key: &Vec<u8>| mac(key, component, name).is_some_and(|mac| mac.verify_truncated_left(&signature).is_ok());
        (is_name && component.len() <= COMPONENT_BYTES_MAX && self.0.iter().any(is_signed)).then_some((component, name))
    }
}

/// A MAC of a name and its component. The name has a fixed length, so both are told apart.
fn mac(key: &[u8], component: &str, name: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(name.as_bytes());
    mac.update(component.as_bytes());
    Some(mac)
}

/// A name for a new file, which no client chooses.
pub(super) fn random_name() -> String {
    let bits = diffyne_shared::bus::random_bits;
    format!("{:016x}{:016x}", bits(), bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_handles_that_were_signed_for_a_component_are_accepted() {
        let keys = HandleKeys::new(vec![b"new".to_vec(), b"old".to_vec()]);
        let name = random_name();
        let handle = keys.sign("diffyne-a:b", &name);
        assert_eq!(keys.verify(&handle), Some(("diffyne-a:b", name.as_str())));
        let old = HandleKeys::new(vec![b"old".to_vec()]).sign("diffyne-a", &name);
        assert_eq!(keys.verify(&old), Some(("diffyne-a", name.as_str())), "before a rotation");
        let other = HandleKeys::new(vec![b"other".to_vec()]).sign("diffyne-a", &name);
        let moved = handle.replace("diffyne-a:b", "diffyne-c");
        let renamed = handle.replace(&name, &random_name());
        let cut = &handle[..handle.len() - 2];
        let path = keys.sign("diffyne-a", "../../etc/passwd");
        for wrong in [other.as_str(), &moved, &renamed, cut, &path, "", ":", "a:b.c", &name] {
            assert_eq!(keys.verify(wrong), None, "{wrong}");
        }
    }
}
