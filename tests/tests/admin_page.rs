//! The admin page in a real browser: what operators see, who may see it, and that nothing is changed by accident or by others.

use anyhow::Context as _;
use diffyne_tests::browser::Browser;
use diffyne_tests::client::{Client, call, chat};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::http::{HttpResponse, http};
use diffyne_tests::process::{eventually, program};
use diffyne_tests::terminal::Terminal;
use serde_json::{Value, json};

use crate::looks::{axe, violations};

const ADA: &str = "0123456789abcdef";
const BOARD: &str = "fedcba9876543210";

/// Sends a request with these header lines, and a form.
fn send(node: &Node, method: &str, path: &str, headers: &[(&str, &str)], form: &str) -> anyhow::Result<HttpResponse> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    http(node.admin, &request)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_cluster_in_a_browser_and_in_a_terminal_and_act_after_a_second_question() -> anyhow::Result<()>
{
    let tokens = format!("ada:{ADA},board:read:{BOARD}");
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--admin-tokens", &tokens))?;
    let gateway = &cluster.gateways[0];
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    other.subscribe("message-sent").await?;
    for n in 0..20 {
        assert!(client.call(chat(&format!("hello {n}"), "c")).await?.is_ok());
    }
    assert!(!client.call(call("App\\<b>Nothing", "x", "go", json!([]), json!({}), "r")).await?.is_ok());

    let browser = Browser::start()?;
    let url = format!("http://127.0.0.1:{}/", gateway.admin);
    let mut tab = browser.open(&url).await?;
    // Figures come with the next look; the script takes it by itself.
    for shown in [
        "document.querySelector('#figure-connections b').textContent === '1'",
        "document.querySelectorAll('#gateways tbody tr').length === 2",
        "document.querySelector('#workers tbody').textContent.includes('runs calls')",
        "/chat.*\\/s.*ms.*ms/i.test(document.querySelector('#components tbody')?.textContent ?? '')",
        "document.querySelector('#events tbody')?.textContent.includes('message-sent')",
        "document.querySelectorAll('#connections tbody tr').length === 2",
        "document.querySelector('#figure-calls polyline').getAttribute('points').split(' ').length > 1",
        "Number(document.querySelector('main').dataset.refreshed) > 0",
    ] {
        tab.wait_for(shown).await.with_context(|| shown.to_owned())?;
    }
    // From this machine, the page can be read and nothing done.
    assert_eq!(tab.eval("document.querySelectorAll('footer form').length").await?, 0);
    let axe = axe()?;
    let mut found = violations(&mut tab, &axe, "the admin page").await?;

    if let Ok(path) = std::env::var("DIFFYNE_SCREENSHOT") {
        std::fs::write(path, tab.screenshot().await?)?;
    }
    tab.click("a[href='/login']").await?;
    tab.wait_for("document.querySelector('#token')").await?;
    tab.click("#token").await?;
    tab.type_text("not the token").await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('[role=alert]')").await?;
    found.extend(violations(&mut tab, &axe, "the form").await?);
    tab.click("#token").await?;
    tab.type_text(ADA).await?;
    tab.enter().await?;
    tab.wait_for("document.querySelectorAll('footer form').length === 2").await?;
    assert_eq!(tab.eval("document.cookie").await?, "", "no script sees the cookie");
    tab.click("footer input[name=value]").await?;
    let id = tab.eval("document.querySelector('#connections tbody td').textContent").await?;
    tab.type_text(id.as_str().context("no client")?).await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('.danger')").await?;
    found.extend(violations(&mut tab, &axe, "the question").await?);
    tab.click(".danger").await?;
    tab.wait_for("document.body.textContent.includes('disconnected') && document.querySelector('h1').textContent.startsWith('Done')").await?;
    let log = || gateway.process.output();
    eventually("the change is logged", || log().contains("operator=\"ada\" action=/api/disconnect"))?;
    assert!(found.is_empty() && tab.errors.is_empty(), "{found:#?} {:?}", tab.errors);

    let top = |flag: &str| -> anyhow::Result<String> {
        let output = std::process::Command::new(program("diffyne-gateway")?)
            .args(["top", flag, "--admin-listen", &format!("127.0.0.1:{}", gateway.admin)])
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let text = top("--once")?;
    assert!(text.contains("COMPONENTS") && text.contains("message-sent") && !text.contains('\x1b'), "{text}");
    let overview: Value = serde_json::from_str(&top("--json")?)?;
    let tables = overview["tables"].as_array().context("no tables")?;
    let components = tables.iter().find(|table| table["id"] == "components").context("no components")?;
    assert!(components["rows"][0]["p99_ms"].is_number(), "{components}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn top_has_panels_on_a_terminal_of_any_size_and_gives_it_back() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert!(client.call(chat("hello", "c")).await?.is_ok());
    let connections = || cluster.gateways[0].metric("diffyne_gateway_connections");
    eventually("the client is counted", || connections().is_ok_and(|count| count > 0.5))?;
    let (program, admin) = (program("diffyne-gateway")?, cluster.gateways[0].admin);
    let line = format!("{} top --admin-listen 127.0.0.1:{admin}", program.display());
    let back = |terminal: &Terminal| {
        // The last of what stty prints.
        terminal.wait_for(0, &["ended with 0", "extproc"])?;
        let shown = terminal.since(0);
        // The screen of before, its cursor, and lines that are edited and echoed.
        let (_, after) = shown.rsplit_once("\x1b[?1049l").context("no screen of before")?;
        assert!(shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "{shown:?}");
        assert!(after.contains(" icanon") && after.contains(" echo "), "{after:?}");
        anyhow::Ok(())
    };

    let mut terminal = Terminal::run(&line, 180, 45)?;
    terminal.wait_for(
        0,
        &["Connections: 1", "ago", "Components", "App\\Diffyne\\Chat", "Limits that are reached", "\x1b[38;5;"],
    )?;
    let small = terminal.resize(80, 24)?;
    terminal.wait_for(small, &["Gateways", "q quit"])?;
    let shown = terminal.since(small);
    assert!(!shown.contains("ago") && !shown.contains("Limits that are reached"), "{shown:?}");
    let moved = terminal.press("\x1b[D")?;
    terminal.wait_for(moved, &["Limits that are reached"])?;
    cluster.gateways[0].process.kill()?;
    terminal.wait_for(moved, &["what is shown is old"])?;
    terminal.press("q")?;
    back(&terminal)?;

    // Ctrl-C and a signal end it as well.
    cluster.restart_gateway(0)?;
    for (is_signal, environment) in [(false, "NO_COLOR=1"), (true, "NO_COLOR=")] {
        let mut terminal = Terminal::run(&format!("sh -c 'echo process $$; {environment} exec {line}'"), 180, 45)?;
        terminal.wait_for(0, &["Components", "q quit"])?;
        let shown = terminal.since(0);
        assert_eq!(shown.contains("\x1b[38;5;"), is_signal, "{environment}");
        if is_signal {
            let process = shown.split("process ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let killed = std::process::Command::new("kill").args(["-TERM", process.context("no process")?]).status()?;
            anyhow::ensure!(killed.success(), "{killed}");
        } else {
            terminal.press("\x03")?;
        }
        back(&terminal)?;
    }
    // One that can do nothing but write gets the text.
    let terminal = Terminal::run(&format!("TERM=dumb {line}"), 80, 24)?;
    terminal.wait_for(0, &["COMPONENTS", "ended with 0"])?;
    assert!(!terminal.since(0).contains('\x1b'), "{:?}", terminal.since(0));
    Ok(())
}

#[test]
fn strangers_see_a_form_and_forms_of_others_change_nothing() -> anyhow::Result<()> {
    let tokens = format!("ada:{ADA},board:read:{BOARD}");
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--admin-tokens", &tokens))?;
    let gateway = &cluster.gateways[0];
    let host = format!("127.0.0.1:{}", gateway.admin);
    let origin = format!("http://{host}");
    // What leads here by another name, or through a proxy, is not this machine.
    for headers in [&[("Host", "evil.test")][..], &[("Host", &host), ("X-Forwarded-For", "203.0.113.9")], &[]] {
        let page = send(gateway, "GET", "/", headers, "")?;
        assert!(page.status == 401 || page.status == 400, "{page:?}");
        assert!(!page.body.contains("figure-"), "{page:?}");
        assert_eq!(send(gateway, "GET", "/api/overview", headers, "")?.status / 100, 4);
    }
    let login = |token: &str, from: &str| {
        send(gateway, "POST", "/login", &[("Host", &host), ("Origin", from)], &format!("token={token}"))
    };
    assert_eq!(login("wrong", &origin)?.status, 401);
    assert_eq!(login(ADA, "http://evil.test")?.status, 403);
    let entered = login(ADA, &origin)?;
    let cookie = entered.cookies();
    assert_eq!(entered.status, 303);
    assert!(entered.header("set-cookie")[0].contains("HttpOnly; SameSite=Strict"), "{entered:?}");
    let signed_in = [("Host", host.as_str()), ("Cookie", cookie.as_str())];
    let question = send(gateway, "GET", "/ask?action=drain", &signed_in, "")?;
    assert!(question.header("content-security-policy")[0].contains("frame-ancestors 'none'"), "{question:?}");
    let proof = question.body.split("name=\"proof\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let form = format!("action=drain&value=&proof={}", proof.context("no proof")?);

    let with = |headers: &[(&str, &str)], form: &str| {
        let headers = [&[("Host", host.as_str())], headers].concat();
        Ok::<_, anyhow::Error>(send(gateway, "POST", "/do", &headers, form)?.status)
    };
    let cookie = ("Cookie", cookie.as_str());
    // Without the cookie, from another site, without an origin, without the proof, with another one.
    assert_eq!(with(&[("Origin", &origin)], &form)?, 403);
    assert_eq!(with(&[cookie, ("Origin", "http://evil.test")], &form)?, 403);
    assert_eq!(with(&[cookie], &form)?, 403);
    assert_eq!(with(&[cookie, ("Origin", &origin)], "action=drain&value=")?, 403);
    assert_eq!(with(&[cookie, ("Origin", &origin)], "action=drain&value=&proof=00")?, 403);
    // Whoever may only look is not asked, and cannot do it.
    let reader = login(BOARD, &origin)?.cookies();
    assert_eq!(send(gateway, "GET", "/ask?action=drain", &[("Host", &host), ("Cookie", &reader)], "")?.status, 403);
    assert_eq!(with(&[("Cookie", &reader), ("Origin", &origin)], &form)?, 403);
    // A link does nothing.
    assert_eq!(send(gateway, "GET", &format!("/do?{form}"), &signed_in, "")?.status, 404);
    assert_eq!(send(gateway, "GET", "/ready", &[("Host", &host)], "")?.status, 200, "nothing has been drained");
    assert_eq!(with(&[cookie, ("Origin", &origin)], &form)?, 202);
    Ok(())
}
