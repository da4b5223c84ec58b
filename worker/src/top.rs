//! `diffyne-worker top`: what each PHP process of a running worker does.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use diffyne_shared::admin;
use diffyne_shared::rpc::Endpoint;
use serde_json::Value;

/// Time between two looks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Columns where the terminal does not say how many it has.
const DEFAULT_WIDTH: usize = 100;
/// A call that runs for longer stands out.
const SLOW_CALL: Duration = Duration::from_secs(1);

const HELP: &str = "\
Give it the settings of that worker: it is found at its admin address, and asks for
DIFFYNE_ADMIN_TOKEN.

STATE  starting     boots the application
       idle         waits for a call
       busy         runs a call
       cleaning up  has replied, and puts back what the call has changed
       exiting      ends; the reason stands before the call, as in the metrics
FOR    how long the process has been in this state
GEN    grows with each reload; * marks a process that still runs older code
CORE   the CPU core that it keeps to while calls wait
CALL   component and method as the client has spelled them, and the request's id in the logs

A call that runs for more than a second is in bold. The gateways' DIFFYNE_CALL_TIMEOUT ends it:
its process is killed then, with what it has started.

Examples: diffyne-worker top --env-file /path/to/app/.env
          diffyne-worker top --once | grep busy
          diffyne-worker top --json | jq '.processes[] | select(.state == \"busy\")'";

/// The command, without the worker's settings.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    Command::new("top")
        .about("Show what each PHP process of a running worker does: its call, since when, its memory")
        .after_help(HELP)
        .arg(flag("once", "Print it once; also when the output is no terminal"))
        .arg(flag("json", "Print it once, as JSON"))
}

/// The same as a list that is printed once, without the worker's settings.
pub(crate) fn list_command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    Command::new("ps")
        .about("List the PHP processes of a running worker: state, call, age, calls, memory, code")
        .after_help("diffyne-worker top explains the columns.")
        .arg(flag("watch", "Show them again every second").short('w'))
        .arg(flag("json", "Print them as JSON"))
}

/// Lists a worker's processes.
pub(crate) async fn list(matches: &ArgMatches, address: &Endpoint, token: &str) -> anyhow::Result<()> {
    show(matches.get_flag("json"), !matches.get_flag("watch"), address, token).await
}

/// Shows a worker's processes until the program is ended.
pub(crate) async fn run(matches: &ArgMatches, address: &Endpoint, token: &str) -> anyhow::Result<()> {
    show(matches.get_flag("json"), matches.get_flag("once"), address, token).await
}

async fn show(json: bool, once: bool, address: &Endpoint, token: &str) -> anyhow::Result<()> {
    let look = || async { admin::look(address, token, "/api/processes").await.map_err(anyhow::Error::msg) };
    let mut output = std::io::stdout();
    if json {
        return Ok(writeln!(output, "{:#}", look().await?)?);
    }
    let is_terminal = output.is_terminal();
    if once || !is_terminal {
        let style = if is_terminal { Style::Terminal } else { Style::Plain };
        for line in table(&look().await?, width(), style) {
            writeln!(output, "{line}")?;
        }
        return Ok(());
    }
    loop {
        let report = look().await?;
        // To the top left; each line and the rest of the screen are cleared as they are written, so nothing flickers.
        write!(output, "\x1b[H")?;
        for line in table(&report, width(), Style::Terminal) {
            writeln!(output, "{line}\x1b[K")?;
        }
        write!(output, "\x1b[J")?;
        output.flush().context("cannot write to the terminal")?;
        tokio::time::sleep(REFRESH_INTERVAL).await;
    }
}

/// Columns of the terminal.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(DEFAULT_WIDTH, |size| if size.ws_col == 0 { DEFAULT_WIDTH } else { size.ws_col.into() })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Terminal,
}

impl Style {
    fn bold(self, text: String) -> String {
        if self == Self::Terminal { format!("\x1b[1m{text}\x1b[0m") } else { text }
    }
}

