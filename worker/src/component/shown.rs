//! What a page shows of a component, where that is not the state that its call starts from.
//!
//! The view of a component is a function of its state, so what a page shows is told by states. The state of the last
//! answer is what all of it shows, but for three cases: fields that the user has edited since, whose old values are in
//! the message's `base`; islands, after which the rest of the view still shows an older state; and errors, which are in
//! no state. Those two are told by a note, which goes to the page and comes back behind the fingerprint:
//!
//! ```text
//! FINGERPRINT.LOCK.NAMES.JSON      {"": {"count": 1}, "totals": {"count": 2}}
//! ```
//!
//! By region (the island, or nothing for the rest of the view) it has the properties whose values are other ones there.
//! A lock covers it, because a state may hold what clients must not choose.

use std::borrow::Cow;
use std::collections::BTreeMap;

use diffyne_shared::signing::Signer;
use serde_json::{Map, Value};

use crate::call::message::{CallMessage, object};

/// The region that a view is without its islands.
pub(super) const REST: &str = "";
/// The name of the value that the lock of a note covers. No property has such a name.
const LOCKED: &str = "diffyne:shown";
/// The name of the errors among the properties of a region. No property has such a name.
const ERRORS: &str = "diffyne:errors";
/// The longest note. Beyond it the whole component is rendered.
const NOTE_BYTES_MAX: usize = 64 * 1024;

type State = Map<String, Value>;

/// What the page shows before a call.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The state of the last answer, where fields have been edited since.
    answered: Option<State>,
    /// Properties of the regions that show another state than that.
    regions: BTreeMap<String, State>,
    /// Nobody knows: there is a note that cannot be read.
    pub(super) is_unknown: bool,
}

impl Shown {
    /// What a page shows that sends this message for a call from this state.
    pub(super) fn of(
        message: &CallMessage<'_>,
        fingerprint: &str,
        (class, id): (&str, &str),
        (state, is_protected): (&State, &dyn Fn(&str) -> bool),
        signer: &Signer,
    ) -> Self {
        let mut shown = Self::default();
        if !message.accepts().base {
            return shown;
        }
        if let Value::Object(base) = &message.base {
            // A locked value is the same in both.
            let edited = base.iter().filter(|(name, _)| state.contains_key(*name) && !is_protected(name));
            let mut answered = state.clone();
            answered.extend(edited.map(|(name, value)| (name.clone(), value.clone())));
            shown.answered = Some(answered);
        }
        if let Some((_, note)) = fingerprint.split_once('.') {
            match read_note(note, class, id, signer) {
                Some(regions) => shown.regions = regions,
                None => shown.is_unknown = true,
            }
        }
        shown
    }

    /// The state that a region shows; `None`: that of the call.
    pub(super) fn state(&self, region: &str, of_call: &State) -> Option<State> {
        let answered = || self.answered.as_ref().unwrap_or(of_call).clone();
        match self.regions.get(region) {
            Some(other) => Some(answered().into_iter().chain(other.clone()).collect()),
            None => self.answered.clone(),
        }
    }

    /// Takes the errors out of the state that a region shows.
    pub(super) fn take_errors(state: &mut State) -> State {
        state.shift_remove(ERRORS).and_then(|errors| object(&errors).map(Cow::into_owned)).unwrap_or_default()
    }

    /// Whether two regions show the same state.
    pub(super) fn are_alike(&self, region: &str, other: &str) -> bool {
        self.regions.get(region) == self.regions.get(other)
    }

    /// The note after an answer: what the regions show that it has not rendered, and the errors that the others show.
    pub(super) fn note<'a>(
        &self,
        regions: impl Iterator<Item = (&'a str, bool)>,
        (before, after): (&State, &Value),
        errors: &State,
    ) -> Note {
        let is_other = |(name, value): &(String, Value)| after.get(name) != Some(value);
        let shown = regions.filter_map(|(region, is_rendered)| {
            let other: State = if is_rendered {
                let errors = (!errors.is_empty()).then(|| (ERRORS.to_owned(), Value::Object(errors.clone())));
                errors.into_iter().collect()
            } else {
                let state = self.state(region, before).unwrap_or_else(|| before.clone());
                state.into_iter().filter(is_other).collect()
            };
            (!other.is_empty()).then(|| (region.to_owned(), Value::Object(other)))
        });
        Note(shown.collect())
    }
}

/// What regions of a page show after an answer that has not rendered them.
#[derive(Debug, Default)]
pub(super) struct Note(State);

impl Note {
    /// Whether it is too long for a page to carry.
    pub(super) fn is_too_long(&self) -> bool {
        Value::Object(self.0.clone()).to_string().len() > NOTE_BYTES_MAX
    }

    /// What follows the fingerprint of the answer.
    pub(super) fn signed(&self, class: &str, id: &str, signer: &Signer) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let note = Value::Object(self.0.clone());
        let text = note.to_string();
        format!(".{}.{text}", signer.lock(class, id, &State::from_iter([(LOCKED.to_owned(), note)])))
    }
}

fn read_note(note: &str, class: &str, id: &str, signer: &Signer) -> Option<BTreeMap<String, State>> {
    let mut parts = note.splitn(3, '.');
    let (digits, names, text) = (parts.next()?, parts.next()?, parts.next()?);
    let note: Value = serde_json::from_str(text).ok()?;
    let note_of = |(name, other): (&String, &Value)| Some((name.clone(), object(other)?.into_owned()));
    let regions = object(&note)?.iter().map(note_of).collect::<Option<_>>()?;
    let value = |name: &str| (name == LOCKED).then_some(&note);
    let names = signer.locked_names(class, id, value, &format!("{digits}.{names}"))?;
    (names == [LOCKED]).then_some(regions)
}
