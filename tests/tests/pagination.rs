//! Lists with the package's `HasPagination`, whose page is in the page's address, in a real browser.

use anyhow::Context as _;
use diffyne_tests::application::Script;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_pages::LaravelPages;

/// Waits until the list shows a page, and the address says so.
async fn shows(tab: &mut Tab, page: usize, query: &str) -> anyhow::Result<()> {
    let rows: String = (1..=10).skip((page - 1) * 3).take(3).map(|row: usize| row.to_string()).collect();
    let shown = format!(
        "document.querySelector('section > p').textContent === 'page {page}' && \
         document.querySelector('ol').textContent === '{rows}' && location.search === '{query}' && \
         document.readyState === 'complete' && {OPEN}"
    );
    let result = tab.wait_for(&shown).await;
    let found = "[location.search, history.length, document.querySelector('section > p')?.textContent]";
    let found = tab.eval(found).await?;
    result.with_context(|| format!("page {page}, {query}; found {found}"))
}

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";

#[tokio::test(flavor = "multi_thread")]
async fn a_list_turns_its_pages_and_back_and_forward_restore_them() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in std::iter::once(Script::Client).chain(Script::companions()) {
        let laravel = Laravel::new()?;
        let cluster = Cluster::start(laravel.shape(1, 2))?;
        let pages = LaravelPages::start(&cluster, &laravel, &script, "")?;
        let mut tab = browser.open(&pages.url("/pages/Listing?page=2")).await?;
        shows(&mut tab, 2, "?page=2").await.with_context(|| format!("{script:?}"))?;
        // The third page is there already when its button is clicked, so that is no step of the history.
        for (buttons, page) in [
            (["#next"].as_slice(), 3),
            (&["#next"], 4),
            (&["#previous"], 3),
            (&["#third", "#next"], 4),
            (&["#previous"], 3),
        ] {
            for button in buttons {
                tab.click(button).await?;
            }
            shows(&mut tab, page, &format!("?page={page}")).await.with_context(|| format!("{script:?}"))?;
        }
        assert_eq!(tab.eval("history.length").await?, 6, "{script:?}");
        for (step, page) in [(-1, 4), (-1, 3), (-3, 2), (4, 4), (-4, 2)] {
            tab.travel(step).await?;
            shows(&mut tab, page, &format!("?page={page}"))
                .await
                .with_context(|| format!("{script:?}: {step} in the history"))?;
        }
        // What is restored works on.
        tab.click("#next").await?;
        shows(&mut tab, 3, "?page=3").await.with_context(|| format!("{script:?}"))?;
        assert_eq!(tab.errors, Vec::<String>::new(), "{script:?}");
    }
    Ok(())
}
