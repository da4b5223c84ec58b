//! File fields in a real browser, on pages of a real Laravel: with our client, and with the real diffyne.js when
//! `DIFFYNE_JS` and `DIFFYNE_PACKAGE` say where it and its package are.

use std::path::Path;

use base64::Engine as _;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::Process;
use diffyne_tests::upload::{UploadApplication, make_file};
use serde_json::json;

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
/// A picture of 2 by 1 pixels.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP438DgwNAAAAnBAkBvcwjwAAAAAElFTkSuQmCC";
/// Notes what our client tells of uploads.
const NOTE: &str = "window.told = []; document.addEventListener('diffyne:upload', ({ detail }) => told.push(detail))";

/// The scripts that drive the page: ours, and the package's own if it is at hand.
fn scripts() -> Vec<&'static str> {
    let has_package = std::env::var_os("DIFFYNE_JS").is_some() && std::env::var_os("DIFFYNE_PACKAGE").is_some();
    if has_package { vec!["client", "companion"] } else { vec!["client"] }
}

/// How `{prefix}/upload` gets to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// nginx sends it there.
    Nginx,
    /// nginx sends it to a gateway.
    Gateway,
}

/// `nginx/application.conf` in front of a gateway and the application.
fn site(cluster: &Cluster, application: &UploadApplication, way: Way, port: u16) -> anyhow::Result<Process> {
    let mut conf = cluster.shipped_site("application.conf", port)?;
    if way == Way::Gateway {
        for path in ["upload", "preview"] {
            let start = conf.find(&format!("location = /_diffyne/{path} {{")).unwrap();
            let rest = conf.split_off(start);
            conf += &rest.replacen("proxy_pass http://127.0.0.1:8000;", "proxy_pass http://diffyne;", 1);
        }
    }
    conf = conf.replace("127.0.0.1:8000", &format!("127.0.0.1:{}", application.port));
    if let Some(script) = std::env::var_os("DIFFYNE_JS") {
        let folder = cluster.directory.path().join("scripts");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(script, folder.join("diffyne.js"))?;
        let text =
            format!("    location = /diffyne.js {{ root {}; types {{ text/javascript js; }} }}\n", folder.display());
        conf = conf.replace("    # The application: php-fpm", &format!("{text}    # The application: php-fpm"));
    }
    cluster.run_nginx(&conf, port)
}

fn shape(application: &UploadApplication) -> Shape {
    application.laravel.shape(1, 2).gateway("--upload-url", &application.url())
}

fn picture(directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    let path = directory.join("sunset.png");
    std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(PNG)?)?;
    Ok(path)
}

