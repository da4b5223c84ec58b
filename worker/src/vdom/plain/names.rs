//! A table of names that are known when the program is built, found whatever their case.

/// Slots of the hash table: a power of two, so many that few names collide.
const SLOTS: usize = 512;

/// A table of names.
pub(super) struct NameTable<T: 'static, const N: usize> {
    names: [(&'static str, T); N],
    /// For each hash, the index of its first name, or of the next free slot's; 0 is none.
    slots: [u8; SLOTS],
}

impl<T: Copy, const N: usize> NameTable<T, N> {
    /// Hashes the names. Made in a `static`, it costs nothing when the program runs.
    pub(super) const fn new(names: [(&'static str, T); N]) -> Self {
        assert!(N < u8::MAX as usize, "an index is a byte");
        let mut slots = [0; SLOTS];
        let mut index = 0;
        while index < N {
            let mut slot = hash(names[index].0.as_bytes());
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = index as u8 + 1;
            index += 1;
        }
        Self { names, slots }
    }

    /// The entry of a name, with the name as the table spells it.
    pub(super) fn get(&self, name: &str) -> Option<(&'static str, T)> {
        let mut slot = hash(name.as_bytes());
        loop {
            let index = usize::from(self.slots[slot]).checked_sub(1)?;
            let entry = self.names[index];
            if entry.0 == name || entry.0.eq_ignore_ascii_case(name) {
                return Some(entry);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// A slot for a name, from its length and three of its letters: that tells most names apart.
const fn hash(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let first = name[0].to_ascii_lowercase() as usize;
    let middle = name[name.len() / 2].to_ascii_lowercase() as usize;
    let last = name[name.len() - 1].to_ascii_lowercase() as usize;
    (name.len() * 89 + first * 41 + middle * 13 + last * 5) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: NameTable<u8, 3> = NameTable::new([("div", 1), ("viewBox", 2), ("p", 3)]);

    #[test]
    fn names_are_found_in_any_case_and_others_are_not() {
        assert_eq!(TABLE.get("DIV"), Some(("div", 1)));
        assert_eq!(TABLE.get("viewbox"), Some(("viewBox", 2)));
        assert_eq!(TABLE.get("p"), Some(("p", 3)));
        assert!(TABLE.get("").is_none() && TABLE.get("pp").is_none() && TABLE.get("dıv").is_none());
    }
}
