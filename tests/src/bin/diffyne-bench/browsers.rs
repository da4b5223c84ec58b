//! Two browsers on a page with a chat: what one writes, the other shows. The end of `tests/ten-minutes.sh`.

use anyhow::ensure;
use clap::{Arg, ArgMatches, Command};
use diffyne_tests::browser::Browser;

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const FIELD: &str = r"form[diff\:submit] input";

/// Its argument: the page.
pub fn command() -> Command {
    Command::new("browsers")
        .about("Opens a page with a chat in two Chromiums; what one writes, the other has to show")
        .arg(Arg::new("url").required(true).help("the page: http://127.0.0.1/chat"))
}

/// Fails unless a broadcast has reached the other browser, and no script has failed.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<()> {
    let url = arguments.get_one::<String>("url").map(String::as_str).unwrap_or_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        // Two programs with a profile each, as two people have them.
        let (writer, reader) = (Browser::start()?, Browser::start()?);
        let (mut writer, mut reader) = (writer.open(url).await?, reader.open(url).await?);
        for tab in [&mut writer, &mut reader] {
            tab.wait_for(OPEN).await?;
        }
        writer.click(FIELD).await?;
        writer.type_text("hello from the other browser").await?;
        writer.enter().await?;
        let shown = "[...document.querySelectorAll('li')].at(-1)?.textContent === 'hello from the other browser'";
        for tab in [&mut writer, &mut reader] {
            tab.wait_for(shown).await?;
            ensure!(tab.errors.is_empty(), "errors on the page: {:?}", tab.errors);
        }
        println!("what one browser wrote, the other one showed");
        Ok(())
    })
}
