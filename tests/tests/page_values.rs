//! Values that a browser returns in another way than it got them: they come back verified and unchanged, or they are
//! refused when they are made.

use anyhow::{Context as _, ensure};
use diffyne_shared::signing::{Purpose, Signer, SigningKey, Verdict, VerifyState};
use diffyne_tests::application::Script;
use diffyne_tests::browser::Browser;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_pages::LaravelPages;
use diffyne_tests::process::project;
use diffyne_tests::recorded::APP_KEY;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const VALUES: &str = r"App\\Diffyne\\Values";
/// States of the property test.
const STATES: usize = 100_000;
/// How many of them PHP makes, and the browser reads, at once.
const BATCH: usize = 5_000;

/// Whether the page's script returns integers as it got them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageScript {
    Exact,
    Bare,
}

/// An answer whose state is left as it came.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    c: Option<Component<'a>>,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Component<'a> {
    #[serde(borrow)]
    st: &'a RawValue,
    sig: String,
}

impl Answer<'_> {
    fn component(&self) -> anyhow::Result<&Component<'_>> {
        self.c.as_ref().with_context(|| format!("{}: {}", self.kind, self.error))
    }
}

/// Sends a message as a page does, with its parts as they are.
fn send(port: u16, script: PageScript, parts: &str) -> anyhow::Result<String> {
    let exact = if script == PageScript::Exact { r#""exact":true,"# } else { "" };
    let body = format!(r#"{{"componentId":"diffyne-values","componentClass":"{VALUES}",{exact}{parts}}}"#);
    Ok(http_post(port, "/_diffyne/update", &[("Sec-Fetch-Site", "same-origin")], &body)?.body)
}

fn make(port: u16, script: PageScript, what: &str) -> anyhow::Result<String> {
    let state = r#"{"value":null,"text":""}"#;
    send(port, script, &format!(r#""type":"call","method":"make","params":["{what}"],"state":{state}"#))
}

fn typing(port: u16, script: PageScript, state: &str, signature: &str) -> anyhow::Result<String> {
    let parts = format!(r#""property":"text","value":"typed","state":{state},"signature":"{signature}""#);
    send(port, script, &format!(r#""type":"update",{parts}"#))
}

for_runtimes!(what_a_browser_prints_in_another_way_comes_back_verified: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn what_a_browser_prints_in_another_way_comes_back_verified(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let port = cluster.gateways[0].port;
    // What PHP prints, and what a browser makes of it.
    let by_any_script = [
        ("minus zero", "-0", "0"),
        ("large float", "1.0e+18", "1000000000000000000"),
        ("huge float", "1.5e+300", "1.5e+300"),
        ("small float", "1.0e-7", "1e-7"),
        ("whole float", "1", "1"),
        ("order", r#"{"7":"x","3":"y","n":"z","0":"w"}"#, r#"{"0":"w","3":"y","7":"x","n":"z"}"#),
        ("object", r#"{"b":"","a":{},"c":-0}"#, r#"{"b":"","a":{},"c":0}"#),
    ];
    let by_exact_scripts = [
        ("snowflake", "432224099704639488", "432224099704639488"),
        ("smallest", "-9223372036854775808", "-9223372036854775808"),
        (
            "in a list",
            r#"{"rows":[{"id":432224099704639488},{"id":432224099704639489}]}"#,
            r#"{"rows":[{"id":432224099704639488},{"id":432224099704639489}]}"#,
        ),
    ];
    for (script, rows) in [
        (PageScript::Bare, by_any_script.as_slice()),
        (PageScript::Exact, by_any_script.as_slice()),
        (PageScript::Exact, by_exact_scripts.as_slice()),
    ] {
        for (what, made, returned) in rows {
            let body = make(port, script, what)?;
            let answer: Answer<'_> = serde_json::from_str(&body)?;
            let Component { st, sig } = answer.component()?;
            ensure!(st.get() == format!(r#"{{"value":{made},"text":""}}"#), "{what}: {}", st.get());
            let body = typing(port, script, &st.get().replace(made, returned), sig)?;
            let answer: Answer<'_> = serde_json::from_str(&body)?;
            let again = answer.component().with_context(|| format!("{what} by {script:?}"))?.st.get();
            ensure!(again.contains(r#""text":"typed""#), "{what}: {again}");
        }
    }
    Ok(())
}

for_runtimes!(what_a_page_cannot_return_is_refused_when_it_is_made: fast_path = FastPath, http = Http, fastcgi = FastCgi);
async fn what_a_page_cannot_return_is_refused_when_it_is_made(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let port = cluster.gateways[0].port;
    let integer = "holds the integer 432224099704639488. JavaScript changes integers beyond 2^53";
    for (script, what, why) in [
        (PageScript::Bare, "snowflake", integer),
        (PageScript::Bare, "in a list", integer),
        (PageScript::Exact, "no number", "is no finite number"),
        (PageScript::Exact, "no text", "cannot be sent to a page: Malformed UTF-8 characters"),
        (PageScript::Exact, "too deep", "nests too deep: a state may have 510 levels."),
    ] {
        let body = make(port, script, what)?;
        let answer: Answer<'_> = serde_json::from_str(&body)?;
        assert_eq!(answer.kind, "server_error", "{what}: {body}");
        let start = format!(r"Property [value] of App\Diffyne\Values {why}");
        ensure!(answer.error.starts_with(&start), "{what}: {body}");
    }
    // What a script may have changed is not taken, neither in a state nor as a parameter.
    for parts in [
        r#""method":"keys","params":[],"state":{"value":432224099704639500,"text":""}"#,
        r#""method":"find","params":[432224099704639500],"state":{"value":null,"text":""}"#,
    ] {
        let body = send(port, PageScript::Bare, &format!(r#""type":"call",{parts}"#))?;
        let answer: Answer<'_> = serde_json::from_str(&body)?;
        let said = "holds the integer 432224099704639500. JavaScript changes";
        ensure!(answer.error.contains(said), "{body}");
    }
    Ok(())
}

for_runtimes!(a_state_as_deep_as_php_allows_comes_back: fast_path = FastPath, http = Http);
async fn a_state_as_deep_as_php_allows_comes_back(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let port = cluster.gateways[0].port;
    let body = make(port, PageScript::Bare, "deep")?;
    let answer: Answer<'_> = serde_json::from_str(&body)?;
    let Component { st, sig } = answer.component()?;
    ensure!(st.get().contains(&"[".repeat(509)), "{}", st.get());
    let body = typing(port, PageScript::Bare, st.get(), sig)?;
    let answer: Answer<'_> = serde_json::from_str(&body)?;
    ensure!(answer.component()?.st.get().contains(r#""text":"typed""#));
    // By the socket as well.
    let mut client = Client::connect(&cluster.url(0)).await?;
    let data = format!(
        r#"{{"type":"update","componentId":"diffyne-values","componentClass":"{VALUES}","property":"text","value":"typed","state":{},"signature":"{sig}","requestId":"r"}}"#,
        st.get()
    );
    client.send_text(&format!(r#"{{"event":"diffyne.update","data":{data}}}"#)).await?;
    let text = client.receive_text().await?;
    ensure!(text.contains(r#""text":"typed""#), "{text}");
    // A level more is told, and costs nobody anything.
    let state = st.get().replace(&"[".repeat(509), &"[".repeat(513)).replace(&"]".repeat(509), &"]".repeat(513));
    let body = typing(port, PageScript::Bare, &state, sig)?;
    let answer: Answer<'_> = serde_json::from_str(&body)?;
    assert_eq!(answer.error, "The message nests more than 512 lists and objects.", "{body}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_keep_integers_and_the_order_of_keys() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in std::iter::once(Script::Client).chain(Script::companions()) {
        let laravel = Laravel::new()?;
        laravel.load_bridge()?;
        // A page that comes with one.
        laravel.change("app/Diffyne/Values.php", "#[Lazy]", "")?;
        laravel.change("app/Diffyne/Values.php", "$value = null", "$value = 432224099704639489")?;
        let cluster = Cluster::start(laravel.shape(1, 2))?;
        for more in ["", r#" data-ajax="Values""#] {
            let pages = LaravelPages::start(&cluster, &laravel, &script, more)?;
            let mut tab = browser.open(&pages.url("/pages/Values")).await?;
            tab.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
            tab.wait_for("document.querySelector('#value').value === '432224099704639489'").await?;
            let wait = format!("{script:?} {more}");
            // An update is verified: the state came back as it was.
            let typed = "(() => { const f = document.querySelector('input'); f.value = 'typed'; \
                         f.dispatchEvent(new Event('input', {bubbles: true})) })()";
            tab.eval(typed).await?;
            tab.wait_for_text("p", "typed").await.context(wait.clone())?;
            for (button, text) in [("find", "found 432224099704639488"), ("tell", "heard 432224099704639488")] {
                tab.click(&format!("#{button}")).await?;
                tab.wait_for_text("p", text).await.context(wait.clone())?;
            }
            tab.click("#snowflake").await?;
            tab.wait_for("document.querySelector('#value').value === '432224099704639488'").await?;
            tab.eval(typed).await?;
            tab.wait_for_text("p", "typed").await.context(wait.clone())?;
            // No text stands for an array: the field is left alone.
            tab.click("#order").await?;
            tab.click("#keys").await?;
            tab.wait_for_text("p", "7,3,n,0").await.context(wait.clone())?;
            tab.click("#zero").await?;
            tab.wait_for("document.querySelector('#value').value === '0'").await.context(wait.clone())?;
            tab.eval(typed).await?;
            tab.wait_for_text("p", "typed").await.context(wait.clone())?;
            assert_eq!(tab.errors, Vec::<String>::new(), "{wait}");
        }
    }
    Ok(())
}

/// What PHP made of one generated state.
#[derive(Deserialize)]
struct Made {
    id: String,
    state: String,
    /// For a script that keeps integers; none: refused.
    exact: Option<String>,
    /// For any other one.
    bare: Option<String>,
}

/// Returns states as text, by JavaScript alone and by our scripts.
const RETURN_ALL: &str =
    "(texts) => texts.map((text) => [JSON.stringify(JSON.parse(text)), numbers.print(numbers.read(text))])";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_states_come_back_verified_or_were_refused() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    std::fs::copy(project().join("tests/data/generate-states.php"), laravel.path("generate-states.php"))?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{}/health", cluster.gateways[0].port)).await?;
    tab.wait_for("location.pathname === '/health'").await?;
    let import = "import(`${location.origin}/_diffyne/numbers.js`).then((module) => { window.numbers = module; })";
    tab.eval(import).await?;
    let signer =
        Signer::new(vec![SigningKey::parse(APP_KEY)?], VerifyState::PropertyUpdates, false).context("no key")?;
    let is_accepted = |returned: &str, made: &Made, signature: &str| -> anyhow::Result<bool> {
        let state: Value = serde_json::from_str(returned)?;
        Ok(signer.judge(Purpose::Update, &state, &made.id, Some(signature), &[""; 0]) == Verdict::Accepted)
    };
    let (mut exact, mut bare, mut refused) = (0, 0, 0);
    for batch in 0..STATES / BATCH {
        let code = format!("require 'generate-states.php'; States::generate({BATCH}, {batch});");
        let made: Vec<Made> = serde_json::from_str(&laravel.tinker(&[], &code)?)?;
        ensure!(made.len() == BATCH);
        let texts = serde_json::to_string(&made.iter().map(|made| &made.state).collect::<Vec<_>>())?;
        let returned: Vec<(String, String)> =
            serde_json::from_value(tab.eval(&format!("({RETURN_ALL})({texts})")).await?)?;
        for (made, (by_javascript, by_scripts)) in made.iter().zip(&returned) {
            if let Some(signature) = &made.exact {
                ensure!(is_accepted(by_scripts, made, signature)?, "exact: {} became {by_scripts}", made.state);
                exact += 1;
            } else {
                refused += 1;
            }
            if let Some(signature) = &made.bare {
                ensure!(is_accepted(by_javascript, made, signature)?, "bare: {} became {by_javascript}", made.state);
                bare += 1;
            }
        }
    }
    println!("{exact} verified with our scripts, {bare} with JavaScript alone, {refused} refused for all");
    ensure!(exact > STATES * 9 / 10 && bare > STATES / 2 && bare < exact && refused > 0);
    Ok(())
}