/// The processes as lines, those with the longest calls first.
fn table(report: &Value, width: usize, style: Style) -> Vec<String> {
    let mut processes: Vec<&Value> = report["processes"].as_array().into_iter().flatten().collect();
    processes.sort_by_key(|process| (rank(process), std::cmp::Reverse(process["state_ms"].as_u64())));
    let number = |field: &str| report[field].as_u64().unwrap_or_default();
    let queued = match number("calls_queued") {
        0 => "no call waits".to_owned(),
        calls => format!("{calls} waiting, the first for {}", time(number("longest_wait_ms"))),
    };
    let busy = number("slots").saturating_sub(number("slots_free"));
    let head = format!(
        "{}: {} PHP processes, {busy} of {} slots in use, {queued}",
        report["worker"].as_str().unwrap_or("worker"),
        processes.len(),
        number("slots"),
    );
    let columns = format!(
        "{:>8}  {:<11}  {:>7}  {:>6}  {:>8}  {:>4} {:>5}  CALL",
        "PROCESS", "STATE", "FOR", "CALLS", "MEMORY", "GEN", "CORE"
    );
    let mut lines = vec![cut(&head, width), String::new(), style.bold(cut(&columns, width))];
    lines.extend(processes.iter().map(|process| {
        let line = cut(&row(process), width);
        if is_slow(process) { style.bold(line) } else { line }
    }));
    lines
}

/// What operators look for first.
fn rank(process: &Value) -> u8 {
    match process["state"].as_str() {
        Some("busy") => 0,
        Some("cleaning_up") => 1,
        Some("exiting") => 2,
        Some("starting") => 3,
        Some("template") => 5,
        _ => 4,
    }
}

fn is_slow(process: &Value) -> bool {
    let millis = process["state_ms"].as_u64().unwrap_or_default();
    process["state"] == "busy" && Duration::from_millis(millis) > SLOW_CALL
}

fn row(process: &Value) -> String {
    let number = |field: &str| process[field].as_u64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let outdated = if process["is_outdated"] == true { "*" } else { " " };
    let core = process["core"].as_u64().map_or("-".to_owned(), |core| core.to_string());
    let call = &process["call"];
    let mut about = match (text(&call["component"]), text(&call["method"])) {
        (component, method) if component.is_empty() => method,
        (component, method) => format!("{component}::{method}"),
    };
    if let Some(request) = call["request"].as_str().filter(|request| !request.is_empty()) {
        about = format!("{about}  {request}");
    }
    if let Some(reason) = process["exit"].as_str() {
        about = format!("({reason})  {about}");
    }
    let row = format!(
        "{:>8}  {:<11}  {:>7}  {:>6}  {:>8}  {:>4}{outdated}{core:>5}  {about}",
        number("process"),
        text(&process["state"]).replace('_', " "),
        time(number("state_ms")),
        number("calls"),
        format!("{} MiB", number("memory_bytes").div_ceil(1024 * 1024)),
        number("generation"),
    );
    row.trim_end().to_owned()
}

/// A time as people read it.
fn time(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}

/// The line as far as it fits.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let call = json!({"component": "App\\Cart", "method": "pay", "request": "r-1", "age_ms": 4_230});
        let process = |id: u32, state: &str, millis: u64, call: &Value| {
            json!({"process": id, "state": state, "state_ms": millis, "exit": null, "call": call, "calls": 12,
                "memory_bytes": 39_000_000, "generation": 3, "is_outdated": id == 11, "core": null})
        };
        let mut exiting = process(11, "exiting", 5, &Value::Null);
        exiting["exit"] = json!("max_calls");
        json!({"worker": "w.1", "slots": 2, "slots_free": 1, "calls_queued": 3, "longest_wait_ms": 61_000, "generation": 3,
            "processes": [process(10, "idle", 999, &Value::Null), exiting, process(12, "busy", 4_230, &call)]})
    }

    #[test]
    fn the_longest_call_stands_first() {
        let lines = table(&report(), 200, Style::Plain);
        assert_eq!(lines[0], "w.1: 3 PHP processes, 1 of 2 slots in use, 3 waiting, the first for 1 min");
        assert_eq!(lines[2], " PROCESS  STATE            FOR   CALLS    MEMORY   GEN  CORE  CALL");
        assert_eq!(lines[3], "      12  busy           4.2 s      12    38 MiB     3     -  App\\Cart::pay  r-1");
        assert_eq!(lines[4], "      11  exiting         5 ms      12    38 MiB     3*    -  (max_calls)");
        assert_eq!(lines[5], "      10  idle          999 ms      12    38 MiB     3     -");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [1, 40, 80] {
            let lines = table(&report(), width, Style::Plain);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
        }
        let bold: Vec<_> = table(&report(), 80, Style::Terminal);
        assert!(bold[3].starts_with("\x1b[1m") && bold[3].ends_with("\x1b[0m") && !bold[5].contains('\x1b'));
    }
}
