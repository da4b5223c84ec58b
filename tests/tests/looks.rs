//! How the demo page and the gallery look to everybody: axe-core finds nothing to complain of, in light and dark, on a
//! desk and on a phone; nothing is wider than the screen; the newest message is in view.

use anyhow::Context as _;
use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Scheme, Tab};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{project, start_dev};

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const DESK: (u32, u32) = (1100, 800);
const PHONE: (u32, u32) = (375, 700);

pub fn axe() -> anyhow::Result<String> {
    let path = project().join("gateway/src/client/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).with_context(|| format!("{} is missing: run tests/tools.sh", path.display()))
}

/// What axe-core and a measuring tape find wrong with a page, in light and dark, wide and narrow.
pub async fn violations(tab: &mut Tab, axe: &str, page: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    tab.eval(axe).await?;
    for (scheme, size) in [(Scheme::Light, DESK), (Scheme::Dark, PHONE)] {
        tab.emulate(scheme, size).await?;
        let report = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.map((one) => \
                      one.id + ': ' + one.nodes.map((node) => node.target + ' ' + node.failureSummary).join('; ')))";
        let report = tab.eval(report).await?;
        let report = report.as_array().context("axe has not run")?;
        found.extend(report.iter().map(|one| format!("{page} {scheme:?} {}: {one}", size.0)));
        let width = tab.eval("document.documentElement.scrollWidth").await?.as_u64().unwrap_or(u64::MAX);
        if width > u64::from(size.0) {
            found.push(format!("{page} is {width} wide on a screen of {}", size.0));
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shut_out_of_the_demo_and_the_gallery_by_how_they_look() -> anyhow::Result<()> {
    let axe = axe()?;
    let browser = Browser::start()?;
    let mut found = Vec::new();

    let directory = tempfile::tempdir()?;
    let [port] = free_ports()?;
    let _dev = start_dev(directory.path(), port)?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{port}/")).await?;
    tab.wait_for(OPEN).await?;
    found.extend(violations(&mut tab, &axe, "the empty demo").await?);
    for number in 0..20 {
        tab.click(".chat input").await?;
        tab.type_text(&format!("Message {number}")).await?;
        tab.enter().await?;
        tab.wait_for_text(".chat li:last-child", &format!("Message {number}")).await?;
    }
    let in_view = "(() => { const last = document.querySelector('.log li:last-child').getBoundingClientRect(), log = \
                   document.querySelector('.log').getBoundingClientRect(); return last.bottom <= log.bottom + 1 && \
                   last.top >= log.top && document.querySelector('.log ul').offsetHeight > log.height })()";
    assert_eq!(tab.eval(in_view).await?, true, "the newest message is in view, and there are more than fit");
    found.extend(violations(&mut tab, &axe, "the demo").await?);

    let cluster = Cluster::start(Shape::new(1, 1))?;
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
    let mut index = browser.open(&application.url("/")).await?;
    index.wait_for("document.querySelectorAll('h2 a').length > 8").await?;
    let paths = index.eval("[...document.querySelectorAll('h2 a')].map((a) => a.getAttribute('href'))").await?;
    found.extend(violations(&mut index, &axe, "the gallery").await?);
    for path in paths.as_array().context("no pages")? {
        let path = path.as_str().context("a page without an address")?;
        let mut tab = browser.open(&application.url(path)).await?;
        tab.wait_for(OPEN).await?;
        tab.wait_for("document.querySelector('article details pre').textContent.includes('Definition')").await?;
        tab.eval("document.querySelector('details').open = true").await?;
        found.extend(violations(&mut tab, &axe, path).await?);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