async fn shows_a_picture(tab: &mut Tab) -> anyhow::Result<()> {
    tab.wait_for("document.querySelector('img')?.naturalWidth === 2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_file_is_uploaded_shown_and_kept_by_every_way() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let cluster = Cluster::start(shape(&application))?;
    let browser = Browser::start()?;
    let png = picture(cluster.directory.path())?;
    let other = make_file(cluster.directory.path(), "notes.txt", 2000)?;
    let large = make_file(cluster.directory.path(), "large.bin", 17 << 20)?;
    for way in [Way::Nginx, Way::Gateway] {
        let [port] = free_ports()?;
        let _nginx = site(&cluster, &application, way, port)?;
        for script in scripts() {
            let mut tab = browser.open(&format!("http://127.0.0.1:{port}/album/{script}")).await?;
            tab.wait_for(OPEN).await?;
            tab.eval(NOTE).await?;
            tab.choose_files("#photo", &[&png]).await?;
            shows_a_picture(&mut tab).await?;
            // Two at once, and one more, into a list.
            tab.choose_files("#more", &[&other, &png]).await?;
            tab.wait_for_text("output", "2").await?;
            tab.choose_files("#more", &[&other]).await?;
            tab.wait_for_text("output", "3").await?;
            // One that the update takes by which it comes, and the same once more.
            for taken in ["1", "2"] {
                if script == "client" {
                    tab.choose_files("#once", &[&other]).await?;
                    tab.wait_for_text("u", taken).await?;
                    tab.wait_for("document.getElementById('once').files.length === 0").await?;
                }
            }
            // Too large: said beside the field, and everything else stays.
            tab.choose_files("#photo", &[&large]).await?;
            tab.wait_for("document.querySelector('[diff\\\\:error=photo]').textContent !== ''").await?;
            assert_eq!(tab.text("[diff\\:error=photo]").await?, "The file is too large.", "{way:?} {script}");
            shows_a_picture(&mut tab).await?;
            tab.click("button").await?;
            tab.wait_for_text("b", "album/photo.png").await?;
            tab.wait_for_text("i", "no picture").await?;
            let names = "['photo', 'more'].map((id) => document.getElementById(id).files.length)";
            if script == "client" {
                assert_eq!(tab.eval(names).await?, json!([0, 1]), "what was emptied can be chosen again");
            }
            assert_eq!(std::fs::read(kept(&application)?)?, std::fs::read(&png)?);
            assert_eq!(tab.errors, Vec::<String>::new(), "{way:?} {script}");
        }
    }
    Ok(())
}

fn kept(application: &UploadApplication) -> anyhow::Result<std::path::PathBuf> {
    let stored = application.stored()?.into_iter().find(|path| path.ends_with("album/photo.png"));
    stored.ok_or_else(|| anyhow::anyhow!("nothing was kept"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_a_slow_upload_is_shown() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let cluster = Cluster::start(shape(&application))?;
    let browser = Browser::start()?;
    let file = make_file(cluster.directory.path(), "film.bin", 3 << 20)?;
    let [port] = free_ports()?;
    let _nginx = site(&cluster, &application, Way::Gateway, port)?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{port}/album/client")).await?;
    tab.wait_for(OPEN).await?;
    tab.eval(NOTE).await?;
    let watch = "window.shown = new Set(); const bar = document.querySelector('progress'); \
                 new MutationObserver(() => shown.add(bar.value)).observe(bar, { attributes: true })";
    tab.eval(&format!("(() => {{ {watch} }})()")).await?;
    tab.limit_upload_rate(2 << 20).await?;
    tab.choose_files("#photo", &[&file]).await?;
    tab.wait_for("document.querySelector('#photo').getAttribute('aria-busy') === 'true' && !document.querySelector('progress').hidden")
        .await?;
    tab.wait_for("told.some(({ state }) => state === 'done')").await?;
    let between = "told.filter(({ state, percent }) => state === 'progress' && percent > 5 && percent < 95).length";
    assert!(
        tab.eval(between).await?.as_u64().unwrap() >= 3,
        "{}",
        tab.eval("told.map(({ percent }) => percent)").await?
    );
    assert!(tab.eval("[...shown].filter((value) => value > 5 && value < 95).length").await?.as_u64().unwrap() >= 3);
    tab.wait_for("document.querySelector('img')").await?;
    assert_eq!(tab.eval("document.querySelector('progress').hidden").await?, json!(true));
    assert_eq!(tab.eval("document.querySelector('#photo').hasAttribute('aria-busy')").await?, json!(false));

    // A second choice takes the place of one that is under way.
    let png = picture(cluster.directory.path())?;
    let other = make_file(cluster.directory.path(), "other.bin", 3 << 20)?;
    tab.eval("told.length = 0").await?;
    tab.choose_files("#photo", &[&other]).await?;
    tab.wait_for("told.some(({ percent }) => percent > 5)").await?;
    tab.choose_files("#photo", &[&png]).await?;
    shows_a_picture(&mut tab).await?;
    assert_eq!(tab.eval("told.filter(({ state }) => state === 'done').length").await?, json!(1));
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_uploads_to_a_gateway_on_another_port_and_hears_what_it_refuses() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let [port] = free_ports()?;
    let page = format!("http://127.0.0.1:{port}");
    let shape = shape(&application).gateway("--ws-cors-origins", &page).gateway("--upload-bytes", "1MiB");
    let cluster = Cluster::start(shape)?;
    let browser = Browser::start()?;
    let png = picture(cluster.directory.path())?;
    let large = make_file(cluster.directory.path(), "large.bin", 30 << 20)?;
    let _nginx = site(&cluster, &application, Way::Nginx, port)?;
    let endpoint = format!("http://127.0.0.1:{}/_diffyne", cluster.gateways[0].port);
    let mut tab = browser.open(&format!("{page}/album/client?endpoint={endpoint}")).await?;
    tab.wait_for(OPEN).await?;
    tab.eval(NOTE).await?;
    // Chromium sends the whole file before it reads: the gateway listens to the end, and is heard.
    tab.choose_files("#photo", &[&large]).await?;
    tab.wait_for_text("[diff\\:error=photo]", "The file is too large.").await?;
    tab.choose_files("#photo", &[&png]).await?;
    shows_a_picture(&mut tab).await?;
    assert_eq!(tab.text("[diff\\:error=photo]").await?, "");
    let relayed = "diffyne_gateway_uploads_total{kind=\"upload\",result=\"relayed\"}";
    assert_eq!(cluster.gateways[0].metric(relayed)? as u64, 1);
    let seen = application.last_seen()?;
    assert_eq!(seen["path"], "_diffyne/preview");
    Ok(())
}
