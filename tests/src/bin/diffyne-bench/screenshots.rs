//! Pictures of the demo page, of the gallery and of the admin page, taken by a real browser.

use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use clap::{ArgMatches, Command};
use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Scheme, Tab};
use diffyne_tests::client::{Client, chat};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{project, start_dev};

/// The page's connection is open.
const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";

/// The kinds of pictures: on a desk in light and dark, and on a phone.
const SHOTS: [(&str, Scheme, (u32, u32)); 3] =
    [("light", Scheme::Light, (1100, 720)), ("dark", Scheme::Dark, (1100, 720)), ("phone", Scheme::Light, (390, 844))];

/// Its arguments: none.
pub fn command() -> Command {
    Command::new("screenshots")
        .about("Takes pictures of the demo page, the gallery and the admin page with Chromium, into target/screenshots")
}

/// Takes all pictures.
pub fn run(_: &ArgMatches) -> anyhow::Result<()> {
    let album = Album(project().join("target/screenshots"));
    std::fs::create_dir_all(&album.0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let browser = Browser::start()?;
        demo(&browser, &album).await?;
        gallery(&browser, &album).await?;
        admin(&browser, &album).await
    })
}

/// The folder of the pictures.
struct Album(PathBuf);

impl Album {
    async fn save(&self, tab: &mut Tab, name: &str) -> anyhow::Result<()> {
        tab.hide_scrollbars().await?;
        for (kind, scheme, size) in SHOTS {
            tab.emulate(scheme, size).await?;
            tab.eval("window.scrollTo(0, 0)").await?;
            let picture = base64::engine::general_purpose::STANDARD.decode(tab.screenshot().await?)?;
            let path = self.0.join(format!("{name}-{kind}.png"));
            std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", path.display());
        }
        let (_, scheme, size) = SHOTS[0];
        tab.emulate(scheme, size).await
    }
}

async fn post_message(tab: &mut Tab, field: &str, text: &str) -> anyhow::Result<()> {
    tab.click(field).await?;
    tab.type_text(text).await?;
    tab.enter().await?;
    let last = serde_json::Value::from(text);
    tab.wait_for(&format!("document.querySelector('.chat li:last-child')?.textContent === {last}")).await
}

async fn demo(browser: &Browser, album: &Album) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let [port] = free_ports()?;
    let _dev = start_dev(directory.path(), port)?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{port}/")).await?;
    tab.wait_for(OPEN).await?;
    album.save(&mut tab, "demo-empty").await?;
    for text in ["Is anybody there?", "Three gateways, two workers and Redis.", "And nobody lost a message."] {
        post_message(&mut tab, ".chat input", text).await?;
    }
    for _ in 0..4 {
        tab.click("[aria-label='one more']").await?;
    }
    tab.wait_for_text("output", "4").await?;
    album.save(&mut tab, "demo").await
}

/// The admin page of a gateway whose clients call and chat.
async fn admin(browser: &Browser, album: &Album) -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 2).with_redis())?;
    let mut clients = Vec::new();
    for n in 0..12 {
        let mut client = Client::connect(&cluster.url(n % 2)).await?;
        client.subscribe("message-sent").await?;
        clients.push(client);
    }
    // Who listens hears messages between the answers to its own calls; so others call.
    let mut callers = [Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(1)).await?];
    for n in 0..200 {
        let caller = &mut callers[n % 2];
        caller.check_increment(1).await?;
        caller.call(chat("Is anybody there?", &n.to_string())).await?;
    }
    let mut tab = browser.open(&format!("http://127.0.0.1:{}/", cluster.gateways[0].admin)).await?;
    tab.wait_for("document.querySelectorAll('#components tbody tr').length > 1").await?;
    album.save(&mut tab, "admin").await
}

async fn gallery(browser: &Browser, album: &Album) -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 2).with_redis())?;
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;

    let mut tab = browser.open(&application.url("/")).await?;
    tab.wait_for(OPEN).await?;
    album.save(&mut tab, "gallery").await?;
    let mut tab = browser.open(&application.url("/todo+search")).await?;
    tab.wait_for(OPEN).await?;
    tab.click("li:nth-child(1) [aria-label='done']").await?;
    tab.click("input[type=search]").await?;
    tab.type_text("a").await?;
    tab.wait_for("document.querySelector('li.done') && !document.body.textContent.includes('of 16')").await?;
    album.save(&mut tab, "todo-and-search").await?;
    let mut tab = browser.open(&application.url("/signup+wizard")).await?;
    tab.wait_for(OPEN).await?;
    tab.click("form > button").await?;
    tab.wait_for("document.querySelector('em').textContent").await?;
    album.save(&mut tab, "forms").await?;
    let mut tab = browser.open(&application.url("/dashboard+report")).await?;
    tab.wait_for("document.querySelectorAll('rect').length > 12 && document.querySelector('h3')").await?;
    album.save(&mut tab, "dashboard-and-report").await?;
    let mut tab = browser.open(&application.url("/timeline+speaker")).await?;
    tab.wait_for(OPEN).await?;
    tab.click(".timeline .row button").await?;
    tab.wait_for_text(".timeline [role=status]", "1000 deploys by 5 people").await?;
    tab.click("[diff\\:key=\"501\"] [aria-label=star]").await?;
    tab.wait_for("document.querySelector('.timeline .starred')").await?;
    tab.eval("document.querySelector('.scroll').scrollTop = 40").await?;
    tab.click("form button").await?;
    tab.wait_for("document.querySelector('[data-done]')").await?;
    album.save(&mut tab, "timeline-and-speaker").await?;
    let mut tab = browser.open(&application.url("/chat+counter")).await?;
    tab.wait_for(OPEN).await?;
    for text in ["Hello from the first gateway", "Hello from the second"] {
        post_message(&mut tab, "[aria-label=Message]", text).await?;
    }
    album.save(&mut tab, "chat-and-counter").await
}
