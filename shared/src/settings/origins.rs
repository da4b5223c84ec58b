//! The list of origins whose pages may connect.

use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;

/// A comma list of origins. One that no browser sends is refused here, as it would refuse every page.
pub(super) fn origins(layers: &Layers, spec: &'static Spec) -> Result<Vec<String>, SettingsError> {
    let list: Vec<String> = layers.get(spec)?;
    match list.iter().find_map(|origin| problem(origin)) {
        None => Ok(list),
        Some(problem) => {
            let form = "* or a comma list of origins such as https://shop.example, https://*.shop.example";
            Err(layers.invalid(spec, &format!("{form}; {problem}")))
        }
    }
}

/// Why no page has this origin.
fn problem(origin: &str) -> Option<String> {
    // A sandboxed page has the origin `null`.
    if matches!(origin, "*" | "null") {
        return None;
    }
    let Some((scheme, host)) = origin.split_once("://") else {
        return Some(format!("`{origin}` has no scheme: write https://{origin}"));
    };
    let host = host.trim_end_matches('/');
    if let Some((host, _path)) = host.split_once('/') {
        return Some(format!("`{origin}` has a path: write {scheme}://{host}"));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if name.is_empty() || !name.chars().all(is_plain) || !is_scheme {
        return Some(format!("`{origin}` is none: a * stands only for the names before a domain"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn origins_that_no_page_has_are_refused_with_the_right_one() {
        for origin in [
            "*",
            "null",
            "https://shop.example",
            "https://shop.example/",
            "http://localhost:8000",
            "https://*.shop.example",
            "HTTPS://Shop.Example",
            "http://[::1]:8000",
            "app://phone",
            "capacitor://localhost",
        ] {
            assert_eq!(problem(origin), None, "{origin}");
        }
        for (origin, words) in [
            ("shop.example", "write https://shop.example"),
            ("localhost:8000", "write https://localhost:8000"),
            ("*.shop.example", "has no scheme"),
            ("//shop.example", "has no scheme"),
            ("https://shop.example/app", "write https://shop.example"),
            ("https://", "is none"),
            ("https://*", "is none"),
            ("https://a.*.example", "is none"),
            ("https://shop example", "is none"),
            ("https://ä.example", "is none"),
            ("://shop.example", "is none"),
        ] {
            assert!(problem(origin).is_some_and(|problem| problem.contains(words)), "{origin}: {:?}", problem(origin));
        }
    }
}
