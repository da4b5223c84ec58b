//! What is logged: a level for everything, and levels for parts of the program.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The crate that parses HTML.
const HTML_PARSER: &str = "html5ever";

/// What the setting may be.
pub(crate) const EXPECTED: &str =
    "a level (error, warn, info, debug, trace, off), alone or with levels of modules: info,diffyne_gateway=debug";

/// Reads `info`, or `info,diffyne_gateway=debug`; `None` for anything else.
pub(crate) fn parse(setting: &str) -> Option<Targets> {
    let mut filter = Targets::new();
    let mut says_nothing = true;
    // It warns of what it does not do at each table with something else in it, which any page may have.
    filter = filter.with_target(HTML_PARSER, LevelFilter::ERROR);
    for directive in setting.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        says_nothing = false;
        filter = match directive.split_once('=') {
            None => filter.with_default(level(directive)?),
            Some((target, text)) if is_target(target) => filter.with_target(target, level(text)?),
            Some(_) => return None,
        };
    }
    (!says_nothing).then_some(filter)
}

fn level(text: &str) -> Option<LevelFilter> {
    // Nothing would read as `error`.
    if text.is_empty() { None } else { text.parse().ok() }
}

/// `diffyne_gateway::relay`: a module's path.
fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tracing_subscriber::filter::Targets;

    use super::*;

    fn levels(filter: &Targets, target: &str) -> Option<LevelFilter> {
        filter.iter().find(|(name, _)| *name == target).map(|(_, level)| level)
    }

    #[test]
    fn levels_of_all_and_of_parts() {
        let filter = parse("info, diffyne_gateway::relay=debug,").unwrap();
        assert_eq!(filter.default_level(), Some(LevelFilter::INFO));
        assert_eq!(levels(&filter, "diffyne_gateway::relay"), Some(LevelFilter::DEBUG));
        assert_eq!(parse("OFF").unwrap().default_level(), Some(LevelFilter::OFF));
    }

    #[test]
    fn the_html_parser_does_not_warn_unless_it_is_asked_to() {
        assert_eq!(levels(&parse("info").unwrap(), HTML_PARSER), Some(LevelFilter::ERROR));
        assert_eq!(levels(&parse("info,html5ever=warn").unwrap(), HTML_PARSER), Some(LevelFilter::WARN));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for wrong in ["", ",", "infos", "loud=very=much", "diffyne_gateway", "=info", "a b=info", "x=", "[span]=info"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
