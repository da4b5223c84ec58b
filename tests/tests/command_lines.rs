//! The command lines of the programs: manual pages and completions are made from them and committed, so that installing needs
//! nothing but files; and what the programs say of themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use diffyne_tests::process::{program, project};

const BLESS: &str = "DIFFYNE_BLESS=1 cargo nextest run --workspace -E 'test(made_from_the_command_lines)'";

/// The command with its commands and flags, each changed.
fn each_flag(command: Command, change: fn(Arg) -> Arg) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let changed = command.mut_args(change);
    names.iter().fold(changed, |command, name| command.mut_subcommand(name, |of| each_flag(of, change)))
}

/// What a shell shows beside a flag: the beginning of its help.
fn with_short_help(flag: Arg) -> Arg {
    const CHARS_MAX: usize = 60;
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let first = help.split([';', ':', '(', '[']).next().unwrap_or_default().trim();
    let end = first.char_indices().nth(CHARS_MAX).map_or(first.len(), |(at, _)| at);
    flag.help(first[..end].to_owned())
}

/// Every file, by its path in the project.
fn files(command: &Command) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let name = command.get_name().to_owned();
    let mut completed = each_flag(command.clone(), with_short_help);
    // A manual page has all that `--help` has.
    let mut command = each_flag(command.clone(), |flag| flag.hide_short_help(false));
    let mut files = BTreeMap::new();
    for (shell, file) in
        [(Shell::Bash, format!("{name}.bash")), (Shell::Zsh, format!("_{name}")), (Shell::Fish, format!("{name}.fish"))]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut completed, &name, &mut text);
        if shell == Shell::Bash {
            // clap_complete 4.6 names a program with a hyphen in two ways, so that no command of it would be found.
            let wrong = name.replace('-', "__subcmd__");
            text = String::from_utf8(text)?.replace(&wrong, &name.replace('-', "__")).into_bytes();
        }
        files.insert(format!("deploy/completions/{file}"), text);
    }
    command.build();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let pages = commands.map(|command| (format!("{name}-{}", command.get_name()), command.clone()));
    for (title, page) in pages.chain([(name.clone(), command.clone())]) {
        let mut text = Vec::new();
        Man::new(page.display_name(&title)).title(&title).source("Diffyne Cluster").render(&mut text)?;
        files.insert(format!("deploy/man/{title}.1"), text);
    }
    Ok(files)
}

#[test]
fn manual_pages_and_completions_are_made_from_the_command_lines() -> anyhow::Result<()> {
    let mut made = files(&diffyne_gateway::cli::command())?;
    made.extend(files(&diffyne_worker::cli::command())?);
    let bless = std::env::var_os("DIFFYNE_BLESS").is_some();
    for (path, text) in &made {
        let path = project().join(path);
        if bless {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            std::fs::write(&path, text)?;
        }
        assert!(std::fs::read(&path).is_ok_and(|committed| committed == *text), "{}: run {BLESS}", path.display());
    }
    for folder in ["deploy/completions", "deploy/man"] {
        for entry in std::fs::read_dir(project().join(folder))? {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            assert!(made.contains_key(&path), "{path} belongs to no command");
        }
    }
    Ok(())
}

/// What a shell says to a script, where it is installed.
fn check_with(shell: &str, script: &str) -> anyhow::Result<Option<String>> {
    if Process::new(shell).args(["-c", "true"]).status().is_err() {
        return Ok(None);
    }
    let output = Process::new(shell).args(["-c", script]).current_dir(project()).output()?;
    anyhow::ensure!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(String::from_utf8(output.stdout)?))
}

#[test]
fn bash_completes_commands_and_flags_and_man_reads_the_pages() -> anyhow::Result<()> {
    let script = r#"source deploy/completions/diffyne-gateway.bash
        complete() { COMP_WORDS=(diffyne-gateway "$@"); COMP_CWORD=$#; _diffyne__gateway diffyne-gateway "${!#}" x; echo "${COMPREPLY[*]}"; }
        complete dr; complete serve --redis-u"#;
    assert_eq!(check_with("bash", script)?.as_deref(), Some("drain\n--redis-url\n"));
    let serve = std::fs::read_to_string(project().join("deploy/man/diffyne-gateway-serve.1"))?;
    assert!(serve.contains("outbox\\-bytes"), "all settings are in the page");
    for page in ["diffyne-gateway", "diffyne-worker-serve"] {
        let text = check_with(
            "bash",
            &format!("MANWIDTH=200 man --local-file --warnings=mac deploy/man/{page}.1 2>&1 >/dev/null || true"),
        )?;
        let text = text.unwrap_or_default();
        assert_eq!(text, "", "{page}");
    }
    Ok(())
}

#[test]
fn short_help_has_the_common_options_and_long_help_has_all_by_subject() -> anyhow::Result<()> {
    let help = |name: &str, arguments: &[&str]| -> anyhow::Result<String> {
        Ok(String::from_utf8(Process::new(program(name)?).args(arguments).output()?.stdout)?)
    };
    let (short, long) = (help("diffyne-gateway", &["serve", "-h"])?, help("diffyne-gateway", &["serve", "--help"])?);
    assert!(short.contains("--listen") && short.contains("--redis-url"), "{short}");
    assert!(!short.contains("--outbox-bytes") && short.lines().count() < 60, "{short}");
    let at = |text: &str| long.find(text).unwrap_or_else(|| panic!("no {text}: {long}"));
    assert!(at("--redis-url") < at("\nLimits:") && at("\nLimits:") < at("--outbox-bytes"), "{long}");
    // What asks a running program shows how it is found, and takes that program's settings.
    let drain = help("diffyne-gateway", &["drain", "--help"])?;
    assert!(drain.contains("--admin-token") && !drain.contains("--outbox-bytes"), "{drain}");
    for name in ["diffyne-gateway", "diffyne-worker"] {
        let told = help(name, &["--version"])?;
        assert_eq!(told.trim(), format!("{name} {} (commit unknown)", env!("CARGO_PKG_VERSION")));
    }
    // The commit is told to the builds that are shipped.
    let make = Process::new("make").args(["-n", "build"]).current_dir(project()).output()?;
    assert!(String::from_utf8(make.stdout)?.contains("DIFFYNE_REVISION=${DIFFYNE_REVISION-$(git describe"));
    Ok(())
}
