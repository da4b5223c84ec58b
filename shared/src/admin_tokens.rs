//! Who may ask the admin listener, and what.

use subtle::ConstantTimeEq as _;

/// The name of the token of `DIFFYNE_ADMIN_TOKEN`, which has none of its own.
const ADMIN: &str = "admin";
/// The word before a token that may only look.
const READ: &str = "read";
/// The longest name of a token.
const NAME_CHARS_MAX: usize = 64;
/// The shortest token that has a name: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Tokens with a name.
const TOKENS_MAX: usize = 64;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look.
    Read,
    /// To look and to change.
    Change,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name, for the log.
    pub name: String,
    /// What the token allows.
    pub access: Access,
}

/// The tokens that the admin listener takes.
#[derive(Clone, Default)]
pub struct AdminTokens(Vec<(Operator, String)>);

impl std::fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(operator, _)| operator)).finish()
    }
}

impl AdminTokens {
    /// Reads a comma list of `NAME:TOKEN` and `NAME:read:TOKEN`. `None` when it is something else.
    pub fn read(list: &str) -> Option<Self> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let tokens: Vec<_> = items.map(read_one).collect::<Option<_>>()?;
        let names: std::collections::HashSet<&str> = tokens.iter().map(|(operator, _)| &*operator.name).collect();
        (names.len() == tokens.len() && tokens.len() <= TOKENS_MAX).then_some(Self(tokens))
    }

    /// Adds the token of `DIFFYNE_ADMIN_TOKEN`, which may change everything.
    #[must_use]
    pub fn with_admin(mut self, token: Option<&str>) -> Self {
        let operator = Operator { name: ADMIN.to_owned(), access: Access::Change };
        self.0.extend(token.filter(|token| !token.is_empty()).map(|token| (operator, token.to_owned())));
        self
    }

    /// Whether nobody may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The operator of this name.
    pub fn named(&self, name: &str) -> Option<&Operator> {
        self.0.iter().map(|(operator, _)| operator).find(|operator| operator.name == name)
    }

    /// The token of the operator of this name, to make proofs with.
    pub(crate) fn token_of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(operator, _)| operator.name == name).map(|(_, token)| token.as_str())
    }

    /// Whose token this is. It takes as long whichever it is.
    pub fn find(&self, given: &str) -> Option<&Operator> {
        let is_it = |token: &str| bool::from(token.as_bytes().ct_eq(given.as_bytes()));
        self.0.iter().fold(None, |found, (operator, token)| if is_it(token) { Some(operator) } else { found })
    }
}

fn read_one(item: &str) -> Option<(Operator, String)> {
    let (name, rest) = item.split_once(':')?;
    let (access, token) = match rest.split_once(':') {
        Some((READ, token)) => (Access::Read, token),
        _ => (Access::Change, rest),
    };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    let is_good = (1..=NAME_CHARS_MAX).contains(&name.len()) && is_name && name != ADMIN && name != READ;
    let is_token = token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
    (is_good && is_token).then(|| (Operator { name: name.to_owned(), access }, token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_names_and_may_only_look_where_they_say_so() {
        let tokens = AdminTokens::read("ada:0123456789abcdef, board:read:fedcba9876543210").unwrap_or_default();
        let tokens = tokens.with_admin(Some("short"));
        let of = |token: &str| tokens.find(token).map(|operator| (operator.name.as_str(), operator.access));
        assert_eq!(of("0123456789abcdef"), Some(("ada", Access::Change)));
        assert_eq!(of("fedcba9876543210"), Some(("board", Access::Read)));
        assert_eq!(of("short"), Some(("admin", Access::Change)));
        for wrong in ["", "read:fedcba9876543210", "0123456789abcde", "ada:0123456789abcdef"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123"), "{tokens:?}");
    }

    #[test]
    fn lists_that_are_not_clear_are_refused() {
        for wrong in [
            "0123456789abcdef",
            "ada:short",
            "a b:0123456789abcdef",
            ":0123456789abcdef",
            "admin:0123456789abcdef",
            // A name is missing, and it would be a token that may change everything.
            "read:0123456789abcdef",
            "ada:0123456789abcdef,ada:fedcba9876543210",
            "ada:read:short",
        ] {
            assert!(AdminTokens::read(wrong).is_none(), "{wrong}");
        }
        assert!(AdminTokens::read("").is_some_and(|tokens| tokens.is_empty()));
    }
}
