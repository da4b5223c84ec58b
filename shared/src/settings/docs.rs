//! `docs/settings.md` and `deploy/diffyne.env.example`, made from the declarations of the settings.

use std::fmt::Write as _;

use super::spec::{Reload, Spec};

/// Settings as Markdown tables, one for each section.
pub fn markdown(specs: &[&'static Spec]) -> String {
    let mut out = String::new();
    for section in sections(specs) {
        // Writing into a String cannot fail.
        let _ = write!(out, "### {}\n\n| setting | default | meaning |\n|---|---|---|\n", section[0].section);
        for spec in section {
            let default = spec.default.map_or_else(String::new, |text| format!("`{text}`"));
            let reload = match spec.reload {
                Reload::Never => "",
                Reload::Worker => " ⟳ (workers)",
                Reload::Everywhere => " ⟳",
            };
            let help = spec.help.replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {default} | {help}.{reload} |", spec.name);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The settings by section, in the order in which the sections begin.
fn sections(specs: &[&'static Spec]) -> Vec<Vec<&'static Spec>> {
    let mut sections: Vec<Vec<&'static Spec>> = Vec::new();
    for &spec in specs {
        match sections.iter_mut().find(|section| section[0].section == spec.section) {
            Some(section) => section.push(spec),
            None => sections.push(vec![spec]),
        }
    }
    sections
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::{gateway, worker};
    use super::*;

    /// Characters of a comment's line in the example file.
    const LINE_CHARS_MAX: usize = 116;
    const PAGE: &str = "docs/settings.md";
    const EXAMPLE: &str = "deploy/diffyne.env.example";
    const COMMAND: &str = "DIFFYNE_BLESS=1 cargo test -p diffyne-shared settings::docs";

    const PAGE_HEAD: &str = "\
# Settings

Made from the declarations in `shared/src/settings/`; do not edit it by hand. After a change there, run
`DIFFYNE_BLESS=1 cargo test -p diffyne-shared settings::docs`.

A setting can be given as a flag (`--ws-port 6001`), in the environment (`DIFFYNE_WS_PORT=6001`), in a `.env` file
(`--env-file FILE`) or in a TOML file (`--config FILE`, `ws_port = 6001`). The first of these that has a value wins; an
empty value counts as not set; in a `.env` file `null` and `empty` are empty, as for Laravel. One file may serve
gateways and workers. `diffyne-gateway check-config` and `diffyne-worker check-config` print each setting with its
value and where the value came from.

* Durations are written as `500ms`, `28s`, `5m`, `1h` or `1h 30m`.
* Sizes are written in bytes: `1048576`, `64KiB`, `1MiB`, or with decimal units: `64KB` is 64000 bytes.
* Rates are written as `100/s`, as `100/s:500` with a burst, or as `off`. Without a burst, twice the rate may come at
  once. Rates in bytes take sizes: `4MiB/s:16MiB`.
* Lists are separated by commas; in TOML they may be arrays.
* Addresses are written as `host:port` or `unix:PATH`.
* ⟳ marks a setting that SIGHUP applies without a restart.
* Traces have the `OTEL_*` variables of OpenTelemetry instead, from the environment alone:
  [operations.md](operations.md#traces). What an application with the Composer package sets is in
  [laravel.md](laravel.md#the-composer-package).
";

    const EXAMPLE_HEAD: &str = "\
# Every setting of diffyne-gateway and diffyne-worker, with its default. Both programs read this file: as
# EnvironmentFile of the systemd units, or with --env-file. Lines that are commented out show the default; an empty
# value counts as not set. `diffyne-gateway check-config` prints each value that is in force and where it came from.
";

    /// The parts of both files: a title and its settings.
    fn parts() -> [(&'static str, Vec<&'static Spec>); 3] {
        let (gateway, worker) = (gateway::specs(), worker::specs());
        let has = |specs: &[&'static Spec], spec: &Spec| specs.iter().any(|other| other.name == spec.name);
        let only = |ours: &[&'static Spec], theirs: &[&'static Spec]| -> Vec<_> {
            ours.iter().copied().filter(|spec| !has(theirs, spec)).collect()
        };
        let both = gateway.iter().copied().filter(|spec| has(&worker, spec)).collect();
        [("Gateways", only(&gateway, &worker)), ("Workers", only(&worker, &gateway)), ("Gateways and workers", both)]
    }

    fn page() -> String {
        let mut out = PAGE_HEAD.to_owned();
        for (title, specs) in parts() {
            write!(out, "\n## {title}\n\n{}", markdown(&specs)).unwrap();
        }
        out
    }

    fn example() -> String {
        let mut out = EXAMPLE_HEAD.to_owned();
        for (title, specs) in parts() {
            for section in sections(&specs) {
                write!(out, "\n# ---- {title}: {} ----\n", section[0].section).unwrap();
                for spec in section {
                    out.push('\n');
                    comment(&mut out, spec.help);
                    writeln!(out, "#{}={}", spec.name, spec.default.unwrap_or_default()).unwrap();
                }
            }
        }
        out
    }

    /// Text as comment lines of a bounded width.
    fn comment(out: &mut String, text: &str) {
        let mut line = String::from("#");
        for word in text.split(' ') {
            if line.len() + 1 + word.len() > LINE_CHARS_MAX {
                writeln!(out, "{line}").unwrap();
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        writeln!(out, "{line}").unwrap();
    }

    #[test]
    fn the_page_and_the_example_file_are_made_from_the_declarations() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (name, made) in [(PAGE, page()), (EXAMPLE, example())] {
            let path = project.join(name);
            if std::env::var_os("DIFFYNE_BLESS").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == made, "{name} is not up to date; run: {COMMAND}");
        }
    }

    #[test]
    fn every_help_text_is_one_line_without_a_stop_and_every_setting_has_a_section() {
        for spec in gateway::specs().iter().chain(&worker::specs()) {
            assert!(!spec.section.is_empty() && !spec.help.is_empty(), "{}", spec.name);
            assert!(!spec.help.ends_with('.') && !spec.help.contains('\n'), "{}: {}", spec.name, spec.help);
        }
    }
}
