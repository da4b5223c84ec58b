//! The demo page in a real browser.

use diffyne_tests::browser::Browser;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::start_dev;

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_chat_and_two_hundred_quick_clicks_count_to_two_hundred() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let [port] = free_ports()?;
    let _dev = start_dev(directory.path(), port)?;
    let browser = Browser::start()?;
    let page = format!("http://127.0.0.1:{port}/");
    let (mut ada, mut bob) = (browser.open(&page).await?, browser.open(&page).await?);
    for tab in [&mut ada, &mut bob] {
        tab.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
    }
    let last = "document.querySelector('.chat li:last-child')?.textContent";
    let field = "document.querySelector('.chat input')";
    for (index, text) in ["hello <b>Bob</b> & all", "second"].into_iter().enumerate() {
        ada.eval(&format!("{field}.focus()")).await?;
        ada.type_text(text).await?;
        ada.enter().await?;
        for tab in [&mut ada, &mut bob] {
            let count = format!("document.querySelectorAll('.chat li:not(.quiet)').length === {}", index + 1);
            tab.wait_for(&count).await?;
            assert_eq!(tab.eval(last).await?, text);
        }
        ada.wait_for(&format!("{field}.value === ''")).await?;
    }

    // A message too long is refused, told beside the field, and not lost.
    ada.eval(&format!("{field}.focus()")).await?;
    ada.type_text(&"x".repeat(501)).await?;
    ada.enter().await?;
    ada.wait_for("document.querySelector('em').textContent.includes('500 characters')").await?;
    assert_eq!(ada.eval(&format!("{field}.value.length")).await?, 501);

    let plus = "document.querySelector('[aria-label=\"one more\"]')";
    ada.eval(&format!("for (let i = 0; i < 199; i++) {plus}.click()")).await?;
    bob.eval(&format!("{field}.focus()")).await?;
    bob.type_text("a push in between").await?;
    bob.enter().await?;
    ada.eval(&format!("for (let i = 0; i < 1; i++) {plus}.click()")).await?;
    ada.wait_for("document.querySelector('output').textContent === '200'").await?;
    ada.wait_for(&format!("{last} === 'a push in between'")).await?;
    if let Ok(path) = std::env::var("DIFFYNE_SCREENSHOT") {
        std::fs::write(path, ada.screenshot().await?)?;
    }
    assert_eq!((ada.errors, bob.errors), (Vec::new(), Vec::new()));
    Ok(())
}
